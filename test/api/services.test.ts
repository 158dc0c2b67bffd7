// Services and bindings as the API has them: which node, version and password, who may, and what cannot be.

import { describe, expect, it } from 'vitest';
import { asAppId } from '../../crdt/ids.ts';
import { rolloutProgress } from '../../node/api/rollout-progress.ts';
import type { ObservedView } from '../../node/ports/node-service.ts';
import { eventsOf, testApi } from './client.ts';
import { MemoryNode } from './memory-node.ts';

const MIB = 1024 ** 2;
const PASSWORD = /^[A-Za-z0-9]{32}$/;

const serviceOf = (node: MemoryNode, name: string) =>
  [...node.view().services.values()].find((one) => one.name === name)!;
const bindingsIn = (node: MemoryNode) => [...node.view().bindings.values()];

async function withDatabase() {
  const known = testApi();
  await known.developer.push('shop');
  expect(await known.developer.post('/v1/services', { kind: 'postgres', name: 'db' })).toMatchObject({ status: 201 });
  return known;
}

/** The same, with every instance on its way out. */
const stopping = (observed: ObservedView): ObservedView => ({
  ...observed,
  members: observed.members.map((member) => ({
    ...member,
    ...(member.report === undefined
      ? {}
      : {
          report: {
            ...member.report,
            instances: member.report.instances.map((one) => ({ ...one, state: 'stopping' as const })),
          },
        }),
  })),
});

describe('kinds of services', () => {
  it('say what each plan has, and which nodes have the engine, newest version first', async () => {
    const { viewer, node } = testApi(new MemoryNode({ nodes: ['alpha', 'beta', 'gamma'] }));
    node.engines.set('beta', ['postgres 9.6', 'postgres 15']);
    node.engines.set('gamma', []);
    const { body } = await viewer.get('/v1/services/kinds');
    expect(body).toMatchObject([
      {
        kind: 'postgres',
        plans: { small: { memoryBytes: 128 * MIB, storageBytes: 1024 * MIB, connections: 40 } },
        versions: [
          { version: '15', nodes: ['alpha', 'beta'] },
          { version: '9.6', nodes: ['beta'] },
        ],
        debianPackage: 'postgresql',
      },
      { kind: 'redis', versions: [{ version: '7.0', nodes: ['alpha'] }] },
    ]);
  });
});

