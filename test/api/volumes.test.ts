// Volumes as the API has them: one for each slot, on a node each, kept until somebody deletes them.

import { describe, expect, it } from 'vitest';
import { rolloutProgress } from '../../node/api/rollout-progress.ts';
import { testApi } from './client.ts';
import type { MemoryNode } from './memory-node.ts';

const MIB = 1024 ** 2;

const volumesIn = (node: MemoryNode) => [...node.view().volumes.values()];
const slotsIn = (node: MemoryNode) =>
  volumesIn(node)
    .map(({ process, index, path }) => `${process}/${index}${path}`)
    .sort();

async function withVolumes(options: object = {}) {
  const known = testApi();
  const { events } = await known.developer.push('shop', {
    instances: 2,
    volumes: [{ path: '/data', sizeBytes: 64 * MIB }],
    ...options,
  });
  expect(events.at(-1)).toMatchObject({ type: 'done' });
  return known;
}

describe('a push of an image that declares volumes', () => {
  const pushed = async (options: object, declared: string[], known = testApi()) => {
    known.node.stagedImage = { id: `sha256:${'1'.repeat(64)}`, ref: 'shop:1' };
    known.node.stagedImageVolumes = declared;
    const { events } = await known.developer.push('shop', { instances: 1, image: 'shop:1', ...options });
    const warnings = events.flatMap((one) =>
      one.type === 'line' && String(one.text).startsWith('warning') ? [one.text] : [],
    );
    return { ...known, warnings, last: events.at(-1)! };
  };

  it('makes them when asked to, and says otherwise that what is written there is lost', async () => {
    const first = await pushed({}, ['/var/lib/shop', '/srv/more']);
    expect(first.warnings).toEqual([
      'warning: what is written to /var/lib/shop, /srv/more is lost with each instance, though the image declares it as a volume: --image-volumes keeps it',
    ]);
    expect(volumesIn(first.node)).toEqual([]);
    const volumes = [{ path: '/srv/more', sizeBytes: 64 * MIB }];
    const asked = await pushed({ volumes, imageVolumes: true }, ['/var/lib/shop', '/srv/more'], first);
    expect(asked.warnings).toEqual([]);
    expect(volumesIn(asked.node).map(({ path, sizeBytes }) => [path, sizeBytes / MIB])).toEqual(
      expect.arrayContaining([
        ['/srv/more', 64],
        ['/var/lib/shop', 1024],
      ]),
    );
    // They are there now, whatever a later push says.
    const later = await pushed({}, ['/var/lib/shop', '/srv/more'], asked);
    expect(later.warnings).toEqual([]);
    expect(slotsIn(later.node)).toHaveLength(2);
  });

  it('is refused, with nothing made, where one is a folder of the system', async () => {
    const { last, node } = await pushed({ imageVolumes: true }, ['/data', '/etc/shop']);
    expect(last).toMatchObject({ type: 'failed', code: 'bad_request' });
    expect(last).toHaveProperty('message', expect.stringMatching(/\/etc\/shop.*leave out --image-volumes$/));
    expect(node.view().apps.size + volumesIn(node).length).toBe(0);
  });
});

