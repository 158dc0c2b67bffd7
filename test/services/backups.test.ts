// Backups on three nodes with real stores and links between them; the engine is a folder, its tools are real commands.

import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { asLineageId, type ServiceId } from '../../crdt/ids.ts';
import type { DesiredView, ServiceView } from '../../crdt/view.ts';
import type { Backup } from '../../node/ports/backups.ts';
import type { Copies } from '../../node/ports/copies.ts';
import { BACKUP_COPIES } from '../../node/ports/data-methods.ts';
import type { RuntimeEvent } from '../../node/ports/runtime.ts';
import { type BackupsParts, ServiceBackups } from '../../node/services/backups.ts';
import { Contexts } from '../../node/services/contexts.ts';
import { Rebuilds } from '../../node/services/rebuilds.ts';
import { openCopies } from '../../node/storage/copies.ts';
import { PlainRunner } from '../api/plain-runner.ts';
import { BlobCluster, type BlobNode } from '../blobs/nodes.ts';
import { InProcessRequests } from '../gossip/in-process.ts';
import { silentLog } from '../router/cluster.ts';
import { folderKind, INSTANCE, open, service, viewOf } from './fixtures.ts';

const HOUR_MS = 60 * 60_000;
const NOBODY = new AbortController().signal;

type Member = {
  node: BlobNode;
  copies: Copies<Backup, ServiceId>;
  backups: ServiceBackups;
  rebuilds: Rebuilds;
  root: string;
};

let blobs: BlobCluster;
let nodes: BlobNode[];
let folder: string;

beforeAll(async () => {
  blobs = new BlobCluster();
  nodes = [await blobs.node(), await blobs.node(), await blobs.node(), await blobs.node()];
  for (const node of nodes) {
    await blobs.serve(
      node,
      nodes.filter((other) => other !== node),
    );
  }
});
afterAll(() => blobs.close());

let files: ServiceView;
let view: DesiredView;
let members: Member[];
let events: string[];
let nowMs: number;
let freeBytes: number;
/** How many of the nodes are there. */
let aliveCount: number;
/** What becomes of an instance that is to prove a backup; undefined: it never answers. */
let proofStarts: boolean | undefined;
/** Whether nobody was let in to a service that is being upgraded. */
let staysShut: boolean;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peer-backups-'));
  files = service('files', { backupEveryMs: HOUR_MS, backupsKept: 2 });
  view = viewOf([files], []);
  aliveCount = nodes.length;
  staysShut = true;
  [events, nowMs, freeBytes, proofStarts] = [[], 1_800_000_000_000, Number.POSITIVE_INFINITY, true];
  const requests = new InProcessRequests();
  members = await Promise.all(nodes.map((node, number) => member(node, number, requests)));
  await writeFile(join(members[0]!.root, 'content'), 'first');
});
afterEach(async () => {
  for (const { backups, rebuilds } of members) {
    await rebuilds.close();
    await backups.close();
  }
  await rm(folder, { recursive: true });
});