describe('a new service', () => {
  it('has the smallest plan, the newest version, a node, an address and a sealed password', async () => {
    const { developer, viewer, node } = testApi();
    node.engines.set('alpha', []);
    node.engines.set('beta', ['postgres 13', 'postgres 15']);
    const { status, body } = await developer.post('/v1/services', { kind: 'postgres', name: 'db' });
    expect(status).toBe(201);
    expect(body).toMatchObject({ name: 'db', kind: 'postgres', version: '15', plan: 'small', node: 'beta' });
    const service = serviceOf(node, 'db');
    expect(service).toMatchObject({ memoryBytes: 128 * MIB, storageBytes: 1024 * MIB, backupsKept: 7 });
    expect(service.address).toMatch(/^198\.1[89]\.\d+\.\d+$/);
    expect(service.volume).toMatchObject({
      owner: service.id,
      path: '/data',
      sizeBytes: 1024 * MIB,
      node: '12D3KooWbeta',
    });
    expect(node.secrets.open(`service/${service.id}`, service.secret)).toMatch(PASSWORD);
    expect((await viewer.get('/v1/services')).body).toEqual([
      {
        name: 'db',
        id: service.id,
        kind: 'postgres',
        plan: 'small',
        version: '15',
        node: 'beta',
        state: 'ready',
        bindings: [],
        ownsName: true,
      },
    ]);
  });

  it('takes a plan, a version, sizes and a node that are named', async () => {
    const { developer, node } = testApi();
    node.engines.set('beta', ['postgres 13', 'postgres 15']);
    const wish = { kind: 'postgres', name: 'db', plan: 'medium', version: '13', memoryBytes: 300 * MIB, node: 'beta' };
    expect((await developer.post('/v1/services', wish)).body).toMatchObject({
      version: '13',
      plan: 'medium',
      node: 'beta',
    });
    expect(serviceOf(node, 'db')).toMatchObject({ memoryBytes: 300 * MIB, storageBytes: 1024 * MIB });
  });

  it('goes where there are fewest, and never promises memory twice', async () => {
    const { developer, node } = testApi();
    const placed = [];
    for (const name of ['a', 'b', 'c', 'd']) {
      const { body } = await developer.post('/v1/services', { kind: 'postgres', name, memoryBytes: 400 * MIB });
      placed.push(body.node);
    }
    expect(placed.filter((name) => name === 'alpha')).toHaveLength(2);
    // A service that was stopped comes back, and has its memory then.
    await developer.post('/v1/services/a/stop');
    const fifth = await developer.post('/v1/services', { kind: 'postgres', name: 'e', memoryBytes: 400 * MIB });
    expect(fifth).toMatchObject({
      status: 503,
      body: { error: { code: 'no_node_for_data', message: expect.stringMatching(/^no node can take postgres 15: /) } },
    });
    expect(fifth.body.error.message).toContain('alpha has 224M of memory free, 400M is needed');
    expect([...node.view().services.values()]).toHaveLength(4);
  });

  it('is followed until it runs, or until it is clear that it does not', async () => {
    const { developer, viewer, node } = testApi();
    await developer.post('/v1/services', { kind: 'redis', name: 'cache' });
    const events = await viewer.events('/v1/services/cache/rollout');
    expect(events.at(-1)).toMatchObject({ type: 'done', app: 'cache', instances: [{ state: 'ready' }] });
    node.fate = () => ({ state: 'crashed', reason: 'the data is of another version' });
    await developer.post('/v1/services', { kind: 'redis', name: 'broken' });
    const failed = await viewer.events('/v1/services/broken/rollout');
    expect(failed.at(-1)).toMatchObject({ type: 'failed', message: expect.stringContaining('of another version') });
  });

  it('has stopped when its engine has ended, not while it still writes', async () => {
    const { developer, node } = testApi();
    await developer.post('/v1/services', { kind: 'redis', name: 'cache' });
    const isSettled = () => {
      const app = node.view().workloads.get(asAppId(serviceOf(node, 'cache').id))!;
      return rolloutProgress(app, node.view(), node.observed(), { release: undefined, replaced: undefined }).settled;
    };
    expect(isSettled()).toBe(true);
    const running = node.observed();
    await developer.post('/v1/services/cache/stop');
    const app = node.view().workloads.get(asAppId(serviceOf(node, 'cache').id))!;
    const ending = stopping(running);
    expect(rolloutProgress(app, node.view(), ending, { release: undefined, replaced: undefined }).settled).toBe(false);
    expect(isSettled()).toBe(true);
  });

  const refused: [what: string, wish: object, status: number, code: string, message: string][] = [
    ['a kind that there is not', { kind: 'oracle' }, 404, 'kind_unknown', 'it is one of postgres, redis'],
    [
      'a plan that it has not',
      { plan: 'huge' },
      404,
      'plan_unknown',
      'postgres has no plan huge: it is one of small, medium, large',
    ],
    [
      'a version that no node has',
      { version: '9' },
      404,
      'version_unknown',
      'no living node has postgres 9: there is 15 on alpha, beta',
    ],
    ['a node that there is not', { node: 'delta' }, 404, 'not_found', 'there is no node delta'],
    ['a name that is no name', { name: 'No' }, 400, 'bad_request', 'name: must be'],
    ['the name of a command', { name: 'kinds' }, 400, 'bad_request', 'kinds is a word of the command line'],
    ['too much memory', { plan: 'large' }, 503, 'no_node_for_data', 'has 1024M of memory free, 2048M is needed'],
    ['too little memory', { memoryBytes: 32 * MIB }, 400, 'bad_request', 'postgres takes at least 64 MiB of memory'],
    ['too little storage', { storageBytes: MIB }, 400, 'bad_request', 'postgres takes at least 128 MiB of storage'],
    ['a field that there is not', { colour: 'blue' }, 400, 'bad_request', 'colour: is not a field'],
  ];
  it.each(refused)('is refused for %s', async (_what, wish, status, code, message) => {
    const { developer, node } = testApi();
    const answer = await developer.post('/v1/services', { kind: 'postgres', name: 'db', ...wish });
    expect(answer).toMatchObject({ status, body: { error: { code, message: expect.stringContaining(message) } } });
    expect(node.writes).toHaveLength(0);
  });

  it('is refused where the engine is nowhere, saying what to install', async () => {
    const { developer, node } = testApi();
    for (const name of ['alpha', 'beta']) node.engines.set(name, []);
    const { body } = await developer.post('/v1/services', { kind: 'redis', name: 'cache' });
    expect(body.error).toMatchObject({
      code: 'no_node_for_data',
      message: 'no living node has redis: install redis-server on one (Debian), and restart its node as root',
    });
  });

  it('is refused under a name that is taken', async () => {
    const { developer } = await withDatabase();
    expect(await developer.post('/v1/services', { kind: 'redis', name: 'db' })).toMatchObject({
      status: 409,
      body: { error: { code: 'service_exists' } },
    });
  });
});

