import { describe, expect, it } from 'vitest';
import { testApi } from './client.ts';
import { tokenOf } from './memory-node.ts';

describe('status and nodes', () => {
  it('counts members, apps and instances, and says who asks', async () => {
    const { viewer, developer, node } = testApi();
    await developer.push('hello', { instances: 2 });
    node.setStatus('beta', 'dead');
    const { body } = await viewer.get('/v1/status');
    expect(body).toMatchObject({
      node: { name: 'alpha', version: '0.0.0-test' },
      cluster: { name: 'tests', domain: 'localhost' },
      user: { name: 'the-viewer', role: 'viewer' },
      members: { alive: 1, suspect: 0, dead: 1, left: 0 },
      apps: 1,
      instances: { ready: 1 },
      blobs: { usedBytes: 3 * 1024 ** 2, budgetBytes: 10 * 1024 ** 3 },
      conflicts: [],
      problems: [],
    });
  });

  it('lists nodes in the shape that others rely on', async () => {
    const { viewer, developer } = testApi();
    await developer.push('hello', { memoryBytes: 256 * 1024 ** 2 });
    const { body } = await viewer.get('/v1/nodes');
    expect(body).toHaveLength(2);
    expect(body[0]).toMatchObject({
      id: '12D3KooWalpha',
      name: 'alpha',
      status: 'alive',
      runtimes: ['process'],
      memoryBytes: 1024 ** 3,
      memoryUsedBytes: 256 * 1024 ** 2,
      instances: 1,
      address: '10.0.0.1',
      draining: false,
    });
  });

  it('says of nodes what they run out of, and what to do', async () => {
    const { viewer, node } = testApi();
    node.pressures.set('beta', [
      { resource: 'disk', level: 'full', free: 12 * 1024 ** 2, total: 64 * 1024 ** 2 },
      { resource: 'memory', level: 'low', free: 300 * 1024 ** 2, total: 8 * 1024 ** 3 },
    ]);
    node.pressures.set('alpha', [{ resource: 'descriptors', level: 'low', free: 100, total: 1024 }]);
    const { body } = await viewer.get('/v1/nodes');
    expect(body[0].disk).toEqual({ freeBytes: 1024 ** 3, totalBytes: 4 * 1024 ** 3 });
    expect(body[1].pressure[0]).toMatchObject({ resource: 'disk', level: 'full', free: 12 * 1024 ** 2 });
    const { warnings } = (await viewer.get('/v1/status')).body;
    expect(warnings).toEqual([
      'beta has no room left on its disk (12 MiB of 64 MiB free), so it takes no new instances: free space on beta, start it with a smaller --blobs, or move its instances away: peer nodes drain beta',
      'alpha has few file descriptors left (100 of 1024 free): raise the limit of open files on alpha (ulimit -n, LimitNOFILE=, fs.file-max), or peer nodes drain alpha',
      'beta has little memory left (300 MiB of 8 GiB free): end what else runs on beta, start it with a smaller --memory, or move its instances away: peer nodes drain beta',
    ]);
    expect(body[1].pressure[0].warning).toBe(warnings[0]);
  });

  it('drains, labels and removes a node by name or id', async () => {
    const { admin, node } = testApi();
    expect((await admin.post('/v1/nodes/beta/drain')).body).toEqual({ heldBy: 2 });
    expect((await admin.get('/v1/nodes')).body[1]).toMatchObject({ name: 'beta', draining: true });
    await admin.post('/v1/nodes/12D3KooWbeta/undrain');
    await admin.post('/v1/nodes/beta/labels', { labels: { zone: 'cellar' } });
    expect((await admin.get('/v1/nodes')).body[1]).toMatchObject({ draining: false, labels: { zone: 'cellar' } });
    await admin.post('/v1/apps', { name: 'quiet' });
    await admin.post('/v1/apps', { name: 'shop', env: { KEY: 'x' } });
    const { body } = await admin.send('DELETE', '/v1/nodes/beta');
    expect(body).toEqual({ heldBy: 2, knew: { apps: ['shop'], services: [] } });
    expect([...node.view().removedNodes]).toEqual(['12D3KooWbeta']);
    expect((await admin.post('/v1/nodes/beta/drain')).status).toBe(404);
  });

  it('stops the node', async () => {
    const { admin, node } = testApi();
    expect((await admin.post('/v1/node/stop', { leave: true })).body).toMatchObject({ pid: process.pid, leave: true });
    expect(node.shutdowns).toEqual([{ leave: true }]);
  });
});