/** The service runs on the first; proofs run in a folder of their own. */
async function member(node: BlobNode, number: number, requests: InProcessRequests): Promise<Member> {
  const root = join(folder, `node-${number}`);
  await mkdir(join(root, 'proof'), { recursive: true });
  await mkdir(join(root, 'users'));
  const gossip = requests.of(node.id);
  const copies = await openCopies<Backup, ServiceId>(
    {
      ...{ path: join(root, 'backups.json'), max: 100, methods: BACKUP_COPIES, ownerOf: (one) => one.service },
      merge: (heard, known) => ({ ...heard, proof: heard.proof ?? known.proof }),
    },
    {
      ...{ self: node.id, blobs: node.store, exchange: node.exchange, gossip, log: silentLog },
      room: () => ({ bytes: Number.POSITIVE_INFINITY, refusal: '' }),
      aliveOthers: () =>
        nodes
          .slice(0, aliveCount)
          .map(({ id }) => id)
          .filter((id) => id !== node.id),
    },
  );
  const runner = new PlainRunner();
  const listeners = new Set<(event: RuntimeEvent) => void>();
  const tell = (event: RuntimeEvent): void =>
    queueMicrotask(() => {
      for (const listener of [...listeners]) listener(event);
    });
  // A proof's instance has another folder for its root: the commands of the kind are told by where they run.
  const kind = folderKind('"$PEER_ROOT"');
  const shared: Omit<BackupsParts, 'nodeOf' | 'instanceOf' | 'restored' | 'log'> = {
    self: node.id,
    view: () => view,
    contexts: new Contexts({ kindOf: () => kind, engineOf: () => ({ version: '1', programs: {} }), open }),
    copies,
    blobs: node.store,
    gossip,
    nameOf: (id) => `node-${nodes.findIndex((one) => one.id === id)}`,
    proof: {
      runtime: {
        start: ({ id }) => {
          if (proofStarts === true) tell({ type: 'instanceReady', id });
          if (proofStarts === false) tell({ type: 'instanceExited', id, reason: 'no port is free' });
        },
        stop: (id, reason) => tell({ type: 'instanceExited', id, reason }),
        exec: (id, command) => {
          const PEER_ROOT = id === INSTANCE ? root : join(root, 'proof');
          return runner.exec(id, { ...command, env: { ...command.env, PEER_ROOT } });
        },
      },
      onEvent: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      removeVolume: () => rm(join(root, 'proof', 'content'), { force: true }),
      renameVolume: (_, { lineage }) => rename(join(root, 'proof', 'content'), join(root, lineage)),
    },
    freeMemoryBytes: () => freeBytes,
    record: (name) => events.push(name),
    nowMs: () => nowMs,
  };
  const backups = new ServiceBackups({
    ...shared,
    nodeOf: () => nodes[0]!.id,
    instanceOf: (id: ServiceId) => (number === 0 && id === files.id ? INSTANCE : undefined),
    restored: () => events.push('restored'),
    log: silentLog,
  });
  const rebuilds = new Rebuilds({
    ...{ ...shared, backups },
    steward: {
      shut: async () => void events.push('shut'),
      isShut: () => staysShut,
      reopen: () => events.push('reopened'),
    },
    writeUpgraded: async (_, to, by) => {
      events.push(`written by ${by}`);
      const volume = { ...files.volume!, node: to.node, lineage: to.lineage };
      view = viewOf([{ ...files, version: to.version, volume }], []);
    },
  });
  return { node, copies, backups, rebuilds, root };
}

const contentOfService = (): Promise<string> => readFile(join(members[0]!.root, 'content'), 'utf8');
const take = async (number = 0) => {
  const lines: string[] = [];
  const backup = await members[number]!.backups.take(files.id, (line) => lines.push(line), NOBODY);
  return { backup, lines };
};

const upload = (text: string) =>
  members[0]!.backups.upload(
    files.id,
    (async function* () {
      yield Buffer.from(text);
    })(),
    NOBODY,
  );