describe('a service', () => {
  it('is described with what its node says of it', async () => {
    const { developer, viewer } = await withDatabase();
    await developer.post('/v1/services/db/bind', { app: 'shop', prefix: 'MAIN' });
    expect((await viewer.get('/v1/services/db')).body).toMatchObject({
      name: 'db',
      state: 'ready',
      host: 'db.service.internal',
      address: expect.stringMatching(/^198\.1/),
      memoryBytes: 128 * MIB,
      usedBytes: 40 * MIB,
      connections: 3,
      connectionsMax: 40,
      backupEveryMs: 24 * 60 * 60 * 1000,
      provenBackupAgeMs: null,
      createdBy: 'the-developer',
      bindings: [{ app: 'shop', prefix: 'MAIN', granted: true }],
      reason: null,
    });
  });

  it('says what became of the node that has its data, and does not run elsewhere', async () => {
    const { developer, viewer, node } = testApi();
    node.engines.set('alpha', []);
    await developer.post('/v1/services', { kind: 'postgres', name: 'db' });
    node.onServiceStatus = async () => undefined;
    node.setStatus('beta', 'dead');
    expect((await viewer.get('/v1/services/db')).body).toMatchObject({
      state: 'node dead',
      node: 'beta',
      usedBytes: null,
      reason:
        'its data is on beta, which is dead: it runs again when that is back; if it never is: peer service recover',
    });
    await node.write([{ change: 'removeNode', node: serviceOf(node, 'db').volume!.node }], 'tests');
    expect((await viewer.get('/v1/services')).body).toMatchObject([{ state: 'node removed' }]);
  });

  it('stops, starts and restarts', async () => {
    const { developer, viewer, node } = await withDatabase();
    const stateOf = async () => (await viewer.get('/v1/services/db')).body.state;
    const instance = () => node.instances(asAppId(serviceOf(node, 'db').id))[0]?.id;
    const first = instance();
    await developer.post('/v1/services/db/stop');
    expect(await stateOf()).toBe('stopped');
    expect(instance()).toBeUndefined();
    await developer.post('/v1/services/db/start');
    expect(await stateOf()).toBe('ready');
    const second = instance();
    expect(second).not.toBe(first);
    await developer.post('/v1/services/db/restart');
    expect(instance()).not.toBe(second);
  });

  it('gets a larger plan where its data is, and is restarted for it; its storage only grows', async () => {
    const { developer, node } = await withDatabase();
    const instance = () => node.instances(asAppId(serviceOf(node, 'db').id))[0]?.id;
    const before = instance();
    const changed = await developer.send('PATCH', '/v1/services/db', { plan: 'medium', storageBytes: 2048 * MIB });
    expect(changed.body).toMatchObject({ restarts: true });
    expect(instance()).not.toBe(before);
    expect(serviceOf(node, 'db')).toMatchObject({
      plan: 'medium',
      memoryBytes: 256 * MIB,
      storageBytes: 2048 * MIB,
      volume: { sizeBytes: 2048 * MIB },
    });
    expect((await developer.send('PATCH', '/v1/services/db', { backupsKept: 3 })).body).toMatchObject({
      restarts: false,
    });
    const smaller = await developer.send('PATCH', '/v1/services/db', { storageBytes: 1024 * MIB });
    expect(smaller.body.error.message).toContain('storage only grows');
    const larger = await developer.send('PATCH', '/v1/services/db', { plan: 'large' });
    expect(larger.body.error).toMatchObject({ code: 'no_node_for_data' });
    const nothing = await developer.send('PATCH', '/v1/services/db', {});
    expect(nothing.body.error.message).toContain('nothing to change');
  });

  it('is deleted under its name alone, and not while apps are bound to it', async () => {
    const { developer, node } = await withDatabase();
    expect(await developer.send('DELETE', '/v1/services/db')).toMatchObject({ status: 400 });
    await developer.post('/v1/services/db/bind', { app: 'shop' });
    expect(await developer.send('DELETE', '/v1/services/db?confirm=db')).toMatchObject({
      status: 409,
      body: { error: { code: 'service_bound', message: 'db is bound to shop: peer unbind db shop first' } },
    });
    await developer.post('/v1/services/db/unbind', { app: 'shop' });
    expect(await developer.send('DELETE', '/v1/services/db?confirm=db')).toMatchObject({ status: 200 });
    expect(node.view().services.size).toBe(0);
    expect(node.view().volumes.size).toBe(0);
  });

  it('has logs and events under its name', async () => {
    const { viewer, node } = await withDatabase();
    const id = asAppId(serviceOf(node, 'db').id);
    node.say(id, 'ready to accept connections');
    node.recorded.push({ name: 'instance.ready', app: id, atMs: 1, node: node.self.id, message: 'db is ready' });
    expect(await viewer.events('/v1/apps/db/logs')).toMatchObject([
      { text: 'ready to accept connections' },
      { type: 'end' },
    ]);
    expect(await viewer.events('/v1/events?app=db')).toMatchObject([
      { app: 'db', message: 'db is ready' },
      { type: 'end' },
    ]);
    expect((await viewer.get('/v1/apps/db/why?process=service&index=0')).body).toMatchObject({ app: 'db' });
  });

  it('is read by viewers, and changed by developers; of a team by its maker and admins', async () => {
    const { admin, viewer, developer } = await withDatabase();
    expect(await viewer.post('/v1/services', { kind: 'redis', name: 'x' })).toMatchObject({ status: 403 });
    expect(await viewer.post('/v1/services/db/stop')).toMatchObject({ status: 403 });
    await admin.post('/v1/services', { kind: 'redis', name: 'cache' });
    expect(await developer.post('/v1/services/cache/restart')).toMatchObject({ status: 200 });
    await admin.post('/v1/teams', { teams: 'owned' });
    expect(await viewer.get('/v1/services/cache')).toMatchObject({ status: 200 });
    expect(await developer.post('/v1/services/cache/restart')).toMatchObject({
      status: 403,
      body: { error: { message: expect.stringContaining('the service cache belongs to the-admin') } },
    });
    expect(await developer.post('/v1/services/cache/bind', { app: 'shop' })).toMatchObject({ status: 403 });
    expect(await viewer.get('/v1/apps/db/logs')).toMatchObject({ status: 403 });
    expect(await developer.post('/v1/services/db/restart')).toMatchObject({ status: 200 });
  });

  it('that there is not is said so', async () => {
    const { developer } = testApi();
    expect(await developer.get('/v1/services/nope')).toMatchObject({
      status: 404,
      body: { error: { message: 'there is no service nope: see peer services' } },
    });
  });
});