describe('people', () => {
  it('shows a new token once, and keeps only its hash', async () => {
    const { admin, api, node } = testApi();
    const { body } = await admin.post('/v1/users', { name: 'ada', role: 'developer' });
    expect(body).toMatchObject({ name: 'ada', role: 'developer', heldBy: 2 });
    expect(body.token).toMatch(/^peer_[0-9a-f]{64}$/);
    expect(JSON.stringify(node.writes)).not.toContain(body.token);
    const asked = await api.request('/v1/status', { headers: { authorization: `Bearer ${body.token}` } });
    expect(await asked.json()).toMatchObject({ user: { name: 'ada', role: 'developer' } });
    const { body: users } = await admin.get('/v1/users');
    expect(users.map((user: { name: string }) => user.name)).toContain('ada');
    expect(JSON.stringify(users)).not.toContain('Hash');
  });

  it('keeps the last admin', async () => {
    const { admin } = testApi();
    const refused = await admin.send('DELETE', '/v1/users/the-admin');
    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'last_admin' } } });
  });

  it('makes invites, for an hour and one use unless told otherwise', async () => {
    const { admin } = testApi();
    const { body } = await admin.post('/v1/invites');
    expect(body).toMatchObject({ invite: 'peer-invite-1', uses: 1 });
    expect(body.expiresAtMs - Date.now()).toBeGreaterThan(59 * 60 * 1000);
    expect((await admin.post('/v1/invites', { uses: 3 })).body.invite).toBe('peer-invite-3');
  });
});

