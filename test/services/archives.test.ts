// Fetching a log of changes, and making earlier moments of it, with an engine that is a folder: its log is what was
// written to `wal/open`, closed into numbered pieces; real stores, commands that are processes.

import { appendFile, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asLineageId, asServiceId, type ServiceId } from '../../crdt/ids.ts';
import type { ServiceView } from '../../crdt/view.ts';
import type { ArchivePiece } from '../../node/ports/archives.ts';
import type { Backup } from '../../node/ports/backups.ts';
import type { Copies } from '../../node/ports/copies.ts';
import type { RuntimeEvent } from '../../node/ports/runtime.ts';
import type { ServiceArchive, ServiceKind } from '../../node/ports/services.ts';
import { BASES_KEPT, FETCH_EVERY_MS, ServiceArchives } from '../../node/services/archives.ts';
import { Contexts } from '../../node/services/contexts.ts';
import { PlainRunner } from '../api/plain-runner.ts';
import { BlobCluster, type BlobNode } from '../blobs/nodes.ts';
import { InProcessRequests } from '../gossip/in-process.ts';
import { silentLog } from '../router/cluster.ts';
import { folderKind, INSTANCE, open, service, viewOf } from './fixtures.ts';

const NOBODY = new AbortController().signal;
const DAY_MS = 24 * 60 * 60_000;
const POLL = { timeout: 20_000 };

/** Pieces are named by three digits; `wal/gap` says that some were given up. */
const inRoot = (script: string) => ({ argv: ['/bin/sh', '-c', `cd "$PEER_ROOT" && ${script}`] });
const archive: ServiceArchive = {
  seal: () =>
    inRoot(
      `if [ -e wal/gap ]; then echo gap; rm wal/gap; fi
       if [ -s wal/open ]; then mv wal/open "wal/closed/$(cat wal/next)"; printf %03d $(($(sed 's/^0*//' wal/next) + 1)) >wal/new; mv wal/new wal/next; fi
       ls wal/closed`,
    ),
  pack: (_, names) => inRoot(`tar -C wal/closed -cf - ${names.join(' ')}`),
  drop: (_, names) => inRoot(`cd wal/closed && rm -f ${names.join(' ')}`),
  position: () => inRoot('cat wal/next && echo'),
  base: () => inRoot('cat content'),
  unpackBase: () => inRoot('cat >base'),
  unpackLog: () => inRoot('tar -xf -'),
  recover: () => inRoot('printf FOLDER && cat base && cat [0-9][0-9][0-9]'),
  next: (name) => String(Number(name) + 1).padStart(3, '0'),
  isName: (text) => /^\d{3}$/.test(text),
};

let folder: string;
let root: string;
let blobs: BlobCluster;
let node: BlobNode;
let archives: ServiceArchives;
let pieces: ArchivePiece[];
let files: ServiceView;
let kind: ServiceKind;
let nowMs: number;
let events: string[];
let adopted: { content: string; atMs: number }[];
/** Why nobody keeps a piece. */
let refusal: Error | undefined;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peer-archives-'));
  root = join(folder, 'service');
  await mkdir(join(root, 'wal', 'closed'), { recursive: true });
  await mkdir(join(folder, 'past'));
  await writeFile(join(root, 'wal', 'next'), '001');
  await writeFile(join(root, 'content'), 'base|');
  blobs = new BlobCluster();
  node = await blobs.node();
  files = service('files', { wal: true });
  kind = { ...folderKind('"$PEER_ROOT"'), archive };
  [pieces, events, adopted, refusal, nowMs] = [[], [], [], undefined, 1_800_000_000_000];
  archives = new ServiceArchives(parts());
});
afterEach(async () => {
  await archives.close();
  await blobs.close();
  await rm(folder, { recursive: true });
});

