import { once } from 'node:events';
import http from 'node:http';
import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Upstream } from '../../node/core/types.ts';
import {
  applyTable,
  deadPort,
  get,
  localInstance,
  localUpstream,
  remoteUpstream,
  route,
  startApp,
  startTcp,
  startTestRouter,
  type TestApp,
  type TestRouter,
} from './cluster.ts';

let here: TestRouter;
let there: TestRouter;
let good: TestApp;
/** Reads a request's first bytes, then hangs up without an answer. */
let rude: Awaited<ReturnType<typeof startTcp>>;
let rudeRequests = 0;
let dead: number;
let instances = 0;

beforeAll(async () => {
  [here, there, good, rude, dead] = await Promise.all([
    startTestRouter(),
    startTestRouter(),
    startApp((req, res) => {
      const chunks: Buffer[] = [];
      req.on('data', (chunk: Buffer) => chunks.push(chunk));
      req.once('end', () => res.end(`good ${Buffer.concat(chunks).length}`));
    }),
    startTcp((socket) => {
      socket.once('data', () => {
        rudeRequests++;
        socket.resetAndDestroy();
      });
    }),
    deadPort(),
  ]);
});
afterAll(() => Promise.all([here.handle.close(), there.handle.close(), good.close(), rude.close()]));
beforeEach(() => {
  rudeRequests = 0;
});

/** `order` are upstreams, the first of which is tried first: it has the session. */
async function serve(...ports: { port: number; via: 'here' | 'there' }[]): Promise<string> {
  const admitted = [here.nodeId, there.nodeId];
  const local: ReturnType<typeof localInstance>[] = [];
  const upstreams: Upstream[] = ports.map(({ port, via }, index) => {
    const instance = `i-${++instances}`;
    if (via === 'here') return localUpstream(here.nodeId, instance, port, index);
    local.push(localInstance(instance, port));
    return remoteUpstream(there, instance, index);
  });
  await applyTable(there, { routes: [], local, admitted });
  await applyTable(here, { routes: [route('shop.test', upstreams)], local: [], admitted });
  return `JSESSIONID=s; __VCAP_ID__=${upstreams[0]!.instance}`;
}
const ask = (cookie: string, method: string, body?: string | Buffer) =>
  get(here, {
    host: 'shop.test',
    method,
    body,
    headers: { cookie, ...(body ? { 'Content-Length': body.length } : {}) },
  });

describe.each(['here', 'there'] as const)('an upstream %s', (via) => {
  describe('that refuses connections', () => {
    it.each(['GET', 'POST', 'DELETE'])('costs a %s nothing but a try on another', async (method) => {
      const cookie = await serve({ port: dead, via }, { port: good.port, via });
      expect(await ask(cookie, method)).toMatchObject({ status: 200, text: 'good 0' });
    });

    it('costs a small body nothing: it is sent again, whole', async () => {
      const cookie = await serve({ port: dead, via }, { port: dead, via }, { port: good.port, via });
      expect(await ask(cookie, 'POST', 'x'.repeat(10_000))).toMatchObject({ status: 200, text: 'good 10000' });
    });

    it('is an error when there is no other', async () => {
      const cookie = await serve({ port: dead, via });
      const { status, headers, text } = await ask(cookie, 'GET');
      expect(text).toBe(
        "502 Bad Gateway: App 'shop' did not answer (it accepts no connection); 'peer logs shop' may show why.\n",
      );
      expect(status).toBe(502);
      expect(headers['x-cf-routererror']).toBe('endpoint_failure');
    });
  });

  describe('that hangs up without an answer', () => {
    it('costs a GET nothing but a try on another', async () => {
      const cookie = await serve({ port: rude.port, via }, { port: good.port, via });
      expect(await ask(cookie, 'GET')).toMatchObject({ status: 200, text: 'good 0' });
      expect(rudeRequests).toBe(1);
    });

    it.each([
      ['POST', 'payload'],
      ['POST', undefined],
      ['GET', 'payload'],
      ['DELETE', undefined],
    ])('gets a %s with body %s only once', async (method, body) => {
      const cookie = await serve({ port: rude.port, via }, { port: good.port, via });
      const { status, text } = await ask(cookie, method, body);
      expect(status).toBe(502);
      expect(text).toContain('it closed the connection');
      expect(rudeRequests).toBe(1);
    });

    it('gets a GET three times when there is no other, then the client is told', async () => {
      const cookie = await serve({ port: rude.port, via });
      expect((await ask(cookie, 'GET')).status).toBe(502);
      expect(rudeRequests).toBe(3);
    });
  });
});

describe('a large body', () => {
  it('goes to another upstream while none of it was read', async () => {
    const cookie = await serve({ port: dead, via: 'here' }, { port: good.port, via: 'here' });
    expect(await ask(cookie, 'POST', Buffer.alloc(5_000_000))).toMatchObject({ status: 200, text: 'good 5000000' });
  });

  it('that was half sent is not sent again, and the connection survives', async () => {
    const cookie = await serve({ port: rude.port, via: 'here' }, { port: good.port, via: 'here' });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ask = { host: 'shop.test', agent, headers: { cookie } };
    expect((await get(here, { ...ask, method: 'POST', body: Buffer.alloc(5_000_000) })).status).toBe(502);
    expect((await get(here, { ...ask, method: 'GET' })).text).toBe('good 0');
    agent.destroy();
  });
});