describe('apps', () => {
  it('are created without a release, configured and deleted', async () => {
    const { developer } = testApi();
    const created = await developer.post('/v1/apps', { name: 'hello', scale: { web: 2 }, routes: ['Hello.Localhost'] });
    expect(created.status).toBe(201);
    expect((await developer.get('/v1/apps/hello')).body).toMatchObject({
      name: 'hello',
      release: null,
      desired: { web: 2 },
      routes: ['hello.localhost'],
      instances: [],
    });
    await developer.send('PATCH', '/v1/apps/hello', {
      memoryBytes: 64 * 1024 ** 2,
      health: { kind: 'http', path: '/up' },
    });
    expect((await developer.get('/v1/apps/hello')).body).toMatchObject({
      memoryBytes: 64 * 1024 ** 2,
      health: { kind: 'http', path: '/up', timeoutMs: 60_000 },
    });
    await developer.send('DELETE', '/v1/apps/hello');
    expect(await developer.get('/v1/apps/hello')).toMatchObject({
      status: 404,
      body: { error: { code: 'not_found' } },
    });
  });

  it('are shown in the shape that others rely on', async () => {
    const { developer, viewer } = testApi();
    await developer.push('hello', { instances: 2 });
    const { body } = await viewer.get('/v1/apps/hello');
    expect(body).toMatchObject({ name: 'hello', release: 'v1', desired: { web: 2 }, routes: ['hello.localhost'] });
    expect(body.instances).toHaveLength(2);
    expect(body.instances[1]).toMatchObject({
      id: 'beta-1-2',
      process: 'web',
      index: 1,
      node: 'beta',
      release: 'v1',
      state: 'ready',
      restarts: 0,
      sinceMs: 15,
    });
  });

  it('leave out instances of nodes that are dead', async () => {
    const { developer, node } = testApi();
    await developer.push('hello', { instances: 2 });
    node.setStatus('beta', 'dead');
    expect((await developer.get('/v1/apps/hello')).body.instances).toHaveLength(1);
    node.setStatus('beta', 'suspect');
    expect((await developer.get('/v1/apps/hello')).body.instances).toHaveLength(2);
  });

  it('are scaled, stopped, started and restarted, and the roll-out says when it is done', async () => {
    const { developer, node } = testApi();
    await developer.push('hello');
    await developer.post('/v1/apps/hello/scale', { scale: { web: 3 } });
    expect((await developer.events('/v1/apps/hello/rollout')).at(-1)).toMatchObject({ type: 'done', app: 'hello' });
    expect((await developer.get('/v1/apps/hello')).body.instances).toHaveLength(3);

    await developer.post('/v1/apps/hello/stop');
    expect((await developer.events('/v1/apps/hello/rollout')).at(-1)).toMatchObject({ type: 'done', instances: [] });
    await developer.post('/v1/apps/hello/start');
    const before = node.instances(node.view().apps.keys().next().value!).map((instance) => instance.id);
    await developer.post('/v1/apps/hello/restart');
    const done = (await developer.events('/v1/apps/hello/rollout')).at(-1)!;
    expect(done).toMatchObject({ type: 'done' });
    for (const { id } of done.instances as { id: string }[]) expect(before).not.toContain(id);
  });

  it('restart one slot, and the roll-out waits until that instance has been replaced', async () => {
    const { developer } = testApi();
    await developer.push('hello', { instances: 2 });
    const { body } = await developer.post('/v1/apps/hello/restart-slot', { process: 'web', index: 1 });
    expect(body).toEqual({ replaced: 'beta-1-2' });
    const events = await developer.events('/v1/apps/hello/rollout?replaced=beta-1-2');
    expect(events.at(-1)).toMatchObject({ type: 'done' });
    const missing = await developer.post('/v1/apps/hello/restart-slot', { process: 'web', index: 7 });
    expect(missing.status).toBe(404);
  });

  it('that crash before anyone follows are not waited for', async () => {
    const { developer, node } = testApi();
    await developer.push('hello');
    const [app] = node.view().apps.keys();
    Object.assign(node.instances(app!)[0]!, { state: 'crashed', crashes: 4, reason: 'exited with status 1' });
    const events = await developer.events('/v1/apps/hello/rollout');
    expect(events.at(-1)).toMatchObject({
      type: 'failed',
      code: 'crashed',
      message: 'web/0 keeps crashing on alpha: exited with status 1',
    });
  });

  it('replace their instances when the memory changes', async () => {
    const { developer, node } = testApi();
    await developer.push('hello');
    const { body } = await developer.post('/v1/apps/hello/scale', { memoryBytes: 128 * 1024 ** 2 });
    expect(body).toMatchObject({ release: 'v2' });
    const [app] = node.view().apps.values();
    expect(app).toMatchObject({ memoryBytes: 128 * 1024 ** 2, release: { version: 2, description: 'set memory' } });
    expect(node.instances(app!.id)).toMatchObject([{ release: body.releaseId, memoryBytes: 128 * 1024 ** 2 }]);
  });
});