describe('a push with a volume', () => {
  it('makes one for each slot, on different nodes, and starts each where its own is', async () => {
    const { node, viewer } = await withVolumes();
    expect(slotsIn(node)).toEqual(['web/0/data', 'web/1/data']);
    expect(new Set(volumesIn(node).map((one) => one.node)).size).toBe(2);
    const { body: app } = await viewer.get('/v1/apps/shop');
    const { body: volumes } = await viewer.get('/v1/volumes');
    for (const { index, node: name } of app.instances) expect(volumes[index].node).toBe(name);
    expect(volumes[0]).toMatchObject({
      owner: 'shop',
      ownerKind: 'app',
      process: 'web',
      index: 0,
      path: '/data',
      sizeBytes: 64 * MIB,
      nodeStatus: 'alive',
      wanted: true,
      mounted: true,
    });
  });

  it('gives them a hard quota when asked to, those of later slots too, where one can be had', async () => {
    const { developer, node, viewer } = await withVolumes({
      volumes: [{ path: '/data', sizeBytes: 64 * MIB, hardQuota: true }],
      instances: 1,
    });
    await developer.post('/v1/apps/shop/scale', { scale: { web: 2 } });
    const { body } = await viewer.get('/v1/volumes');
    expect(body.map((one: { hardQuota: boolean }) => one.hardQuota)).toEqual([true, true]);
    const smaller = await developer.send('PATCH', `/v1/volumes/${body[0].id}`, { sizeBytes: 32 * MIB });
    expect(smaller).toMatchObject({
      status: 400,
      body: { error: { message: expect.stringMatching(/never gets smaller/) } },
    });
    node.withoutHardQuotas = true;
    const { events } = await developer.push('blog', { volumes: [{ path: '/data', hardQuota: true }] });
    expect(events.at(-1)).toMatchObject({
      code: 'no_node_for_data',
      message: expect.stringMatching(/alpha cannot give a volume a hard quota/),
    });
  });

  it('leaves those that there are, and adds what is missing on the same node', async () => {
    const { developer, node } = await withVolumes();
    const before = volumesIn(node);
    await developer.push('shop', { volumes: [{ path: '/data' }] });
    expect(volumesIn(node)).toEqual(before);
    await developer.push('shop', { volumes: [{ path: '/cache' }] });
    expect(slotsIn(node)).toEqual(['web/0/cache', 'web/0/data', 'web/1/cache', 'web/1/data']);
    for (const index of [0, 1]) {
      const own = volumesIn(node).filter((one) => one.index === index);
      expect(new Set(own.map((one) => one.node)).size).toBe(1);
    }
  });

  it.each([
    ['data', 'volumes.0.path: must be an absolute path'],
    ['/etc/app', 'volumes.0.path: is a folder of the system'],
    ['/data/../etc', 'volumes.0.path: must not hold . or ..'],
  ])('is refused for the path %s', async (path, message) => {
    const { developer } = testApi();
    const { response } = await developer.push('shop', { volumes: [{ path }] });
    expect(await response.json()).toMatchObject({
      error: { code: 'bad_request', message: expect.stringContaining(message) },
    });
  });

  it('fails, with nothing released, when no node has the memory', async () => {
    const { developer, node } = testApi();
    const { events } = await developer.push('shop', { memoryBytes: 4096 * MIB, volumes: [{ path: '/data' }] });
    expect(events.at(-1)).toMatchObject({
      type: 'failed',
      code: 'no_node_for_data',
      message: expect.stringContaining('no node can take the data of shop/0: alpha has 1024M of memory free'),
    });
    expect(node.view().apps.size).toBe(0);
  });
});

describe('scaling', () => {
  it('makes volumes for slots that are added, as slot 0 has them, and keeps those of slots that go', async () => {
    const { developer, node, viewer } = await withVolumes();
    const up = await developer.post('/v1/apps/shop/scale', { scale: { web: 3 } });
    expect(up.body).toMatchObject({ volumesKept: 0 });
    expect(slotsIn(node)).toEqual(['web/0/data', 'web/1/data', 'web/2/data']);
    expect(volumesIn(node).every(({ sizeBytes }) => sizeBytes === 64 * MIB)).toBe(true);
    const down = await developer.post('/v1/apps/shop/scale', { scale: { web: 1 } });
    expect(down.body).toMatchObject({ volumesKept: 2 });
    expect(slotsIn(node)).toHaveLength(3);
    expect((await viewer.get('/v1/volumes')).body.map(({ wanted }: { wanted: boolean }) => wanted)).toEqual([
      true,
      false,
      false,
    ]);
    const kept = volumesIn(node);
    await developer.post('/v1/apps/shop/scale', { scale: { web: 3 } });
    expect(volumesIn(node)).toEqual(kept);
  });

  it('gives volumes to an app that had none', async () => {
    const { developer, node } = testApi();
    await developer.push('shop');
    await developer.post('/v1/apps/shop/scale', { scale: { web: 2 }, volumes: [{ path: '/data' }] });
    expect(slotsIn(node)).toEqual(['web/0/data', 'web/1/data']);
    const unclear = await developer.post('/v1/apps/shop/scale', { memoryBytes: 64 * MIB, volumes: [{ path: '/x' }] });
    expect(unclear.body.error.message).toContain('of the one process that is scaled');
  });

  it('changes nothing when a slot that is added can be nowhere', async () => {
    const { developer, node } = await withVolumes({ memoryBytes: 600 * MIB });
    const answer = await developer.post('/v1/apps/shop/scale', { scale: { web: 3 } });
    expect(answer).toMatchObject({ status: 503, body: { error: { code: 'no_node_for_data' } } });
    expect([...node.view().apps.values()][0]!.scale).toEqual({ web: 2 });
    expect(slotsIn(node)).toHaveLength(2);
  });
});