describe('an unknown instance', () => {
  it('is refused by its node, and another one serves', async () => {
    await serve({ port: good.port, via: 'here' });
    const upstreams = [remoteUpstream(there, 'never-heard-of'), localUpstream(here.nodeId, 'i-known', good.port, 1)];
    await applyTable(here, {
      routes: [route('shop.test', upstreams)],
      local: [],
      admitted: [here.nodeId, there.nodeId],
    });
    const cookie = 'JSESSIONID=s; __VCAP_ID__=never-heard-of';
    expect(await ask(cookie, 'POST', 'payload')).toMatchObject({ status: 200, text: 'good 7' });
  });
});

describe('an upstream that dies in the middle of its answer', () => {
  it('cuts the client off, so that it cannot take the part for the whole', async () => {
    const half = await startTcp((socket) => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'));
    });
    const cookie = await serve({ port: half.port, via: 'there' }, { port: good.port, via: 'here' });
    await expect(ask(cookie, 'GET')).rejects.toThrow(/aborted|hang up|ECONNRESET/);
    await half.close();
  });

  it('is told apart from one that answers nonsense', async () => {
    const nonsense = await startTcp((socket) => {
      socket.once('data', () => socket.end('220 smtp.test ready\r\n'));
    });
    const cookie = await serve({ port: nonsense.port, via: 'here' }, { port: good.port, via: 'here' });
    expect(await ask(cookie, 'GET')).toMatchObject({
      status: 502,
      text: expect.stringContaining('its response is no HTTP'),
    });
    await nonsense.close();
  });
});

describe('a table that changes', () => {
  let slow: TestApp;
  let answers: http.ServerResponse[] = [];
  beforeAll(async () => {
    slow = await startApp((_req, res) => void answers.push(res));
  });
  afterEach(() => {
    answers = [];
  });
  afterAll(() => slow.close());

  it.each(['here', 'there'] as const)('lets requests to an instance %s finish when it has left', async (via) => {
    const cookie = await serve({ port: slow.port, via });
    const waiting = ask(cookie, 'GET');
    await expect.poll(() => answers.length).toBe(1);
    await serve({ port: good.port, via: 'here' });
    expect((await ask('', 'GET')).text).toBe('good 0');
    answers[0]!.end('slow');
    expect(await waiting).toMatchObject({ status: 200, text: 'slow' });
  });

  it('closes idle connections to an instance that has left', async () => {
    const cookie = await serve({ port: slow.port, via: 'here' });
    let socket: Socket | undefined;
    slow.server.once('connection', (connection) => {
      socket = connection;
    });
    const waiting = ask(cookie, 'GET');
    await expect.poll(() => answers.length).toBe(1);
    answers[0]!.end('slow');
    await waiting;
    const closed = once(socket!, 'close');
    await serve({ port: good.port, via: 'here' });
    await closed;
  });
});

describe('a client that goes away', () => {
  it.each(['here', 'there'] as const)('takes its request to an instance %s with it', async (via) => {
    let aborted = 0;
    const slow = await startApp((_req, res) => {
      res.write('part');
      res.once('close', () => {
        aborted++;
      });
    });
    await serve({ port: slow.port, via });
    const request = http.get({ host: '127.0.0.1', port: here.httpPort, headers: { host: 'shop.test' }, agent: false });
    request.once('error', () => {});
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    response.once('error', () => {});
    await once(response, 'data');
    request.destroy();
    await expect.poll(() => aborted).toBe(1);
    await slow.close();
  });
});

describe('a node that dies', () => {
  it('loses its requests in flight to another one', async () => {
    let waiting = 0;
    const stuck = await startApp(() => {
      waiting++;
    });
    const dying = await startTestRouter();
    const admitted = [here.nodeId, dying.nodeId];
    await applyTable(dying, { routes: [], local: [localInstance('stuck', stuck.port)], admitted });
    const upstreams = [remoteUpstream(dying, 'stuck'), localUpstream(here.nodeId, 'i-good', good.port, 1)];
    await applyTable(here, { routes: [route('shop.test', upstreams)], local: [], admitted });
    const answered = ask('JSESSIONID=s; __VCAP_ID__=stuck', 'GET');
    await expect.poll(() => waiting).toBe(1);
    process.kill(dying.handle.pid!, 'SIGKILL');
    expect(await answered).toMatchObject({ status: 200, text: 'good 0' });
    await Promise.all([dying.handle.close(), stuck.close()]);
  });

  it('is noticed when it only freezes', async () => {
    let waiting = 0;
    const stuck = await startApp(() => {
      waiting++;
    });
    const freezing = await startTestRouter();
    const admitted = [here.nodeId, freezing.nodeId];
    await applyTable(freezing, { routes: [], local: [localInstance('stuck', stuck.port)], admitted });
    const upstreams = [remoteUpstream(freezing, 'stuck'), localUpstream(here.nodeId, 'i-good', good.port, 1)];
    await applyTable(here, { routes: [route('shop.test', upstreams)], local: [], admitted });
    const answered = ask('JSESSIONID=s; __VCAP_ID__=stuck', 'GET');
    await expect.poll(() => waiting).toBe(1);
    process.kill(freezing.handle.pid!, 'SIGSTOP');
    expect(await answered).toMatchObject({ status: 200, text: 'good 0' });
    process.kill(freezing.handle.pid!, 'SIGKILL');
    await Promise.all([freezing.handle.close(), stuck.close()]);
  });
});