describe('a binding', () => {
  it('has a password of its own, restarts the app, and is rotated by binding again', async () => {
    const { developer, node } = await withDatabase();
    const app = () => [...node.view().apps.values()][0]!;
    const { body } = await developer.post('/v1/services/db/bind', { app: 'shop', prefix: 'MAIN' });
    expect(body).toMatchObject({ service: 'db', app: 'shop', prefix: 'MAIN', rotated: false });
    const [first] = bindingsIn(node);
    expect(node.secrets.open(`binding/${first!.id}`, first!.secret)).toMatch(PASSWORD);
    expect(app().restartCount).toBe(1);
    const again = await developer.post('/v1/services/db/bind', { app: 'shop' });
    expect(again).toMatchObject({ status: 409, body: { error: { code: 'already_bound' } } });
    expect((await developer.post('/v1/services/db/bind', { app: 'shop', rotate: true })).body).toMatchObject({
      prefix: 'MAIN',
      rotated: true,
    });
    const [second, ...others] = bindingsIn(node);
    expect(others).toEqual([]);
    expect(second!.id).not.toBe(first!.id);
    expect(app().restartCount).toBe(2);
    await developer.post('/v1/services/db/unbind', { app: 'shop' });
    expect(bindingsIn(node)).toEqual([]);
    expect(app().restartCount).toBe(3);
  });

  it.each([
    ['bind', { app: 'nope' }, 404, 'not_found'],
    ['bind', { app: 'shop', rotate: true }, 404, 'not_bound'],
    ['bind', { app: 'shop', prefix: 'lower' }, 400, 'bad_request'],
    ['unbind', { app: 'shop' }, 404, 'not_bound'],
  ])('%s %j is refused', async (action, body, status, code) => {
    const { developer } = await withDatabase();
    expect(await developer.post(`/v1/services/db/${action}`, body)).toMatchObject({
      status,
      body: { error: { code } },
    });
  });

  it('is waited for until the node of the service says that it works', async () => {
    const { developer, viewer, node } = await withDatabase();
    let asked = 0;
    const granted = node.onServiceStatus;
    node.onServiceStatus = async (id) => (++asked < 3 ? { bindings: [] } : granted(id));
    const { body } = await developer.post('/v1/services/db/bind', { app: 'shop' });
    expect(await viewer.events(`/v1/services/db/access?binding=${body.binding}`)).toEqual([
      { type: 'done', granted: true, warning: null },
    ]);
    expect(asked).toBe(3);
  });

  it('to a service that does not run is warned of at once', async () => {
    const { developer, viewer, node } = await withDatabase();
    node.onServiceStatus = async () => undefined;
    await developer.post('/v1/services/db/stop');
    const { body } = await developer.post('/v1/services/db/bind', { app: 'shop' });
    const [event] = await viewer.events(`/v1/services/db/access?binding=${body.binding}`);
    expect(event).toMatchObject({ granted: false, warning: expect.stringContaining('db does not run (stopped)') });
  });
});