const copies = {
  here: (owner?: ServiceId) => pieces.filter((one) => owner === undefined || one.service === owner),
  list: async (owner?: ServiceId) => copies.here(owner).map((one) => ({ ...one, holders: [] })),
  share: async (piece: ArchivePiece) => {
    if (refusal !== undefined) throw refusal;
    pieces = [piece, ...pieces].sort((a, b) => b.takenAtMs - a.takenAtMs);
    return [];
  },
  bring: async () => {},
  spread: async () => true,
  forget: async (ids: readonly string[]) => {
    pieces = pieces.filter(({ id }) => !ids.includes(id));
  },
} as unknown as Copies<ArchivePiece, ServiceId>;

function parts(): ConstructorParameters<typeof ServiceArchives>[0] {
  const runner = new PlainRunner();
  const listeners = new Set<(event: RuntimeEvent) => void>();
  const tell = (event: RuntimeEvent): void =>
    queueMicrotask(() => {
      for (const listener of [...listeners]) listener(event);
    });
  return {
    self: node.id,
    view: () => viewOf([files], []),
    contexts: new Contexts({ kindOf: () => kind, engineOf: () => ({ version: '1', programs: {} }), open }),
    nodeOf: () => node.id,
    instanceOf: (id) => (id === files.id ? INSTANCE : undefined),
    copies,
    blobs: node.store,
    gossip: new InProcessRequests().of(node.id),
    proof: {
      runtime: {
        start: ({ id }) => tell({ type: 'instanceReady', id }),
        stop: (id, reason) => tell({ type: 'instanceExited', id, reason }),
        exec: (id, command) => {
          const PEER_ROOT = id === INSTANCE ? root : join(folder, 'past');
          return runner.exec(id, { ...command, env: { ...command.env, PEER_ROOT } });
        },
      },
      onEvent: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      removeVolume: async () => {},
      renameVolume: async () => {},
    },
    adopt: async (_, { stored, atMs }) => {
      adopted.push({ content: (await buffer(node.store.read(stored.digest))).toString(), atMs });
      return { id: 'made' } as Backup;
    },
    record: (name) => void events.push(name),
    log: silentLog,
    nowMs: () => nowMs,
  };
}

const write = (text: string): Promise<void> => appendFile(join(root, 'wal', 'open'), text);
const waiting = (): Promise<string[]> => readdir(join(root, 'wal', 'closed'));
const recover = (atMs: number) => archives.recover(files.id, atMs, () => {}, NOBODY);
/** As after a while. */
async function fetchAfter(ms: number): Promise<number> {
  nowMs += ms;
  await archives.fetch(files.id);
  return nowMs;
}

