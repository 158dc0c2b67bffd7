// What people ask for in the life of a volume, through the API: snapshots, restores, moves, recoveries.

import { describe, expect, it } from 'vitest';
import { asLineageId } from '../../crdt/ids.ts';
import { VolumeError } from '../../node/volumes/errors.ts';
import { eventsOf, testApi } from './client.ts';
import { tokenOf } from './memory-node.ts';

const HOUR_MS = 60 * 60_000;

async function withVolume(options: object = {}) {
  const known = testApi();
  const volumes = [{ path: '/data' }];
  await known.developer.push('shop', { instances: 1, volumes, ...options });
  const volume = () => [...known.node.view().volumes.values()][0]!;
  const [here, there] = volume().node.endsWith('alpha') ? ['alpha', 'beta'] : ['beta', 'alpha'];
  const act = async (action: string, body: object = {}, as: 'developer' | 'viewer' = 'developer') => {
    const response = await known.api.request(`/v1/volumes/${volume().id}/${action}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokenOf(as)}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) return { status: response.status, last: await response.json() };
    return { status: 200, last: (await eventsOf(response)).at(-1)! };
  };
  return { ...known, volume, act, here: here!, there: there! };
}

describe('a snapshot', () => {
  it('is taken on demand, and found by its volume and among all', async () => {
    const { act, viewer, volume, here } = await withVolume();
    const { last } = await act('snapshots');
    expect(last).toMatchObject({ type: 'done', id: 'snapshot-1', owner: 'shop', path: '/data', holders: [here] });
    const shown = { id: 'snapshot-1', volume: volume().id, takenOn: here };
    expect((await viewer.get(`/v1/volumes/${volume().id}/snapshots`)).body).toMatchObject([shown]);
    expect((await viewer.get('/v1/snapshots')).body).toMatchObject([shown]);
    expect(await act('snapshots', {}, 'viewer')).toMatchObject({ status: 403 });
  });

  it('is shown to nobody who may not read what it was taken of', async () => {
    const { act, viewer, admin, volume } = await withVolume();
    await act('snapshots');
    await admin.post('/v1/teams', { teams: 'owned' });
    expect(await viewer.get(`/v1/volumes/${volume().id}/snapshots`)).toMatchObject({ status: 403 });
    expect((await viewer.get('/v1/snapshots')).body).toEqual([]);
  });
});

describe('the schedule of snapshots', () => {
  it('comes with a push, and is changed by itself', async () => {
    const volumes = [{ path: '/data', snapshotEveryMs: HOUR_MS, snapshotsKept: 24 }];
    const { developer, volume } = await withVolume({ volumes });
    expect(volume()).toMatchObject({ snapshotEveryMs: HOUR_MS, snapshotsKept: 24 });
    const changed = await developer.send('PATCH', `/v1/volumes/${volume().id}`, { snapshotEveryMs: 0 });
    expect(changed.body).toMatchObject({ snapshotEveryMs: 0, snapshotsKept: 24 });
    const wrong = await developer.send('PATCH', `/v1/volumes/${volume().id}`, { snapshotEveryMs: 10 });
    expect(wrong).toMatchObject({ status: 400 });
  });
});

describe('a restore', () => {
  it('begins a lineage of the snapshot in its place, and the slot starts on that', async () => {
    const { act, node, volume, here } = await withVolume();
    await act('snapshots');
    const before = volume().lineage;
    const { last } = await act('restore', { snapshot: 'newest' });
    expect(last).toMatchObject({ type: 'done', node: here, ready: true, snapshot: 'snapshot-1' });
    expect(volume().lineage).not.toBe(before);
    expect(node.volumes.received).toMatchObject([{ node: volume().node, lineage: volume().lineage }]);
  });

  it('goes to another node when that is asked for', async () => {
    const { act, volume, there } = await withVolume();
    await act('snapshots');
    const { last } = await act('restore', { snapshot: 'snapshot-1', node: there });
    expect(last).toMatchObject({ type: 'done', node: there, ready: true });
    expect(volume().node).toBe(`12D3KooW${there}`);
  });

  it('changes nothing when the snapshot is unknown, or cannot be unpacked', async () => {
    const { act, node, volume } = await withVolume();
    const before = volume();
    expect((await act('restore', { snapshot: 'nope' })).last).toMatchObject({
      type: 'failed',
      code: 'not_found',
      message: 'no node that answers holds a snapshot nope of it: see peer volume snapshots',
    });
    await act('snapshots');
    node.volumes.failReceive = new VolumeError('bad_snapshot', 'it is cut off');
    expect((await act('restore', { snapshot: 'newest' })).last).toMatchObject({ type: 'failed', code: 'bad_snapshot' });
    expect(volume()).toEqual(before);
  });
});

describe('a move', () => {
  it('is to another node that is alive, and keeps the lineage', async () => {
    const { act, volume, here, there, node } = await withVolume();
    const before = volume().lineage;
    expect((await act('move', { node: here })).last).toMatchObject({ code: 'bad_request' });
    const { last } = await act('move', { node: there });
    expect(last).toMatchObject({ type: 'done', node: there, ready: true, snapshot: null, ageMs: null });
    expect(volume()).toMatchObject({ node: `12D3KooW${there}`, lineage: before });
    node.setStatus(there, 'dead');
    expect((await act('move', { node: here })).last).toMatchObject({
      code: 'unavailable',
      message: `${there}, which has the volume, is not alive: peer volume recover instead`,
    });
  });
});

describe('a volume with a hard quota', () => {
  it('goes only where one can be had: else its slot would be stopped, and wait', async () => {
    const volumes = [{ path: '/data', sizeBytes: 64 * 1024 ** 2, hardQuota: true }];
    const { act, node, volume, here, there } = await withVolume({ volumes });
    const before = volume();
    await act('snapshots');
    node.withoutHardQuotas = true;
    for (const [action, body] of [
      ['move', { node: there }],
      ['restore', { snapshot: 'newest', node: there }],
    ] as const) {
      expect((await act(action, body)).last).toMatchObject({
        code: 'no_node_for_data',
        message: `${there} cannot take /data: it cannot give a volume a hard quota`,
      });
    }
    expect([volume(), node.volumes.received]).toEqual([before, []]);
    node.withoutHardQuotas = false;
    expect((await act('move', { node: there })).last).toMatchObject({ type: 'done', node: there });
    expect(here).not.toBe(there);
  });
});

describe('a recovery', () => {
  it('is refused while the node that has the volume is alive', async () => {
    const { act, here } = await withVolume();
    expect((await act('recover')).last).toMatchObject({
      type: 'failed',
      code: 'volume_in_use',
      message: `${here}, which has the volume, is alive: peer volume move or restore instead`,
    });
  });

  it('brings the newest snapshot up elsewhere once that is dead', async () => {
    const { act, node, volume, here, there } = await withVolume();
    await act('snapshots');
    await act('snapshots');
    node.setStatus(here, 'dead');
    const { last } = await act('recover');
    expect(last).toMatchObject({ type: 'done', node: there, ready: true, snapshot: 'snapshot-2' });
    expect(last.ageMs).toBeLessThan(60_000);
    expect(volume().node).toBe(`12D3KooW${there}`);
  });

  it('says what to do when there is no snapshot', async () => {
    const { act, node, here, volume } = await withVolume();
    node.setStatus(here, 'dead');
    expect((await act('recover')).last).toMatchObject({
      code: 'not_found',
      message: expect.stringContaining(`no node that answers holds a snapshot of /data: wait for ${here}`),
    });
    expect(volume().node).toBe(`12D3KooW${here}`);
  });
});

describe('orphans', () => {
  it('are listed with what is known of them, and removed one by one', async () => {
    const { node, admin, developer, there, volume } = await withVolume();
    const at = [...node.view().nodes.values()].find(({ name }) => name === there)!.id;
    const known = { owner: 'gone', process: 'web', index: 2, path: '/data', sizeBytes: 1024, sinceMs: 5 };
    const ids = { volume: volume().id, lineage: asLineageId('older') };
    node.volumes.found.orphans.push({ node: at, ...ids, why: 'replaced', ...known });
    node.volumes.found.silent.push(at);
    expect((await admin.get('/v1/orphans')).body).toEqual({
      orphans: [{ node: there, ...ids, why: 'replaced', ...known, usedBytes: null, createdAtMs: null }],
      silent: [there],
    });
    expect(await developer.get('/v1/orphans')).toMatchObject({ status: 403 });
    const path = `/v1/orphans/${there}/${ids.volume}/${ids.lineage}`;
    expect(await admin.send('DELETE', path)).toMatchObject({
      status: 200,
      body: { node: there, ...ids, removed: true },
    });
    expect(await admin.send('DELETE', path)).toMatchObject({
      status: 404,
      body: { error: { code: 'volume_missing' } },
    });
    expect(await admin.send('DELETE', `/v1/orphans/nowhere/${ids.volume}/older`)).toMatchObject({ status: 404 });
    expect(await admin.send('DELETE', `/v1/orphans/${there}/..%2f/older`)).toMatchObject({ status: 404 });
  });
});