describe('an export', () => {
  const WHERE = { host: '192.168.1.5', port: 5432 };

  it('has credentials that are answered once, sealed, and shown to nobody later', async () => {
    const { developer, viewer, node } = await withDatabase();
    const { status, body } = await developer.post('/v1/services/db/export', WHERE);
    expect(status).toBe(201);
    const { export: exported, volume } = serviceOf(node, 'db');
    const home = node.view().nodes.get(volume!.node)!.name;
    expect(exported).toMatchObject({ ...WHERE, node: volume!.node });
    expect(body).toMatchObject({
      service: 'db',
      kind: 'postgres',
      node: home,
      ...WHERE,
      user: 'exported',
      warning: null,
    });
    expect(body.password).toMatch(PASSWORD);
    expect(node.secrets.open(`binding/${exported!.id}`, exported!.secret)).toBe(body.password);
    const shown = (await viewer.get('/v1/services/db')).body;
    expect(shown.export).toMatchObject({ ...WHERE, node: home, isOpen: true, granted: true, certificate: 'PEM\n' });
    expect(JSON.stringify([shown, (await viewer.get('/v1/history')).body])).not.toContain(body.password);
    expect((await developer.send('DELETE', '/v1/services/db/export')).body).toMatchObject({ exported: false });
    expect((await viewer.get('/v1/services/db')).body.export).toBeNull();
  });

  it('that its node cannot open is refused before anything is written', async () => {
    const { developer, node } = await withDatabase();
    node.onExportDoor = async () => ({ isOpen: false, problem: 'port 5432 is in use there: choose another' });
    const refused = await developer.post('/v1/services/db/export', { ...WHERE, node: 'beta' });
    expect(refused).toMatchObject({ status: 409, body: { error: { code: 'export_failed' } } });
    expect(refused.body.error.message).toBe(
      'beta cannot listen at 192.168.1.5:5432: port 5432 is in use there: choose another',
    );
    node.onExportDoor = async () => undefined;
    expect((await developer.post('/v1/services/db/export', WHERE)).body.error.code).toBe('unreachable');
    expect(serviceOf(node, 'db').export).toBeUndefined();
  });

  it('is of a service that runs here, at an address and a port that the system does not keep', async () => {
    const { developer } = await withDatabase();
    await developer.send('PUT', '/v1/services/mail', { credentials: { uri: 'smtp://mail' } });
    const codeOf = async (path: string, body: object) => (await developer.post(path, body)).body.error.code;
    expect(await codeOf('/v1/services/mail/export', WHERE)).toBe('service_provided');
    expect(await codeOf('/v1/services/db/export', { ...WHERE, port: 22 })).toBe('bad_request');
    expect(await codeOf('/v1/services/db/export', { ...WHERE, host: 'example.org' })).toBe('bad_request');
    expect(await codeOf('/v1/services/db/export', { ...WHERE, node: 'gamma' })).toBe('not_found');
    expect((await developer.send('DELETE', '/v1/services/db/export')).body.error.code).toBe('not_exported');
  });
});