describe('a backup', () => {
  it('is proven, held by three nodes, and found from every one', async () => {
    const { backup, lines } = await take();
    expect(backup.proof).toEqual({ state: 'proven', atMs: nowMs, text: '5' });
    expect(lines.at(-1)).toMatch(/^held by node-0, node-\d, node-\d$/);
    for (const { backups } of members) {
      const [found, ...more] = await backups.list(files.id);
      expect(more).toEqual([]);
      expect(found?.holders).toHaveLength(3);
      expect(found?.proof?.state).toBe('proven');
    }
  });

  it('is taken and put back from a node that does not run the service', async () => {
    const { backup } = await take(3);
    await writeFile(join(members[0]!.root, 'content'), 'second');
    await members[2]!.backups.restore(files.id, backup, () => {}, NOBODY);
    expect(await contentOfService()).toBe('first');
    expect(events).toEqual(['service.backed_up', 'restored', 'service.restored']);
  });

  it('is put back when the node that took it has lost it', async () => {
    const { backup } = await take();
    await nodes[0]!.store.remove(backup.digest);
    await writeFile(join(members[0]!.root, 'content'), 'second');
    await members[0]!.backups.restore(files.id, backup, () => {}, NOBODY);
    expect(await contentOfService()).toBe('first');
  });

  it('leaves the service as it was when it is of another kind, of a newer version, or of no one', async () => {
    const { backup } = await take();
    const foreign = { ...backup, kind: 'other' };
    await expect(members[0]!.backups.restore(files.id, foreign, () => {}, NOBODY)).rejects.toMatchObject({
      code: 'backup_unusable',
    });
    const newer = { ...backup, version: '2' };
    const refusal = `folder 1 does not read, and files is as it was: peer service upgrade files --version 2 first`;
    await expect(members[0]!.backups.restore(files.id, newer, () => {}, NOBODY)).rejects.toMatchObject({
      code: 'backup_unusable',
      message: expect.stringContaining(refusal),
    });
    const lost = { ...backup, id: 'gone', digest: `sha256:${'0'.repeat(64)}` as typeof backup.digest };
    await expect(members[1]!.backups.restore(files.id, lost, () => {}, NOBODY)).rejects.toMatchObject({
      code: 'unavailable',
    });
    expect(await contentOfService()).toBe('first');
  });

  it('says why it was not tried where memory is short', async () => {
    freeBytes = 0;
    const { backup } = await take();
    expect(backup.proof).toMatchObject({ state: 'skipped', text: expect.stringContaining('not free on node-0') });
  });

  it('is not taken for bad when the instance that should prove it does not start', async () => {
    proofStarts = false;
    const { backup } = await take();
    expect(backup.proof).toMatchObject({ state: 'skipped', text: expect.stringContaining('no port is free') });
    expect(await members[3]!.backups.list(files.id)).toMatchObject([{ id: backup.id, proof: { state: 'skipped' } }]);
  });

  it('is kept when whoever asked leaves while it is proven, and no longer tried', async () => {
    proofStarts = undefined;
    const leaving = new AbortController();
    const onLine = (line: string): void => {
      if (line.startsWith('restoring')) leaving.abort();
    };
    const backup = await members[0]!.backups.take(files.id, onLine, leaving.signal);
    expect(backup.proof).toMatchObject({ state: 'skipped', text: 'not tried: it was called off' });
    expect(await members[1]!.backups.list(files.id)).toHaveLength(1);
  });

  it('ends its proof when the node stops', async () => {
    proofStarts = undefined;
    const proving = Promise.withResolvers<void>();
    const taking = members[0]!.backups.take(
      files.id,
      (line) => {
        if (line.startsWith('restoring')) proving.resolve();
      },
      NOBODY,
    );
    await proving.promise;
    await members[0]!.backups.close();
    expect(await taking).toMatchObject({ proof: { state: 'skipped' } });
  });

  it('waits for no other of the same service', async () => {
    const proving = Promise.withResolvers<void>();
    proofStarts = undefined;
    const taking = members[1]!.backups.take(
      files.id,
      (line) => {
        if (line.startsWith('restoring')) proving.resolve();
      },
      NOBODY,
    );
    await proving.promise;
    await expect(take(2)).rejects.toMatchObject({ code: 'service_busy' });
    await members[0]!.backups.close();
    await taking;
  });

  it('fails, and is not kept as one, when the engine gives nothing', async () => {
    await rm(join(members[0]!.root, 'content'));
    await expect(take()).rejects.toThrow();
    expect(await members[1]!.backups.list(files.id)).toEqual([]);
    expect(events).toEqual(['service.backup_failed']);
  });

  it('is of a service that does not run: an error says so', async () => {
    view = viewOf([], []);
    await expect(members[1]!.backups.restore(files.id, (await backupOf()).backup, () => {}, NOBODY)).rejects.toThrow(
      'deleted',
    );
  });

  const backupOf = async () => {
    view = viewOf([files], []);
    const taken = await take();
    view = viewOf([], []);
    return taken;
  };

  it('can be kept elsewhere and taken in again; what is foreign or empty is refused', async () => {
    const { backup } = await take();
    const held = (await members[3]!.backups.list(files.id)).find(({ id }) => id === backup.id)!;
    const content = await buffer(members[3]!.backups.download(held, NOBODY));
    expect(content.toString()).toBe('FOLDERfirst');
    nowMs += 1000;
    const again = await upload('FOLDERfrom elsewhere');
    await members[0]!.backups.restore(files.id, again, () => {}, NOBODY);
    expect(await contentOfService()).toBe('from elsewhere');
    await expect(upload('PGDMP')).rejects.toMatchObject({ code: 'backup_unusable' });
    await expect(upload('')).rejects.toMatchObject({ code: 'backup_unusable' });
  });
});

