import http from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  APP,
  applyTable,
  get,
  localInstance,
  localUpstream,
  raw,
  remoteUpstream,
  route,
  startApp,
  startTestRouter,
  type TestApp,
  type TestRouter,
} from './cluster.ts';

let here: TestRouter;
let there: TestRouter;
let app: TestApp;
let other: TestApp;
let apart: TestApp;
/** What only the app listens on that has a network of its own. */
const APART_HOST = '127.83.0.2';
/** `/set-cookie?X` answers with that cookie; everything else says who answered, and with what header. */
const answer =
  (name: string): http.RequestListener =>
  (req, res) => {
    if (req.url?.startsWith('/set-cookie?')) res.setHeader('Set-Cookie', decodeURIComponent(req.url.slice(12)));
    res.writeHead(req.url === '/teapot' ? 418 : 200, 'Fine', ['X-Custom-Name', name]);
    res.end(JSON.stringify({ name, url: req.url, method: req.method, headers: req.headers }));
  };
const asked = async (...args: Parameters<typeof get>) => JSON.parse((await get(...args)).text);

beforeAll(async () => {
  [here, there, app, other, apart] = await Promise.all([
    startTestRouter(),
    startTestRouter(),
    startApp(answer('app')),
    startApp(answer('other')),
    startApp(answer('apart'), APART_HOST),
  ]);
  const admitted = [here.nodeId, there.nodeId];
  await applyTable(there, {
    routes: [],
    local: [
      localInstance('there-1', app.port),
      localInstance('there-2', other.port),
      { ...localInstance('there-3', apart.port), host: APART_HOST },
    ],
    admitted,
  });
  await applyTable(here, {
    routes: [
      route('local.test', [localUpstream(here.nodeId, 'here-1', app.port)]),
      route('local.test/other', [localUpstream(here.nodeId, 'here-2', other.port)]),
      route('remote.test', [remoteUpstream(there, 'there-1')]),
      route('two.test', [localUpstream(here.nodeId, 'here-1', app.port, 0), remoteUpstream(there, 'there-2', 1)]),
      route('apart.test', [{ ...localUpstream(here.nodeId, 'here-3', apart.port), host: APART_HOST }]),
      route('apart-remote.test', [remoteUpstream(there, 'there-3')]),
      route('empty.test', []),
      route('*.wild.test', [localUpstream(here.nodeId, 'here-1', app.port)]),
    ],
    local: [localInstance('here-1', app.port), localInstance('here-2', other.port)],
    admitted,
  });
});
afterAll(() => Promise.all([here.handle.close(), there.handle.close(), app.close(), other.close(), apart.close()]));

it.each(['apart.test', 'apart-remote.test'])(
  'an instance with a network of its own is reached at its address (%s)',
  async (host) => {
    expect(await asked(here, { host })).toMatchObject({ name: 'apart' });
  },
);