describe('releases and environment', () => {
  it('roll back to the last good release, or to one by its number', async () => {
    const { developer } = testApi();
    await developer.push('hello', {}, 'one');
    await developer.push('hello', {}, 'two');
    await developer.push('hello', {}, 'three');
    const { body } = await developer.post('/v1/apps/hello/rollback');
    expect(body).toMatchObject({ to: 'v2', release: 'v4' });
    expect((await developer.events(`/v1/apps/hello/rollout?release=${body.releaseId}`)).at(-1)).toMatchObject({
      type: 'done',
      release: 'v4',
    });
    expect((await developer.post('/v1/apps/hello/rollback', { release: 'v1' })).body).toMatchObject({ to: 'v1' });
    expect((await developer.post('/v1/apps/hello/rollback', { release: 'v77' })).status).toBe(404);
    const { body: releases } = await developer.get('/v1/apps/hello/releases');
    expect(releases.map((release: { release: string }) => release.release)).toEqual(['v5', 'v4', 'v3', 'v2', 'v1']);
    expect(releases[0]).toMatchObject({ current: true, description: 'rollback to v1', createdBy: 'the-developer' });
  });

  it('show values to developers, and only names to viewers', async () => {
    const { developer, viewer } = testApi();
    await developer.push('hello', { env: { SECRET: 'hunter2' } });
    expect((await developer.get('/v1/apps/hello/env')).body).toEqual({
      app: 'hello',
      env: { SECRET: 'hunter2' },
      refused: [],
    });
    expect((await viewer.get('/v1/apps/hello/env')).body).toMatchObject({ app: 'hello', env: { SECRET: null } });
    expect(JSON.stringify((await viewer.get('/v1/apps/hello')).body)).not.toContain('hunter2');
    expect(JSON.stringify((await viewer.get('/v1/apps/hello/releases')).body)).not.toContain('hunter2');
  });

  it('make a release of every change of the environment', async () => {
    const { developer } = testApi();
    await developer.push('hello');
    const set = await developer.post('/v1/apps/hello/env', { set: { A: '1', B: '2' } });
    expect(set.body).toMatchObject({ release: 'v2', heldBy: 2 });
    const unset = await developer.post('/v1/apps/hello/env', { unset: ['A'] });
    expect(unset.body).toMatchObject({ release: 'v3' });
    expect((await developer.get('/v1/apps/hello/env')).body.env).toEqual({ B: '2' });
    expect((await developer.post('/v1/apps/hello/env', { unset: ['A'] })).status).toBe(404);
    expect((await developer.post('/v1/apps/hello/env', { set: { B: '2' } })).body).toMatchObject({ release: null });
  });
});

describe('a change that was called off', () => {
  it('is shown as refused, by name and with the reason, beside what the last good release has', async () => {
    const { developer, viewer, node } = testApi();
    await developer.push('hello', { env: { A: '1' } });
    await developer.post('/v1/apps/hello/env', { set: { D: 'hunter2' }, unset: ['A'] });
    await developer.post('/v1/apps/hello/scale', { memoryBytes: 64 * 1024 ** 2 });
    const { id, releases } = [...node.view().apps.values()][0]!;
    for (const { id: release } of releases.slice(1)) {
      await node.write([{ change: 'failRelease', app: id, release, reason: 'exited with status 1' }], 'tests');
    }
    expect((await developer.get('/v1/apps/hello/env')).body).toEqual({
      app: 'hello',
      env: { A: '1' },
      refused: [
        { release: 'v3', keys: ['A', 'D'], reason: 'exited with status 1' },
        { release: 'v2', keys: ['A', 'D'], reason: 'exited with status 1' },
      ],
    });
    const { body: app } = await viewer.get('/v1/apps/hello');
    expect(app).toMatchObject({ release: 'v1', memoryBytes: 256 * 1024 ** 2 });
    expect(app.refused[0]).toEqual({
      release: 'v3',
      keys: ['memory', 'env A', 'env D'],
      reason: 'exited with status 1',
    });
    expect(JSON.stringify(app)).not.toContain('hunter2');
    const { body: shown } = await viewer.get('/v1/apps/hello/releases');
    expect(shown.map((release: { refused: string[] }) => release.refused)).toEqual([
      ['memory', 'env A', 'env D'],
      ['env A', 'env D'],
      [],
    ]);
    await developer.push('hello');
    expect((await developer.get('/v1/apps/hello/env')).body).toEqual({ app: 'hello', env: { A: '1' }, refused: [] });
  });

  it('takes the scale with it that a push had asked for, and the next push keeps to what was', async () => {
    const { developer, node } = testApi();
    await developer.push('hello', { instances: 2 });
    await developer.push('hello', { instances: 5, strategy: 'recreate' }, 'two');
    const { id, release } = [...node.view().apps.values()][0]!;
    await node.write([{ change: 'failRelease', app: id, release: release!.id, reason: 'x' }], 'tests');
    await developer.push('hello', {}, 'three');
    expect((await developer.get('/v1/apps/hello')).body).toMatchObject({ desired: { web: 2 }, strategy: 'rolling' });
  });
});

