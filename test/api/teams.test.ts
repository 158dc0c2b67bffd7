// Whose the apps are: what each user may do with an app, by role, team and the cluster's setting; and whose the hosts
// are.

import { describe, expect, it } from 'vitest';
import type { Role } from '../../crdt/schema.ts';
import { type SentEvent, testApi } from './client.ts';

/** `status` is for everyone, `read` and `change` are for the team when apps belong to teams. */
type Needs = 'status' | 'read' | 'change';

/** Every route of an app, what it needs, and a request that is in order. */
const ROUTES: Record<string, [needs: Needs, body?: object]> = {
  'GET /v1/apps/:name': ['status'],
  'GET /v1/apps/:name/usage': ['status'],
  'GET /v1/apps/:name/why': ['status'],
  'GET /v1/apps/:name/rollout': ['read'],
  'GET /v1/apps/:name/releases': ['read'],
  'GET /v1/apps/:name/env': ['read'],
  'GET /v1/apps/:name/logs': ['read'],
  'PATCH /v1/apps/:name': ['change', {}],
  'POST /v1/apps/:name/env': ['change', { set: { A: '2' } }],
  'POST /v1/apps/:name/scale': ['change', { scale: { web: 2 } }],
  'POST /v1/apps/:name/stop': ['change'],
  'POST /v1/apps/:name/start': ['change'],
  'POST /v1/apps/:name/restart': ['change'],
  'POST /v1/apps/:name/restart-slot': ['change', { process: 'web', index: 0 }],
  'POST /v1/apps/:name/rollback': ['change', {}],
  'POST /v1/apps/:name/routes': ['change', { route: 'more.example.org' }],
  'POST /v1/apps/:name/routes/unmap': ['change', { route: 'shop.localhost' }],
  'POST /v1/apps/:name/push': ['change'],
  'POST /v1/apps/:name/source/missing': ['change'],
  'POST /v1/apps/:name/source/chunks': ['change'],
  'POST /v1/apps/:name/exec': ['change'],
  'POST /v1/apps/:name/run': ['change'],
  'POST /v1/apps/:name/members': ['change', { user: 'the-viewer', member: true }],
  'POST /v1/apps/:name/owner': ['change', { owner: 'the-developer' }],
  'POST /v1/apps/:name/volumes': ['change', { path: '/data' }],
  'DELETE /v1/apps/:name': ['change'],
};

/** Routes that only the owner and admins may use, whatever the setting. */
const OWNERS_ONLY = ['POST /v1/apps/:name/members', 'POST /v1/apps/:name/owner'];

const QUERY: Record<string, string> = { 'GET /v1/apps/:name/why': '?index=0' };
const SESSION = Buffer.from(JSON.stringify({ argv: ['true'], index: 0 })).toString('base64url');
const TASK = Buffer.from(JSON.stringify({ argv: ['true'] })).toString('base64url');

