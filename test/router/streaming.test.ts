import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
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

const LARGE_BYTES = 100 * 1024 * 1024;
const PIECE = Buffer.alloc(1024 * 1024, 'peer');
const LARGE_SHA256 = sha256OfPieces();

let here: TestRouter;
let there: TestRouter;
let app: TestApp;
let eventStream: http.ServerResponse | undefined;

beforeAll(async () => {
  [here, there, app] = await Promise.all([startTestRouter(), startTestRouter(), startApp(serve)]);
  const admitted = [here.nodeId, there.nodeId];
  await applyTable(there, { routes: [], local: [localInstance('there', app.port)], admitted });
  await applyTable(here, {
    routes: [
      route('local.test', [localUpstream(here.nodeId, 'here', app.port)]),
      route('remote.test', [remoteUpstream(there, 'there')]),
    ],
    local: [],
    admitted,
  });
});
afterAll(() => Promise.all([here.handle.close(), there.handle.close(), app.close()]));

function serve(req: http.IncomingMessage, res: http.ServerResponse): void {
  switch (req.url) {
    case '/large':
      res.writeHead(200, { 'Content-Length': LARGE_BYTES });
      sendPieces(res);
      return;
    case '/chunked':
      res.write('one');
      res.end('two');
      return;
    case '/upload': {
      const hash = createHash('sha256');
      req.on('data', (chunk) => hash.update(chunk));
      req.once('end', () => res.end(`${req.headers['content-length'] ?? 'chunked'} ${hash.digest('hex')}`));
      return;
    }
    case '/refuse-upload':
      res.writeHead(413).end('too large');
      return;
    case '/events':
      eventStream = res;
      res.writeHead(200, { 'Content-Type': 'text/event-stream' }).flushHeaders();
      return;
    case '/trailers':
      res.writeHead(200, { Trailer: 'X-Sum' });
      res.write('body');
      res.addTrailers({ 'X-Sum': '42' });
      res.end();
      return;
    case '/early':
      res.writeEarlyHints({ link: '</style.css>; rel=preload' });
      res.end('late');
      return;
    case '/204':
    case '/304':
      res.writeHead(Number(req.url.slice(1)), { ETag: '"x"' }).end();
      return;
    default:
      res.end('plain');
  }
}

async function sendPieces(out: NodeJS.WritableStream): Promise<void> {
  for (let sent = 0; sent < LARGE_BYTES; sent += PIECE.length) {
    if (!out.write(PIECE)) await once(out, 'drain');
  }
  out.end();
}

function sha256OfPieces(): string {
  const hash = createHash('sha256');
  for (let sent = 0; sent < LARGE_BYTES; sent += PIECE.length) hash.update(PIECE);
  return hash.digest('hex');
}

const memoryBytes = (router: TestRouter) =>
  Number(/^Pss_Anon:\s+(\d+)/m.exec(readFileSync(`/proc/${router.handle.pid}/smaps_rollup`, 'utf8'))![1]) * 1024;

const open = async (host: string, path: string) => {
  const request = http.get({ host: '127.0.0.1', port: here.httpPort, path, headers: { host }, agent: false });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  return response;
};

describe.each(['local.test', 'remote.test'])('through %s', (host) => {
  it('a response of 100 MB arrives whole, while a slow reader holds the app back', async () => {
    const before = [memoryBytes(here), memoryBytes(there)];
    const response = await open(host, '/large');
    expect(response.headers['content-length']).toBe(String(LARGE_BYTES));
    const hash = createHash('sha256');
    let bytes = 0;
    let peak = 0;
    for await (const chunk of response) {
      hash.update(chunk);
      bytes += chunk.length;
      if (bytes % 7 === 0) await new Promise((resolve) => setImmediate(resolve));
      if (bytes > LARGE_BYTES / 2 && peak === 0)
        peak = Math.max(memoryBytes(here) - before[0]!, memoryBytes(there) - before[1]!);
    }
    expect(hash.digest('hex')).toBe(LARGE_SHA256);
    expect(peak).toBeLessThan(40 * 1024 * 1024);
  });

  it.each([String(LARGE_BYTES), undefined])('an upload of 100 MB with length %s arrives whole', async (length) => {
    const request = http.request({
      host: '127.0.0.1',
      port: here.httpPort,
      path: '/upload',
      method: 'POST',
      headers: { host, ...(length ? { 'Content-Length': length } : {}) },
      agent: false,
    });
    sendPieces(request);
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    const [text] = (await once(response.setEncoding('utf8'), 'data')) as [string];
    expect(text).toBe(`${length ?? 'chunked'} ${LARGE_SHA256}`);
  });

  it('an early refusal reaches a client that is still sending, and its connection goes on', async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const refused = await get(here, {
      host,
      path: '/refuse-upload',
      method: 'POST',
      body: Buffer.alloc(3_000_000),
      agent,
    });
    expect(refused).toMatchObject({ status: 413, text: 'too large' });
    expect((await get(here, { host, agent })).text).toBe('plain');
    agent.destroy();
  });

  it('events come one by one, the header before the first', async () => {
    const response = await open(host, '/events');
    expect(response.headers['content-type']).toBe('text/event-stream');
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      eventStream!.write(event);
      const [chunk] = await once(response, 'data');
      expect(String(chunk)).toBe(event);
    }
    const closed = once(eventStream!, 'close');
    response.destroy();
    await closed;
  });

  it('HEAD, 204 and 304 have no body, and chunks stay chunks', async () => {
    expect(await get(here, { host, path: '/large', method: 'HEAD' })).toMatchObject({
      status: 200,
      text: '',
      headers: { 'content-length': String(LARGE_BYTES) },
    });
    for (const status of [204, 304]) {
      expect(await get(here, { host, path: `/${status}` })).toMatchObject({
        status,
        text: '',
        headers: { etag: '"x"' },
      });
    }
    const chunked = await get(here, { host, path: '/chunked' });
    expect(chunked.headers['transfer-encoding']).toBe('chunked');
    expect(chunked.text).toBe('onetwo');
  });

  it('trailers pass, and interim answers do not get in the way', async () => {
    expect((await get(here, { host, path: '/trailers' })).trailers).toEqual({ 'x-sum': '42' });
    expect(await get(here, { host, path: '/early' })).toMatchObject({ status: 200, text: 'late' });
  });

  it('a client that waits for 100 Continue is told to go on', async () => {
    const text = await raw(
      here.httpPort,
      `POST /upload HTTP/1.1\r\nHost: ${host}\r\nExpect: 100-continue\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody`,
    );
    expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
    expect(text).toContain(`4 ${createHash('sha256').update('body').digest('hex')}`);
  });

  it('an HTTP/1.0 client gets an answer that ends with the connection', async () => {
    const text = await raw(here.httpPort, `GET /chunked HTTP/1.0\r\nHost: ${host}\r\n\r\n`);
    expect(text).not.toMatch(/transfer-encoding/i);
    expect(text).toMatch(/\r\n\r\nonetwo$/);
  });
});