describe('routes', () => {
  it('are mapped, listed and unmapped; a route of another app is refused', async () => {
    const { developer, viewer } = testApi();
    await developer.push('hello');
    await developer.push('other');
    await developer.post('/v1/apps/hello/routes', { route: 'WWW.example.org/shop/' });
    expect((await viewer.get('/v1/routes')).body).toEqual([
      { route: 'hello.localhost', app: 'hello', hostApp: 'hello' },
      { route: 'other.localhost', app: 'other', hostApp: 'other' },
      { route: 'www.example.org/shop', app: 'hello', hostApp: 'hello' },
    ]);
    const taken = await developer.post('/v1/apps/other/routes', { route: 'hello.localhost' });
    expect(taken).toMatchObject({ status: 409, body: { error: { code: 'route_taken' } } });
    await developer.post('/v1/apps/hello/routes/unmap', { route: 'www.example.org/shop' });
    expect((await viewer.get('/v1/apps/hello')).body.routes).toEqual(['hello.localhost']);
    const again = await developer.post('/v1/apps/hello/routes/unmap', { route: 'www.example.org/shop' });
    expect(again.status).toBe(404);
  });

  it('that an app lost to another are shown with who has them, and given up by either', async () => {
    const { developer, viewer, node } = testApi();
    for (const name of ['hello', 'other']) await developer.push(name);
    const idOf = (name: string) => [...node.view().apps.values()].find((app) => app.name === name)!.id;
    const claim = { createdAtMs: 9e12, right: 'host' as const };
    const [lost, below] = ['hello.localhost', 'hello.localhost/shop'];
    node.arrive((doc) => {
      for (const route of [lost, below]) doc.routes[`${route} ${idOf('other')}`] = { ...claim };
    });
    expect((await viewer.get('/v1/routes')).body).toEqual([
      { route: lost, app: 'hello', hostApp: 'hello' },
      { route: lost, app: 'other', hostApp: 'hello', lostTo: 'hello' },
      { route: below, app: 'other', hostApp: 'hello', lostTo: 'hello' },
      { route: 'other.localhost', app: 'other', hostApp: 'other' },
    ]);
    expect((await viewer.get('/v1/apps/other')).body).toMatchObject({
      routes: ['other.localhost'],
      lostRoutes: [
        { route: lost, lostTo: 'hello' },
        { route: below, lostTo: 'hello' },
      ],
    });
    expect((await viewer.get('/v1/apps/hello')).body).toMatchObject({ routes: [lost], lostRoutes: [] });
    const conflicts = async () => (await viewer.get('/v1/status')).body.conflicts;
    expect(await conflicts()).toHaveLength(2);

    const unmapped = await developer.post('/v1/apps/other/routes/unmap', { route: lost });
    expect(unmapped).toMatchObject({ status: 200, body: { app: 'other', route: lost, lostTo: 'hello' } });
    expect(await conflicts()).toEqual([expect.stringContaining(below)]);
    // No route means none that is lost either.
    await developer.push('other', { routes: [] });
    expect(await conflicts()).toEqual([]);
    expect((await viewer.get('/v1/routes')).body).toEqual([{ route: lost, app: 'hello', hostApp: 'hello' }]);
  });
});

