// What housekeeping removes, and what it leaves alone.

import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asAppId, asDigest, type Digest } from '../../crdt/ids.ts';
import type { BlobStore } from '../../node/ports/blobs.ts';
import { Housekeeping } from '../../node/storage/housekeeping.ts';
import { app, desired, release } from '../core/little-cluster.ts';

const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peer-housekeeping-'));
});
afterEach(() => rm(folder, { recursive: true }));

type Kept = { apps?: Parameters<typeof desired>[1]; held?: Digest[]; logged?: string[] };

function keeper(options: Kept = {}) {
  const held = new Set(options.held ?? []);
  const state = { nowMs: 0, view: desired([], options.apps ?? []) };
  const gone: string[] = [];
  const running = new Set<string>();
  const blobs = {
    list: () => [...held],
    remove: async (digest: Digest) => void held.delete(digest),
  } as unknown as BlobStore;
  const housekeeping = new Housekeeping({
    view: () => state.view,
    blobs,
    nowMs: () => state.nowMs,
    log,
    isRunning: (id) => running.has(id),
    appsLogged: async () => (options.logged ?? []).map(asAppId),
    appGone: async (id) => void gone.push(id),
    daemonLog: join(folder, 'daemon.log'),
  });
  housekeeping.stop();
  return { housekeeping, held, state, gone, running };
}

describe('housekeeping', () => {
  it('removes a droplet half an hour after the last release that needed it went, not before', async () => {
    const used = release(1).droplet.digest;
    const unused = asDigest('sha256:unused');
    const { housekeeping, held, state } = keeper({ apps: [app('hello')], held: [used, unused] });
    await housekeeping.collectBlobs();
    state.nowMs = 29 * 60_000;
    await housekeeping.collectBlobs();
    expect([...held]).toEqual([used, unused]);
    state.nowMs = 31 * 60_000;
    await housekeeping.collectBlobs();
    expect([...held]).toEqual([used]);
  });

  it('starts the half hour anew when a release takes the droplet back', async () => {
    const digest = release(1).droplet.digest;
    const { housekeeping, held, state } = keeper({ held: [digest] });
    await housekeeping.collectBlobs();
    state.view = desired([], [app('hello')]);
    state.nowMs = 20 * 60_000;
    await housekeeping.collectBlobs();
    state.view = desired([], []);
    state.nowMs = 40 * 60_000;
    await housekeeping.collectBlobs();
    expect([...held]).toEqual([digest]);
  });

  it('removes logs and caches of an app that was deleted', () => {
    const { housekeeping, state, gone } = keeper({ apps: [app('one'), app('two')] });
    state.view = desired([], [app('two')]);
    housekeeping.desiredChanged();
    housekeeping.desiredChanged();
    expect(gone).toEqual(['app-one']);
  });

  it('removes the logs of a deleted app only when its last instance, which writes to them, has ended', () => {
    const { housekeeping, state, gone, running } = keeper({ apps: [app('one')] });
    running.add('app-one');
    state.view = desired([], []);
    housekeeping.desiredChanged();
    expect(gone).toEqual([]);
    running.delete('app-one');
    housekeeping.removeGone();
    expect(gone).toEqual(['app-one']);
  });

  it('removes logs that no app owns after half an hour, as a crash or a failed first push leaves them', async () => {
    const { housekeeping, state, gone } = keeper({ apps: [app('one')], logged: ['app-one', 'app-orphan'] });
    await housekeeping.collectApps();
    state.nowMs = 29 * 60_000;
    await housekeeping.collectApps();
    expect(gone).toEqual([]);
    state.nowMs = 31 * 60_000;
    await housekeeping.collectApps();
    expect(gone).toEqual(['app-orphan']);
  });

  it('keeps the log of the daemon within its bound', async () => {
    const { housekeeping } = keeper();
    const path = join(folder, 'daemon.log');
    await housekeeping.trimDaemonLog();
    await writeFile(path, 'short');
    await housekeeping.trimDaemonLog();
    expect(await readFile(path, 'utf8')).toBe('short');
    await writeFile(path, Buffer.alloc(9 * 1024 * 1024));
    await housekeeping.trimDaemonLog();
    expect((await stat(path)).size).toBe(0);
    expect((await stat(`${path}.1`)).size).toBe(9 * 1024 * 1024);
  });
});