describe("a service of one's own", () => {
  const credentials = { uri: 'https://user:pa55@mail.example.org', port: 587 };

  it('is its sealed credentials, which are changed in their place', async () => {
    const { developer, viewer, node } = testApi();
    await developer.push('shop');
    expect((await developer.send('PUT', '/v1/services/mail', { credentials })).body).toMatchObject({
      kind: 'user-provided',
    });
    const opened = () => {
      const { id, secret } = serviceOf(node, 'mail');
      expect(secret).not.toContain('pa55');
      return JSON.parse(node.secrets.open(`service/${id}`, secret));
    };
    expect(opened()).toEqual(credentials);
    const { body } = await developer.post('/v1/services/mail/bind', { app: 'shop' });
    expect(await viewer.events(`/v1/services/mail/access?binding=${body.binding}`)).toMatchObject([{ granted: true }]);
    expect((await developer.send('PUT', '/v1/services/mail', { credentials: { uri: 'x' } })).body.apps).toEqual([
      'shop',
    ]);
    expect(opened()).toEqual({ uri: 'x' });
    const shown = (await viewer.get('/v1/services/mail')).body;
    expect(shown).toMatchObject({ state: 'provided', node: null, address: null, bindings: [{ granted: true }] });
    expect(JSON.stringify(shown)).not.toContain('pa55');
  });

  it('is not started or stopped, and does not take the place of one that runs', async () => {
    const { developer } = await withDatabase();
    await developer.send('PUT', '/v1/services/mail', { credentials });
    expect(await developer.post('/v1/services/mail/stop')).toMatchObject({
      status: 409,
      body: { error: { code: 'service_provided' } },
    });
    expect(await developer.send('PUT', '/v1/services/db', { credentials })).toMatchObject({
      status: 409,
      body: { error: { code: 'service_exists' } },
    });
    expect(await developer.send('PUT', '/v1/services/empty', { credentials: {} })).toMatchObject({ status: 400 });
  });
});