describe('the log of a service', () => {
  it('begins with a base, and is of use up to when it was last looked at, also when nothing was written', async () => {
    await write('a|');
    const fromMs = await fetchAfter(0);
    expect(events).toEqual(['service.base_taken']);
    // What was written while the base was taken is not there yet.
    expect(await archives.windows(files.id)).toEqual([]);
    await write('b|');
    const pieceMs = await fetchAfter(1_000);
    expect(await archives.windows(files.id)).toEqual([{ fromMs, toMs: pieceMs }]);
    const coveredMs = await fetchAfter(60_000);
    expect(await archives.windows(files.id)).toEqual([{ fromMs, toMs: coveredMs }]);
    expect(archives.keptHere(files)).toEqual({ coveredMs, pieceMs });
    expect(await waiting()).toEqual([]);
  });

  it('is dropped where it was only once it is held', async () => {
    await write('a|');
    refusal = new Error('no disk has room');
    await fetchAfter(0);
    expect([await waiting(), pieces, events]).toEqual([['001'], [], ['service.log_failed']]);
    expect(archives.keptHere(files)).toEqual({});
    // It is not said again and again.
    await fetchAfter(FETCH_EVERY_MS);
    expect(events).toEqual(['service.log_failed']);
    refusal = undefined;
    await fetchAfter(FETCH_EVERY_MS);
    expect([await waiting(), pieces.map(({ what }) => what).sort()]).toEqual([[], ['base', 'log']]);
  });

  it('begins anew where something was given up, and says so: no moment is made over the gap', async () => {
    await fetchAfter(0);
    await write('a|');
    const toMs = await fetchAfter(1_000);
    await writeFile(join(root, 'wal', 'gap'), '');
    await writeFile(join(root, 'wal', 'next'), '007');
    await write('b|');
    const anewMs = await fetchAfter(1_000);
    expect(events).toEqual(['service.base_taken', 'service.log_gap', 'service.base_taken']);
    await write('c|');
    const lastMs = await fetchAfter(1_000);
    expect(await archives.windows(files.id)).toEqual([
      { fromMs: toMs - 1_000, toMs },
      { fromMs: anewMs, toMs: lastMs },
    ]);
  });

  it('is told to have a gap where pieces are missing that nobody spoke of', async () => {
    await fetchAfter(0);
    await write('a|');
    await fetchAfter(1_000);
    await writeFile(join(root, 'wal', 'next'), '009');
    await write('b|');
    await fetchAfter(1_000);
    expect(events).toContain('service.log_gap');
  });

  it('begins anew on another volume, whose log is another', async () => {
    await fetchAfter(0);
    await write('a|');
    await fetchAfter(1_000);
    files = { ...files, volume: { ...files.volume!, lineage: asLineageId('l2') } };
    expect(archives.keptHere(files)).toEqual({});
    await fetchAfter(1_000);
    expect(pieces.filter(({ what }) => what === 'base').map(({ lineage }) => lineage)).toEqual(['l2', 'l1']);
  });

  it('gets a base a day', async () => {
    await fetchAfter(0);
    await fetchAfter(DAY_MS - 1);
    expect(events).toHaveLength(1);
    await fetchAfter(1);
    expect(events).toHaveLength(2);
    expect(BASES_KEPT).toBeGreaterThan(1);
  });

  it('is looked at when it is due, and only where it is kept', async () => {
    const logs = () => pieces.filter(({ what }) => what === 'log');
    for (const left of [{ wal: false }, { stopped: true }]) {
      files = service('files', { wal: true, ...left });
      archives.look();
    }
    files = service('files', { wal: true });
    archives.look();
    await expect.poll(() => events, POLL).toEqual(['service.base_taken']);
    await archives.fetch(files.id);
    await write('a|');
    nowMs += FETCH_EVERY_MS - 1;
    archives.look();
    expect(await waiting()).toEqual([]);
    nowMs += 1;
    archives.look();
    await expect.poll(logs, POLL).toMatchObject([{ first: '001', last: '001', takenAtMs: nowMs }]);
  });
});

describe('an earlier moment', () => {
  it('is made of the base before it and the log after that, as a backup', async () => {
    await fetchAfter(0);
    await write('a|');
    const atMs = await fetchAfter(1_000);
    await write('b|');
    await fetchAfter(1_000);
    expect(await recover(atMs)).toMatchObject({ id: 'made' });
    expect(adopted).toEqual([{ content: 'FOLDERbase|a|', atMs }]);
  });

  it('of just now is fetched first', async () => {
    await fetchAfter(0);
    await write('a|');
    nowMs += 1_000;
    await recover(nowMs);
    expect(adopted).toMatchObject([{ content: 'FOLDERbase|a|' }]);
  });

  it('outside of what there is, is refused with what there is', async () => {
    const fromMs = nowMs;
    const unmade = { code: 'outside_window', message: expect.stringContaining('has no base yet, or no log since') };
    await expect(recover(fromMs)).rejects.toMatchObject(unmade);
    await expect(recover(nowMs + 1)).rejects.toMatchObject({ message: 'that moment has not come yet' });
    await write('a|');
    await fetchAfter(1_000);
    const there = `files can be restored to any moment from ${new Date(fromMs).toISOString()} to `;
    await expect(recover(fromMs - 1)).rejects.toMatchObject({
      code: 'outside_window',
      message: expect.stringContaining(there),
    });
    expect(adopted).toEqual([]);
  });

  it('is not made of a kind that keeps no log, or of a service that is gone', async () => {
    kind = folderKind(root);
    await expect(recover(nowMs)).rejects.toMatchObject({ code: 'backup_unusable' });
    await expect(archives.recover(asServiceId('gone'), nowMs, () => {}, NOBODY)).rejects.toMatchObject({
      code: 'service_unknown',
    });
    expect(await archives.windows(files.id)).toEqual([]);
  });
});