describe('the data of a service', () => {
  const LINEAGE = asLineageId('l-new');
  const rebuild = async (backup: Backup, number = 2) => {
    const order = { service: files.id, backup, version: '1', lineage: LINEAGE };
    return members[3]!.rebuilds.rebuild(nodes[number]!.id, order, () => {}, NOBODY);
  };
  const upgrade = (signal = NOBODY) =>
    members[3]!.rebuilds.upgrade({ service: files.id, version: '2', to: nodes[1]!.id, by: 'ada' }, () => {}, signal);
  const lineagesAt = async (number: number): Promise<string[]> =>
    (await readdir(members[number]!.root)).filter((name) => name.includes('-') || name === LINEAGE);

  it('is made of a backup on another node, which need not hold it, and is proven by that', async () => {
    freeBytes = 0;
    const { backup } = await take();
    expect(backup.proof?.state).toBe('skipped');
    freeBytes = Number.POSITIVE_INFINITY;
    expect((await rebuild(backup)).proof).toMatchObject({ state: 'proven', text: '5' });
    expect(await readFile(join(members[2]!.root, LINEAGE), 'utf8')).toBe('first');
  });

  it('is not there when the backup cannot be restored, or there is no memory for it', async () => {
    const { backup } = await take();
    for (const unlike of [{ kind: 'other' }, { version: '2' }]) {
      await expect(rebuild({ ...backup, ...unlike })).rejects.toMatchObject({ code: 'backup_unusable' });
    }
    freeBytes = 0;
    await expect(rebuild(backup)).rejects.toMatchObject({ code: 'no_room' });
    [freeBytes, proofStarts] = [Number.POSITIVE_INFINITY, false];
    await expect(rebuild(backup)).rejects.toMatchObject({ code: 'service_not_ready' });
    expect(await lineagesAt(2)).toEqual([]);
  });

  it('is upgraded by a last backup, from when on nobody is let in, into the other version', async () => {
    const last = await upgrade();
    expect(last.proof).toMatchObject({ state: 'proven' });
    const { version, volume } = [...view.services.values()][0]!;
    expect([version, volume!.node]).toEqual(['2', nodes[1]!.id]);
    expect(await readFile(join(members[1]!.root, volume!.lineage), 'utf8')).toBe('first');
    expect(events).toEqual(['shut', 'written by ada', 'service.upgraded']);
  });

  it('is as it was when an upgrade fails, and apps are let in again', async () => {
    proofStarts = false;
    await expect(upgrade()).rejects.toMatchObject({ code: 'service_not_ready' });
    expect(events).toEqual(['shut', 'reopened', 'service.upgrade_failed']);
    [events, proofStarts, staysShut] = [[], true, false];
    await expect(upgrade()).rejects.toMatchObject({ message: 'files was started anew meanwhile: ask again' });
    expect(events).toEqual(['shut', 'reopened', 'service.upgrade_failed']);
    expect([...view.services.values()]).toEqual([files]);
    await expect(upgrade(AbortSignal.abort())).rejects.toThrow();
    expect([...view.services.values()]).toEqual([files]);
  });
});

describe('what a node knows of backups', () => {
  it('is told by service, and no proof is forgotten when a node without one tells of the backup again', async () => {
    const { copies } = members[0]!;
    const { backup } = await take();
    const foreign = { ...backup, id: 'another', service: 'another' as ServiceId };
    await copies.keep(foreign);
    expect(copies.here(foreign.service)).toEqual([foreign]);
    expect(copies.here(files.id)).toEqual([backup]);
    await copies.keep({ ...backup, proof: undefined });
    expect(copies.here(files.id)[0]?.proof).toEqual(backup.proof);
  });
});

describe('the schedule', () => {
  const due = async (): Promise<void> => {
    members[0]!.backups.lookForDue();
    await expect.poll(() => events, { timeout: 20_000 }).not.toEqual([]);
  };

  it('takes one when the newest is old enough, and no other before', async () => {
    view = viewOf([{ ...files, createdAtMs: nowMs - HOUR_MS }], []);
    await due();
    expect(events).toEqual(['service.backed_up']);
    members[0]!.backups.lookForDue();
    await members[0]!.backups.close();
    expect(members[0]!.copies.here()).toHaveLength(1);
  });

  it('does not take what was uploaded for one that was taken', async () => {
    view = viewOf([{ ...files, createdAtMs: nowMs - HOUR_MS }], []);
    await upload('FOLDERdamaged further on');
    await due();
    expect(events).toEqual(['service.backed_up']);
  });

  it('brings what one node holds alone to others once there are some', async () => {
    aliveCount = 1;
    const { backup } = await take();
    expect(members[1]!.copies.here()).toEqual([]);
    aliveCount = 2;
    members[0]!.backups.lookForDue();
    await expect.poll(() => members[1]!.copies.here(), { timeout: 20_000 }).toMatchObject([{ id: backup.id }]);
    expect(nodes[1]!.store.has(backup.digest)).toBe(true);
  });

  it('keeps as many as were asked for', async () => {
    for (let number = 0; number < 4; number++) {
      nowMs += HOUR_MS;
      await writeFile(join(members[0]!.root, 'content'), `content ${number}`);
      await take();
    }
    expect(members[0]!.copies.here()).toHaveLength(2);
  });
});