describe('a volume', () => {
  it('can be given to an app that runs', async () => {
    const { developer, node } = testApi();
    await developer.push('shop', { instances: 2 });
    const { body } = await developer.post('/v1/apps/shop/volumes', { path: '/data', sizeBytes: 32 * MIB });
    expect(body.volumes).toHaveLength(2);
    expect(slotsIn(node)).toEqual(['web/0/data', 'web/1/data']);
    expect((await developer.post('/v1/apps/shop/volumes', { path: '/data' })).body.volumes).toEqual([]);
  });

  it('says where it is on its node, to who may read what its app says', async () => {
    const { viewer, node, admin } = await withVolumes();
    const [volume] = volumesIn(node);
    const found = await viewer.get(`/v1/volumes/${volume!.id}`);
    expect(found.body).toMatchObject({ hostPath: `/var/lib/peer/volumes/${volume!.id}`, usedBytes: 10 * MIB });
    await admin.post('/v1/teams', { teams: 'owned' });
    expect(await viewer.get(`/v1/volumes/${volume!.id}`)).toMatchObject({ status: 403 });
    expect(await viewer.get('/v1/volumes/nope')).toMatchObject({ status: 404 });
  });

  it('is deleted once nothing that is asked for mounts it', async () => {
    const { developer, viewer, node } = await withVolumes();
    const second = volumesIn(node).find(({ index }) => index === 1)!;
    const used = await developer.send('DELETE', `/v1/volumes/${second.id}`);
    expect(used.body.error).toEqual({
      code: 'volume_in_use',
      message: 'shop/web/1 mounts it: peer scale shop web=1, or peer stop-app shop first',
      retry: 'no',
    });
    await developer.post('/v1/apps/shop/scale', { scale: { web: 1 } });
    expect(await viewer.send('DELETE', `/v1/volumes/${second.id}`)).toMatchObject({ status: 403 });
    expect(await developer.send('DELETE', `/v1/volumes/${second.id}`)).toMatchObject({ status: 200 });
    expect(slotsIn(node)).toEqual(['web/0/data']);
  });

  it('of a service goes with the service alone', async () => {
    const { developer, node } = testApi();
    await developer.post('/v1/services', { kind: 'redis', name: 'cache' });
    const [volume] = volumesIn(node);
    const { body } = await developer.send('DELETE', `/v1/volumes/${volume!.id}`);
    expect(body.error).toMatchObject({
      code: 'volume_in_use',
      message: expect.stringContaining('peer service delete cache'),
    });
  });

  it('on a node that was removed is there, and says so', async () => {
    const { viewer, node } = await withVolumes();
    const onBeta = volumesIn(node).find((one) => one.node === '12D3KooWbeta')!;
    await node.write([{ change: 'removeNode', node: onBeta.node }], 'tests');
    const shown = (await viewer.get('/v1/volumes')).body.find(({ id }: { id: string }) => id === onBeta.id);
    expect(shown).toMatchObject({ node: '12D3KooWbeta', nodeStatus: 'removed', mounted: true });
  });
});

describe('a slot whose node is gone', () => {
  it('waits for it, and the roll-out says so', async () => {
    const { node } = await withVolumes();
    const app = [...node.view().apps.values()][0]!;
    const unplaceable = () =>
      rolloutProgress(app, node.view(), node.observed(), { release: undefined, replaced: undefined }).unplaceable;
    const pinned = volumesIn(node).find((one) => one.node === '12D3KooWbeta')!;
    expect(unplaceable()).toEqual([]);
    node.setStatus('beta', 'dead');
    expect(unplaceable()).toEqual([
      `insufficient resources: no node can take web/${pinned.index}: its data is on beta, which is dead`,
    ]);
  });
});

describe('deleting an app', () => {
  it('keeps its volumes, which can be deleted by their ids', async () => {
    const { developer, viewer, node } = await withVolumes();
    const { body } = await developer.send('DELETE', '/v1/apps/shop');
    expect(body).toMatchObject({ volumes: { kept: 2, deleted: 0 } });
    const { body: left } = await viewer.get('/v1/volumes');
    expect(left).toMatchObject([
      { ownerKind: 'gone', mounted: false, wanted: false },
      { ownerKind: 'gone', mounted: false, wanted: false },
    ]);
    for (const { id } of left)
      expect(await developer.send('DELETE', `/v1/volumes/${id}`)).toMatchObject({ status: 200 });
    expect(volumesIn(node)).toEqual([]);
  });

  it('deletes them too when that is said', async () => {
    const { developer, node } = await withVolumes();
    const { body } = await developer.send('DELETE', '/v1/apps/shop?volumes=true');
    expect(body).toMatchObject({ volumes: { kept: 0, deleted: 2 } });
    expect(volumesIn(node)).toEqual([]);
    expect(node.view().apps.size).toBe(0);
  });
});