/** A cluster with the app `shop` of ada, with bob and the viewer vic in her team; eve, tom and ann are not. */
async function cluster(teams: 'flat' | 'owned') {
  const testing = testApi();
  const { admin } = testing;
  const tokens: Record<string, string> = {};
  const people: [string, Role][] = [
    ['ada', 'developer'],
    ['bob', 'developer'],
    ['vic', 'viewer'],
    ['eve', 'developer'],
    ['tom', 'viewer'],
    ['ann', 'admin'],
  ];
  for (const [name, role] of people) tokens[name] = (await admin.post('/v1/users', { name, role })).body.token;
  const as = (name: string) => testing.withToken(tokens[name]!);
  await as('ada').push('shop', { env: { A: '1' } });
  for (const user of ['bob', 'vic']) {
    expect((await as('ada').post('/v1/apps/shop/members', { user, member: true })).status).toBe(200);
  }
  expect((await admin.post('/v1/teams', { teams })).status).toBe(200);
  const ask = async (name: string, route: string) => {
    const [method, path] = route.split(' ') as [string, string];
    const body = ROUTES[route]?.[1];
    const response = await testing.api.request(path.replace(':name', 'shop') + (QUERY[route] ?? ''), {
      method,
      headers: {
        authorization: `Bearer ${tokens[name]}`,
        'x-peer-session': route.endsWith('/exec') ? SESSION : TASK,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = response.status === 403 ? await response.text() : '';
    await response.body?.cancel().catch(() => {});
    return { status: response.status, text };
  };
  return { ...testing, as, ask };
}

/** What a user may do with an app, in each setting. */
const RIGHTS: [who: string, name: string, flat: Needs, owned: Needs][] = [
  ['the owner', 'ada', 'change', 'change'],
  ['a member', 'bob', 'change', 'change'],
  ['a member who is a viewer', 'vic', 'read', 'read'],
  ['another developer', 'eve', 'change', 'status'],
  ['another viewer', 'tom', 'read', 'status'],
  ['an admin', 'ann', 'change', 'change'],
];
const ORDER: Needs[] = ['status', 'read', 'change'];

describe('an app', () => {
  it('has no route that is not in this table', () => {
    const { api } = testApi();
    const routes = api.routes.filter(({ method, path }) => method !== 'ALL' && path.startsWith('/v1/apps/:name'));
    expect([...new Set(routes.map(({ method, path }) => `${method} ${path}`))].sort()).toEqual(
      Object.keys(ROUTES).sort(),
    );
  });

  for (const teams of ['flat', 'owned'] as const) {
    for (const [who, name, flat, owned] of RIGHTS) {
      const held = teams === 'flat' ? flat : owned;
      it(`is for ${who} to ${held === 'status' ? 'see the status of' : held}, when teams are ${teams}`, async () => {
        for (const [route, [needs]] of Object.entries(ROUTES)) {
          const { ask, node } = await cluster(teams);
          const writes = node.writes.length;
          const { status, text } = await ask(name, route);
          const isOwner = name === 'ada' || name === 'ann';
          const allowed = ORDER.indexOf(held) >= ORDER.indexOf(needs) && (isOwner || !OWNERS_ONLY.includes(route));
          expect(`${route} ${status === 403 ? 'refused' : 'allowed'}`).toBe(
            `${route} ${allowed ? 'allowed' : 'refused'}`,
          );
          if (allowed) continue;
          expect(text).toContain('"forbidden"');
          expect(node.writes).toHaveLength(writes);
        }
      });
    }
  }

  it('that is not theirs names whom to ask', async () => {
    const { as } = await cluster('owned');
    expect((await as('eve').get('/v1/apps/shop/env')).body.error.message).toBe(
      'shop belongs to ada, and eve is not of its team: ask ada or an admin for peer apps share shop eve',
    );
  });

  it('shows values of its environment to who may change it, names to viewers of the team', async () => {
    const { as } = await cluster('owned');
    expect((await as('bob').get('/v1/apps/shop/env')).body.env).toEqual({ A: '1' });
    expect((await as('vic').get('/v1/apps/shop/env')).body.env).toEqual({ A: null });
  });

  it('says in its status whose it is', async () => {
    const { as } = await cluster('owned');
    expect((await as('eve').get('/v1/apps/shop')).body).toMatchObject({ owner: 'ada', members: ['bob', 'vic'] });
    expect((await as('eve').get('/v1/status')).body.cluster.teams).toBe('owned');
  });

  it('is given away by its owner, who then has no more of it than others', async () => {
    const { as } = await cluster('owned');
    expect((await as('ada').post('/v1/apps/shop/owner', { owner: 'eve' })).status).toBe(200);
    expect((await as('eve').get('/v1/apps/shop/env')).status).toBe(200);
    expect((await as('ada').get('/v1/apps/shop/env')).status).toBe(403);
    expect((await as('eve').post('/v1/apps/shop/owner', { owner: 'nobody' })).body.error.code).toBe('user_unknown');
  });

  it('is not released by who was taken out of the team, or removed, while it was staged', async () => {
    for (const end of ['member', 'user'] as const) {
      const { as, admin, node } = await cluster('owned');
      node.onStage = async () => {
        if (end === 'user') await admin.send('DELETE', '/v1/users/bob');
        else await as('ada').post('/v1/apps/shop/members', { user: 'bob', member: false });
      };
      const { events } = await as('bob').push('shop');
      expect(events.at(-1)).toMatchObject({ type: 'failed', code: end === 'user' ? 'unauthorized' : 'forbidden' });
      expect((await admin.get('/v1/apps/shop')).body.release).toBe('v1');
    }
  });
});

describe('events', () => {
  it('of an app are for its team, of one that is gone for admins; those of nodes for everyone', async () => {
    const { as, node, admin } = await cluster('owned');
    const shop = [...node.view().apps.keys()][0]!;
    const event = { name: 'x', atMs: 1, node: node.self.id };
    node.recorded.push({ ...event, message: 'of shop', app: shop });
    node.recorded.push({ ...event, message: 'of one that is gone', app: 'gone' as typeof shop });
    node.recorded.push({ ...event, message: 'of a node' });
    const seen = async (who: { events(path: string): Promise<SentEvent[]> }) =>
      (await who.events('/v1/events')).flatMap(({ message }) => (message === undefined ? [] : [message]));
    expect(await seen(as('vic'))).toEqual(['of shop', 'of a node']);
    expect(await seen(as('eve'))).toEqual(['of a node']);
    expect(await seen(as('ann'))).toHaveLength(3);
    expect((await as('eve').stream('/v1/events?app=shop')).status).toBe(403);
    await admin.post('/v1/teams', { teams: 'flat' });
    expect(await seen(as('tom'))).toHaveLength(3);
  });
});

describe('logs', () => {
  it('are followed no longer by who was taken out of the team', async () => {
    const { as, node } = await cluster('owned');
    const shop = [...node.view().apps.keys()][0]!;
    node.say(shop, 'hello');
    const response = await as('bob').stream('/v1/apps/shop/logs?follow=true');
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    while (!text.includes('hello')) text += (await reader.read()).value;
    await as('ada').post('/v1/apps/shop/members', { user: 'bob', member: false });
    node.say(shop, 'a secret');
    for (let next = await reader.read(); !next.done; next = await reader.read()) text += next.value;
    expect(text).not.toContain('a secret');
    expect(text).toContain('"code":"forbidden"');
  });
});

describe('a host', () => {
  const takes = [
    ['shop.localhost/login', 409, 'route_taken'],
    ['SHOP.localhost/login', 409, 'route_taken'],
    ['localhost', 403, 'route_reserved'],
    ['localhost/login', 403, 'route_reserved'],
    ['*.localhost', 403, 'route_reserved'],
  ] as const;

  it.each(takes)(
    '%s is not for a developer to take, by no route of the API, in a cluster of one team either',
    async (route, status, code) => {
      const { as } = await cluster('flat');
      const eve = as('eve');
      const pushed = await eve.push('thief', { routes: [route] });
      expect(pushed.events).toMatchObject([{ type: 'failed', code }]);
      await eve.push('thief');
      const again = await eve.push('thief', { routes: [route] });
      expect(again.events).toMatchObject([{ type: 'failed', code }]);
      const mapped = await eve.post('/v1/apps/thief/routes', { route });
      expect(mapped).toMatchObject({ status, body: { error: { code } } });
      const created = await eve.post('/v1/apps', { name: 'other', routes: [route] });
      expect(created).toMatchObject({ status, body: { error: { code } } });
      expect((await as('ann').post('/v1/apps/thief/routes', { route })).status).toBe(200);
    },
  );

  it('is shared by who may change the app that has it, until it is not', async () => {
    const { as } = await cluster('owned');
    await as('eve').push('blog');
    const share = (name: string, shared = true) =>
      as(name).post('/v1/routes/share', { host: 'shop.localhost', app: 'blog', shared });
    expect((await share('eve')).status).toBe(403);
    expect((await share('vic')).status).toBe(403);
    expect(await share('bob')).toMatchObject({ status: 200, body: { owner: 'shop', app: 'blog', shared: true } });
    const route = 'shop.localhost/blog';
    expect((await as('eve').post('/v1/apps/blog/routes', { route })).status).toBe(200);
    expect((await as('tom').get('/v1/routes')).body).toContainEqual({ route, app: 'blog', hostApp: 'shop' });
    await share('bob', false);
    const shown = (await as('tom').get('/v1/routes')).body.filter((one: { route: string }) => one.route === route);
    expect(shown).toEqual([{ route, app: 'blog', hostApp: 'shop', lostTo: 'shop' }]);
    expect((await as('tom').get('/v1/status')).body.conflicts).toEqual([
      'host shop.localhost belongs to shop, so shop.localhost/blog does not lead to blog: ' +
        'peer routes share shop.localhost blog, or peer unmap blog shop.localhost/blog',
    ]);
    const nobody = await as('ann').post('/v1/routes/share', { host: 'free.localhost', app: 'blog', shared: true });
    expect(nobody.body.error.code).toBe('not_found');
  });
});