describe.each([
  ['on this node', 'local.test', 'here-1'],
  ['on another node', 'remote.test', 'there-1'],
])('an instance %s', (_where, host, instance) => {
  it('is reached, and its answer passes unchanged', async () => {
    const { status, rawHeaders, text } = await get(here, { host: `${host}:8080`, path: '/teapot' });
    expect(status).toBe(418);
    expect(rawHeaders).toContain('X-Custom-Name');
    expect(JSON.parse(text)).toMatchObject({ name: 'app', url: '/teapot', method: 'GET' });
  });

  it('gets the whole path, the Host as it was, and where the request came from', async () => {
    const { url, headers } = await asked(here, {
      host: `${host}:8080`,
      path: '/a%20b/../c?x=1&y=%2F',
      headers: { 'X-Forwarded-For': '9.9.9.9', 'X-Peer-Instance': 'forged', 'X-CF-InstanceID': 'forged' },
    });
    expect(url).toBe('/a%20b/../c?x=1&y=%2F');
    expect(headers).toMatchObject({
      host: `${host}:8080`,
      'x-forwarded-for': '9.9.9.9, 127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': `${host}:8080`,
      'x-cf-applicationid': APP,
      'x-cf-instanceid': instance,
      'x-cf-instanceindex': '0',
      'x-request-start': expect.stringMatching(/^\d{13}$/),
      'x-vcap-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    expect(headers).not.toHaveProperty('x-peer-instance');
  });

  it('serves many requests over one client connection, bodies included', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    for (const method of ['GET', 'POST', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
      const { status, text } = await get(here, {
        host,
        method,
        agent,
        body: method === 'POST' ? 'payload' : undefined,
      });
      expect(status).toBe(200);
      if (method !== 'HEAD') expect(JSON.parse(text).method).toBe(method);
    }
    agent.destroy();
  });
});

describe('routing', () => {
  it('lets the longest path win, and a wildcard match any depth', async () => {
    expect((await asked(here, { host: 'local.test', path: '/other/x' })).name).toBe('other');
    expect((await asked(here, { host: 'local.test', path: '/otherwise' })).name).toBe('app');
    expect((await asked(here, { host: 'a.b.wild.test' })).name).toBe('app');
  });

  it('tells an unknown host so', async () => {
    const { status, headers, text } = await get(here, { host: 'nobody.test:81' });
    expect(text).toBe("404 Not Found: Requested route ('nobody.test') does not exist.\n");
    expect(status).toBe(404);
    expect(headers).toMatchObject({ 'x-cf-routererror': 'unknown_route', 'cache-control': 'no-cache, no-store' });
  });

  it('says which app has no instance, and what to do', async () => {
    const { status, headers, text } = await get(here, { host: 'empty.test' });
    expect(text).toBe("503 Service Unavailable: App 'shop' has no ready instance; 'peer app shop' shows why.\n");
    expect(status).toBe(503);
    expect(headers['x-cf-routererror']).toBe('no_endpoints');
  });

  it('believes the target, not the Host, of an absolute request', async () => {
    const text = await raw(
      here.httpPort,
      'GET http://local.test/x HTTP/1.1\r\nHost: empty.test\r\nConnection: close\r\n\r\n',
    );
    expect(text).toContain('"url":"/x"');
    expect(text).toContain('"host":"local.test"');
  });

  it.each([
    ['no host', 'GET / HTTP/1.0\r\n\r\n', '400'],
    ['no path', 'OPTIONS * HTTP/1.1\r\nHost: local.test\r\nConnection: close\r\n\r\n', '400'],
    ['two lengths', 'POST / HTTP/1.1\r\nHost: local.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx', '400'],
    [
      'a length and chunks',
      'POST / HTTP/1.1\r\nHost: local.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      '400',
    ],
    ['two hosts', 'GET / HTTP/1.1\r\nHost: local.test\r\nHost: remote.test\r\nConnection: close\r\n\r\n', '400'],
    [
      'bare line feeds in a chunk',
      'POST / HTTP/1.1\r\nHost: local.test\r\nTransfer-Encoding: chunked\r\n\r\n1\nx\n0\n\n',
      '400',
    ],
    [
      'a header block beyond the bound',
      `GET / HTTP/1.1\r\nHost: local.test\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`,
      '431',
    ],
  ])('refuses a request with %s', async (_name, bytes, status) => {
    expect(await raw(here.httpPort, bytes)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  });
});

describe('the choice of an instance', () => {
  it('follows X-Cf-App-Instance', async () => {
    for (const [index, name] of [
      [0, 'app'],
      [1, 'other'],
      [1, 'other'],
    ] as const) {
      expect((await asked(here, { host: 'two.test', headers: { 'X-Cf-App-Instance': `${APP}:${index}` } })).name).toBe(
        name,
      );
    }
  });

  it.each(['nonsense', `${APP}`, `${APP}:x`, `${APP}:7`, 'other-app:0'])(
    'refuses X-Cf-App-Instance: %s',
    async (header) => {
      expect((await get(here, { host: 'two.test', headers: { 'X-Cf-App-Instance': header } })).status).toBe(400);
    },
  );

  it('stays with an instance once the app has begun a session', async () => {
    const first = await get(here, {
      host: 'two.test',
      path: `/set-cookie?${encodeURIComponent('JSESSIONID=s1; Path=/shop; Secure')}`,
      headers: { 'X-Cf-App-Instance': `${APP}:1` },
    });
    expect(first.headers['set-cookie']).toEqual([
      'JSESSIONID=s1; Path=/shop; Secure',
      '__VCAP_ID__=there-2; Path=/shop; Secure; HttpOnly',
    ]);
    const cookie = 'JSESSIONID=s1; __VCAP_ID__=there-2';
    for (let n = 0; n < 3; n++) {
      const { headers, text } = await get(here, { host: 'two.test', headers: { cookie } });
      expect(JSON.parse(text).name).toBe('other');
      expect(headers['set-cookie']).toBeUndefined();
    }
  });

  it('moves a session whose instance is gone, and says so in the cookie', async () => {
    const { status, headers } = await get(here, {
      host: 'local.test',
      headers: { cookie: 'JSESSIONID=s1; __VCAP_ID__=gone' },
    });
    expect(status).toBe(200);
    expect(headers['set-cookie']).toEqual(['__VCAP_ID__=here-1; Path=/; HttpOnly']);
  });
});