describe('input', () => {
  const cases: [what: string, path: string, body: unknown, message: string | RegExp][] = [
    ['a number out of range', 'scale', { scale: { web: 101 } }, 'scale.web: should be a whole number from 0 to 100'],
    ['a number that is text', 'scale', { scale: { web: '3' } }, 'scale.web: should be a whole number from 0 to 100'],
    ['a field nobody knows', 'scale', { scael: {} }, 'scael: is not a field that is known here'],
    ['a bad variable name', 'env', { set: { '1A': 'x' } }, /^set\.1A: must be letters/],
    [
      'a variable that Peer sets',
      'env',
      { set: { A: '1', DYNO: '1' } },
      /^set\.DYNO: is set by Peer for each instance/,
    ],
    ['a port that is none', 'env', { set: { PORT: '70000' } }, /^set\.PORT: must be a port, 1 to 65535/],
    ['a route with a port', 'routes', { route: 'a.b:80' }, 'route: must be HOST or HOST/PATH, without a port'],
    ['a missing field', 'routes', {}, 'route: is missing'],
    ['a list instead of an object', 'scale', [], /should be an object|nothing to scale/],
  ];
  for (const [what, path, body, message] of cases) {
    it(`refuses ${what} with the path to it`, async () => {
      const { developer, node } = testApi();
      await developer.push('hello');
      const writes = node.writes.length;
      const refused = await developer.post(`/v1/apps/hello/${path}`, body);
      expect(refused).toMatchObject({ status: 400, body: { error: { code: 'bad_request' } } });
      expect(refused.body.error.message).toMatch(message);
      expect(node.writes).toHaveLength(writes);
    });
  }

  it.each([
    [{ 'zone-': 'a' }, /^labels\.zone-: must be 1 to 63 letters.*with a letter or digit at both ends$/],
    [{ zone: 'a\nb' }, /^labels\.zone: must be at most 128 printable ASCII characters$/],
    [Object.fromEntries(Array.from({ length: 51 }, (_, index) => [`l${index}`, 'x'])), /^labels: must be at most 50/],
  ])('refuses labels of a node that peer start would refuse: %j', async (labels, message) => {
    const { admin, node } = testApi();
    const refused = await admin.post('/v1/nodes/alpha/labels', { labels });
    expect(refused).toMatchObject({ status: 400, body: { error: { code: 'bad_request' } } });
    expect(refused.body.error.message).toMatch(message);
    expect(node.writes).toEqual([]);
  });

  it('refuses JSON that is not, and bodies that are too large', async () => {
    const { api, admin } = testApi();
    const headers = {
      authorization: (await import('./memory-node.ts')).tokenOf('admin'),
      'content-type': 'application/json',
    };
    headers.authorization = `Bearer ${headers.authorization}`;
    const broken = await api.request('/v1/users', { method: 'POST', headers, body: '{"name":' });
    expect(broken.status).toBe(400);
    expect(await broken.json()).toMatchObject({ error: { code: 'bad_request' } });
    const large = await admin.post('/v1/users', { name: 'x'.repeat(1024 * 1024), role: 'viewer' });
    expect(large).toMatchObject({ status: 413, body: { error: { code: 'too_large' } } });
  });

  it('refuses a body of another type, instead of doing what no body means', async () => {
    const { api, node } = testApi();
    const response = await api.request('/v1/node/stop', {
      method: 'POST',
      headers: { authorization: `Bearer ${tokenOf('admin')}`, 'content-type': 'text/plain' },
      body: '{"leave":true}',
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { message: expect.stringContaining('application/json') } });
    expect(node.shutdowns).toEqual([]);
  });

  it('answers an unexpected error with an id only, and logs what it was', async () => {
    const { developer, node, log } = testApi();
    node.failWrites = new Error('the disk is made of cheese');
    const failed = await developer.post('/v1/apps', { name: 'hello' });
    expect(failed).toMatchObject({ status: 500, body: { error: { code: 'internal' } } });
    expect(failed.body.error.message).not.toContain('cheese');
    const entry = log.entries.find(({ event }) => event === 'api.unexpected');
    expect(entry?.fields).toMatchObject({ error: 'the disk is made of cheese' });
    expect(failed.body.error.message).toContain((entry!.fields as { id: string }).id);
  });
});
