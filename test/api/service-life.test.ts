// What people ask for in the life of a service, through the API: moves, recoveries, upgrades; and what a node that
// goes would strand.

import { describe, expect, it } from 'vitest';
import { eventsOf, testApi } from './client.ts';
import { tokenOf } from './memory-node.ts';

async function withDatabase() {
  const known = testApi();
  const { node, developer } = known;
  expect(await developer.post('/v1/services', { kind: 'postgres', name: 'db' })).toMatchObject({ status: 201 });
  const service = () => [...node.view().services.values()].find(({ name }) => name === 'db')!;
  node.backups.data.set(service().id, 'first');
  const nameOf = (id: string) => id.replace('12D3KooW', '');
  const here = nameOf(service().volume!.node);
  const there = here === 'alpha' ? 'beta' : 'alpha';
  const act = async (
    path: string,
    body: object | undefined = {},
    as: 'admin' | 'developer' | 'viewer' = 'developer',
  ) => {
    const response = await known.api.request(path.startsWith('/') ? path : `/v1/services/db/${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokenOf(as)}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    if (!response.ok) return { status: response.status, last: (await response.json()).error, lines: [] };
    const events = await eventsOf(response);
    return { status: 200, last: events.at(-1)!, lines: events.map(({ text }) => text) };
  };
  const take = () => known.developer.stream('/v1/services/db/backups', { method: 'POST' }).then(eventsOf);
  return { ...known, service, here, there, act, take };
}

describe('a service that is moved', () => {
  it('keeps its lineage, its address and its bindings, and runs on the other node', async () => {
    const { act, service, there, developer } = await withDatabase();
    await developer.push('shop');
    await developer.post('/v1/services/db/bind', { app: 'shop' });
    const { lineage } = service().volume!;
    const { address } = service();
    expect((await act('move', { node: there })).last).toMatchObject({
      type: 'done',
      name: 'db',
      node: there,
      ready: true,
    });
    expect(service()).toMatchObject({ address, volume: { node: `12D3KooW${there}`, lineage } });
    expect((await developer.get('/v1/services/db')).body.bindings).toMatchObject([{ app: 'shop' }]);
  });

  it('stays where it is when the other node cannot have it, and says why', async () => {
    const { act, node, here, there, service } = await withDatabase();
    const before = service();
    expect((await act('move', { node: here })).last).toMatchObject({ code: 'bad_request' });
    node.engines.set(there, ['redis 7.0']);
    node.changed();
    expect((await act('move', { node: there })).last).toMatchObject({
      code: 'no_node_for_data',
      message: expect.stringContaining(`no node can take db: ${there}`),
    });
    node.setStatus(there, 'dead');
    expect((await act('move', { node: there })).last).toMatchObject({ code: 'unavailable' });
    expect(service()).toEqual(before);
    expect(await act('move', { node: there }, 'viewer')).toMatchObject({ status: 403 });
  });

  it('says why when what had changed could not be brought, and it runs where it was', async () => {
    const { act, node, there, service } = await withDatabase();
    const before = service().volume;
    node.volumes.callsOff = true;
    node.recorded.push({
      ...{ name: 'volume.move_called_off', app: before!.owner, message: 'the data of db stays where it was: no room' },
      ...{ atMs: 0, node: before!.node },
    });
    expect((await act('move', { node: there })).last).toMatchObject({
      code: 'move_called_off',
      message: 'the data of db stays where it was: no room',
    });
    expect(service().volume).toMatchObject({ node: before!.node, lineage: before!.lineage });
  });
});

describe('a service whose node is lost', () => {
  it('comes back from its newest proven backup under another lineage, and it is said how old that is', async () => {
    const { act, node, take, service, here, there } = await withDatabase();
    await take();
    node.backups.proof = { state: 'skipped', atMs: 0, text: 'not tried' };
    await take();
    const before = service().volume!.lineage;
    node.setStatus(here, 'dead');
    const { last, lines } = await act('recover?confirm=db');
    expect(last).toMatchObject({ type: 'done', node: there, ready: true, backup: 'backup-1', version: '15' });
    expect(last.ageMs).toBeLessThan(60_000);
    expect(lines[0]).toMatch(/^db comes back as it was \d+ s ago \(20\d\d-.*Z\), from backup backup-1$/);
    expect(service().volume!.lineage).not.toBe(before);
    expect(node.backups.rebuilt).toMatchObject([
      { node: `12D3KooW${there}`, lineage: service().volume!.lineage, version: '15', backup: { id: 'backup-1' } },
    ]);
  });

  it('is refused while that lives, without the name again, and to who may only look', async () => {
    const { act, node, here, take, service } = await withDatabase();
    await take();
    const before = service();
    for (const path of ['recover?confirm=db', 'recover']) {
      expect((await act(path)).last).toMatchObject({
        code: 'node_has_data',
        message: expect.stringContaining(`${here}, which has the data of db, is alive: peer service move db --to NODE`),
      });
    }
    node.setStatus(here, 'dead');
    expect(await act('recover')).toMatchObject({ status: 400, last: { message: expect.stringContaining('confirm') } });
    expect(await act('recover?confirm=db', {}, 'viewer')).toMatchObject({ status: 403 });
    expect(service()).toEqual(before);
  });

  it('says what would be lost when there is no proven backup, and makes nothing', async () => {
    const { act, node, take, here, service } = await withDatabase();
    node.backups.proof = { state: 'skipped', atMs: 0, text: 'not tried' };
    const before = service();
    node.setStatus(here, 'dead');
    expect((await act('recover?confirm=db')).last).toMatchObject({
      code: 'backup_unknown',
      message: `no node that answers holds a proven backup of db; all that it held would be lost: wait for ${here}, or peer service delete db and create it anew`,
    });
    node.setStatus(here, 'alive');
    await take();
    node.setStatus(here, 'dead');
    expect((await act('recover?confirm=db')).last).toMatchObject({
      message: expect.stringMatching(
        /the newest that is not proven is backup-1, .*peer service recover db --backup backup-1$/,
      ),
    });
    expect(service()).toEqual(before);
    expect((await act('recover?confirm=db', { backup: 'backup-1' })).last).toMatchObject({ type: 'done', ready: true });
  });

  it('is as it was when the backup cannot be restored', async () => {
    const { act, node, take, here, service } = await withDatabase();
    await take();
    const before = service();
    node.setStatus(here, 'dead');
    node.backups.fails = Object.assign(new Error('it is cut off'), { code: 'backup_unusable' });
    expect((await act('recover?confirm=db')).last).toMatchObject({ code: 'backup_unusable' });
    node.backups.fails = Object.assign(new Error('the stream ended'), { code: 'closed' });
    expect((await act('recover?confirm=db')).last).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('db is as it was: ask again'),
    });
    expect(service()).toEqual(before);
  });
});

describe('a service that is upgraded', () => {
  const withNewer = async () => {
    const known = await withDatabase();
    for (const name of ['alpha', 'beta']) known.node.engines.set(name, ['postgres 15', 'postgres 16']);
    known.node.changed();
    return known;
  };

  it('is of the other version where it was, and what was before is kept until that is confirmed', async () => {
    const { act, service, here, viewer, node } = await withNewer();
    const before = service().volume!.lineage;
    expect((await act('upgrade', { version: '16' })).last).toMatchObject({
      ...{ type: 'done', version: '16', node: here, ready: true, backup: 'backup-1' },
      before: { version: '15', node: here },
    });
    expect(service().volume).toMatchObject({ before: { version: '15', lineage: before } });
    expect((await viewer.get('/v1/services/db')).body).toMatchObject({ version: '16', before: { version: '15' } });
    expect((await act('upgrade', { version: '16' })).last).toMatchObject({ code: 'upgrade_unconfirmed' });
    expect((await act('upgrade/confirm')).last).toMatchObject({ type: 'done', version: '16', before: null });
    expect(node.volumes.discarded).toEqual([service().volume!.id]);
    expect((await act('upgrade/confirm')).last).toMatchObject({ code: 'no_upgrade' });
  });

  it('is what it was, under a lineage of its own, once it is reverted', async () => {
    const { act, service, here, node } = await withNewer();
    const before = service().volume!.lineage;
    await act('upgrade', { version: '16' });
    expect(await act('upgrade/revert')).toMatchObject({ status: 400 });
    node.failWrites = new Error('the disk is full');
    expect((await act('upgrade/revert?confirm=db')).last).toMatchObject({ type: 'failed' });
    node.failWrites = undefined;
    expect((await act('upgrade/revert?confirm=db')).last).toMatchObject({ type: 'done', version: '15', node: here });
    const { lineage } = service().volume!;
    expect(lineage).not.toBe(before);
    // What was cut off is done when it is asked for again: the same one both times.
    expect(node.volumes.putBacks).toEqual([lineage, lineage]);
  });

  it.each([
    ['that it is', '15', 'bad_request', /db is postgres 15 already: there is 16 on alpha, beta/],
    ['that is older', '14', 'bad_request', /an older engine does not read its backups: there is 16 on alpha, beta/],
    ['that nobody has', '17', 'version_unknown', /no living node has postgres 17: there is 16 on alpha, beta/],
  ])('is refused a version %s, with what there is', async (_, version, code, message) => {
    const { act, service } = await withNewer();
    const before = service();
    const { last } = await act('upgrade', { version });
    expect(last).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(service()).toEqual(before);
  });

  it('is refused when no node has a newer version, or it does not run', async () => {
    const { act, developer } = await withDatabase();
    expect((await act('upgrade', { version: '16' })).last).toMatchObject({
      message: 'no living node has postgres 16: no living node has a newer one',
    });
    const stopped = await withNewer();
    await stopped.developer.post('/v1/services/db/stop');
    expect((await stopped.act('upgrade', { version: '16' })).last).toMatchObject({ code: 'service_not_ready' });
    await developer.send('PUT', '/v1/services/ours', { credentials: { uri: 'https://x' } });
    expect(await act('/v1/services/ours/upgrade', { version: '16' })).toMatchObject({
      last: { code: 'service_provided' },
    });
  });
});

describe('a node that is to go', () => {
  it('names what would be out of reach, and drains or leaves only when that is moved or said', async () => {
    const { act, admin, viewer, node, take, here, developer } = await withDatabase();
    await developer.push('shop', { instances: 2, volumes: [{ path: '/data' }] });
    await take();
    const { body } = await viewer.get(`/v1/nodes/${here}/data`);
    expect(body).toMatchObject({
      services: [{ name: 'db', kind: 'postgres', state: 'ready', provenBackupAgeMs: expect.any(Number) }],
      volumes: [{ owner: 'shop', path: '/data', mounted: true, snapshotAgeMs: null }],
    });
    const refused = await admin.post(`/v1/nodes/${here}/drain`);
    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'data_stranded' } } });
    expect(refused.body.error.message).toMatch(
      /has the data of db \(newest proven backup 0 s old\), shop\/\d:\/data \(no snapshot\): peer nodes drain .* --with-data/,
    );
    const self = node.self.name;
    expect(await admin.post('/v1/node/stop', { leave: true })).toMatchObject({ status: 409 });
    expect(node.shutdowns).toEqual([]);
    expect(await admin.post(`/v1/nodes/${here}/drain?strand=true`)).toMatchObject({ status: 200 });
    await admin.post(`/v1/nodes/${here}/undrain`);

    const { last } = await act(`/v1/nodes/${self}/data/move`, {}, 'admin');
    expect(last).toMatchObject({ type: 'done' });
    expect((await viewer.get(`/v1/nodes/${self}/data`)).body).toEqual({ services: [], volumes: [], exports: [] });
    expect(await admin.post('/v1/node/stop', { leave: true })).toMatchObject({ status: 200 });
  });

  it('keeps what no other node can take, says so, and drains all the same', async () => {
    const { act, node, here, there } = await withDatabase();
    node.engines.set(there, []);
    node.changed();
    const { last, lines } = await act(`/v1/nodes/${here}/data/move`, {}, 'admin');
    expect(last).toMatchObject({
      code: 'data_stranded',
      message: expect.stringMatching(
        new RegExp(`^${here} drains, and still has the data of db \\(no node can take db`),
      ),
    });
    expect(lines.join('\n')).toContain('db stays: no node can take db');
    expect([...node.view().nodes.values()].find(({ name }) => name === here)!.draining).toBe(true);
  });
});