describe('a push', () => {
  const manifest = [{ name: 'db', kind: 'postgres', plan: 'medium' }];

  it('makes and binds the services that it asks for, once, and waits for them before the app is released', async () => {
    const { developer, node } = testApi();
    const steps: string[] = [];
    const granted = node.onServiceStatus;
    node.onServiceStatus = async (id) => {
      steps.push(`asked with ${[...node.view().apps.values()].flatMap(({ releases }) => releases).length} releases`);
      return granted(id);
    };
    const { events } = await developer.push('shop', { services: manifest });
    expect(events.at(-1)).toMatchObject({ type: 'done', app: 'shop', release: 'v1' });
    expect(events).toContainEqual({ type: 'step', step: 'binding', detail: 'db' });
    expect(steps).toEqual(['asked with 0 releases']);
    expect(serviceOf(node, 'db')).toMatchObject({ kind: 'postgres', plan: 'medium' });
    const before = bindingsIn(node);
    expect(before).toHaveLength(1);
    await developer.push('shop', { services: manifest });
    expect(bindingsIn(node)).toEqual(before);
    expect(node.view().services.size).toBe(1);
  });

  it('with createServices makes what is named like its kind', async () => {
    const { developer, node } = testApi();
    const { events } = await developer.push('shop', { services: [{ name: 'redis' }], createServices: true });
    expect(events.at(-1)).toMatchObject({ type: 'done' });
    expect(serviceOf(node, 'redis')).toMatchObject({ kind: 'redis' });
  });

  it('fails before anything is staged when a service cannot be had', async () => {
    const { developer, node } = testApi();
    const { events } = await developer.push('shop', { services: [{ name: 'db' }] });
    expect(events.at(-1)).toMatchObject({
      type: 'failed',
      code: 'not_found',
      message: expect.stringContaining('there is no service db: peer service create KIND db'),
    });
    const unknown = await developer.push('shop', { services: [{ name: 'db', kind: 'oracle' }] });
    expect(unknown.events.at(-1)).toMatchObject({ type: 'failed', code: 'kind_unknown' });
    expect(node.staged).toEqual([]);
    expect(node.view().apps.size).toBe(0);
  });

  it('leaves no service behind when the staging fails', async () => {
    const { developer, node } = testApi();
    node.onStage = () => {
      throw Object.assign(new Error('no'), { code: 'no_buildpack' });
    };
    const { events } = await developer.push('shop', { services: manifest });
    expect(events.at(-1)).toMatchObject({ type: 'failed', code: 'no_buildpack' });
    expect(node.view().services.size).toBe(0);
  });
});

it('never answers a password', async () => {
  const { developer, admin, node, log } = await withDatabase();
  await developer.post('/v1/services/db/bind', { app: 'shop' });
  const service = serviceOf(node, 'db');
  const [binding] = bindingsIn(node);
  const secrets = [
    node.secrets.open(`service/${service.id}`, service.secret),
    node.secrets.open(`binding/${binding!.id}`, binding!.secret),
    service.secret,
    binding!.secret,
  ];
  const answers = await Promise.all(
    ['/v1/services', '/v1/services/db', '/v1/volumes', '/v1/apps/shop', '/v1/apps/shop/env', '/v1/status'].map((path) =>
      admin.get(path),
    ),
  );
  const events = await eventsOf(await admin.stream('/v1/events'));
  const said = JSON.stringify([answers, events, log.entries]);
  for (const secret of secrets) expect(said).not.toContain(secret);
});
