// A node whose link cannot be dialled: what its instances' requests become, and who is told.

import net from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Upstream } from '../../node/core/types.ts';
import type { DownLink } from '../../node/router/down-links.ts';
import { LINK_DIAL_TIMEOUT_MS, LINK_DOUBT_TIMEOUT_MS, LINK_REDIAL_DELAY_MAX_MS } from '../../node/router/limits.ts';
import {
  applyTable,
  deadPort,
  get,
  localInstance,
  localUpstream,
  makeIdentity,
  remoteUpstream,
  route,
  startApp,
  startTcp,
  startTestRouter,
  type TestApp,
  type TestRouter,
} from './cluster.ts';

/** What a request may cost that pays for no time-out. */
const AT_ONCE_MS = LINK_DIAL_TIMEOUT_MS / 2;

let here: TestRouter;
let there: TestRouter;
let app: TestApp;
/** An address that a machine had: nothing comes back from it, until it leads to `there`. */
let way: { link: string; open: boolean; pause(): void; heldBytes(): number; close(): Promise<void> };
let told: DownLink[][];

beforeAll(async () => {
  [here, there, app] = await Promise.all([
    startTestRouter(),
    startTestRouter(),
    startApp((req, res) => req.resume().once('end', () => res.end('served'))),
  ]);
  const local = ['i-0', 'i-1', 'i-2'].map((instance) => localInstance(instance, app.port));
  await applyTable(there, { routes: [], local, admitted: [here.nodeId, there.nodeId] });
});
afterAll(() => Promise.all([here.handle.close(), there.handle.close(), app.close()]));

beforeEach(async () => {
  const inbound: net.Socket[] = [];
  let heldBytes = 0;
  const server = await startTcp((socket) => {
    if (!way.open) return;
    inbound.push(socket);
    const port = Number(there.handle.link.split(':')[1]);
    const onward = net.connect(port, '127.0.0.1');
    onward.on('error', () => socket.destroy());
    socket.pipe(onward).pipe(socket);
  });
  way = {
    link: `127.0.0.1:${server.port}`,
    open: false,
    // What is under way stays where it is, and so does what comes.
    pause() {
      way.open = false;
      for (const socket of inbound) {
        socket.unpipe();
        socket.on('data', (chunk: Buffer) => {
          heldBytes += chunk.length;
        });
        socket.resume();
      }
    },
    heldBytes: () => heldBytes,
    close: server.close,
  };
  told = [];
  here.handle.onUnreachable((links) => told.push(links));
});
afterEach(() => way.close());

const at = (link: string, instance: string, index = 0): Upstream => ({
  ...remoteUpstream(there, instance, index),
  link,
  nodeName: 'two',
});

const serve = (upstreams: Upstream[]): Promise<void> =>
  applyTable(here, { routes: [route('shop.test', upstreams)], local: [], admitted: [here.nodeId, there.nodeId] });

async function ask(method = 'GET', body?: string) {
  const startMs = performance.now();
  const headers = {
    cookie: 'JSESSIONID=s; __VCAP_ID__=i-0',
    ...(body === undefined ? {} : { 'content-length': body.length }),
  };
  const { status, text } = await get(here, {
    host: 'shop.test',
    method,
    headers,
    ...(body === undefined ? {} : { body }),
  });
  return { status, text, tookMs: performance.now() - startMs };
}

describe('a node that does not answer at its link', () => {
  it.each(['GET', 'POST'])(
    'costs the first %s one time-out, however many instances it has, and the next nothing',
    async (method) => {
      await serve([
        at(way.link, 'i-0'),
        at(way.link, 'i-1', 1),
        at(way.link, 'i-2', 2),
        localUpstream(here.nodeId, 'near', app.port, 3),
      ]);
      const body = method === 'POST' ? 'payload' : undefined;
      const first = await ask(method, body);
      expect(first).toMatchObject({ status: 200, text: 'served' });
      expect(first.tookMs).toBeLessThan(2 * LINK_DIAL_TIMEOUT_MS);
      for (let i = 0; i < 4; i++) {
        const next = await ask(method, body);
        expect(next).toMatchObject({ status: 200, text: 'served' });
        expect(next.tookMs).toBeLessThan(AT_ONCE_MS);
      }
    },
  );

  it('is what the error names, not the app, when there is no other instance; and at once from then on', async () => {
    await serve([at(way.link, 'i-0')]);
    const text =
      "503 Service Unavailable: App 'shop' runs on node two, which this node cannot reach (timed out); " +
      "'peer nodes' shows who cannot reach whom.\n";
    expect(await ask('POST', 'payload')).toMatchObject({ status: 503, text });
    const next = await ask();
    expect(next).toMatchObject({ status: 503, text });
    expect(next.tookMs).toBeLessThan(AT_ONCE_MS);
  });

  it('is served from again as soon as it answers, without a request that pays for it', async () => {
    await serve([at(way.link, 'i-0')]);
    expect((await ask()).status).toBe(503);
    way.open = true;
    await vi.waitFor(async () => expect((await ask()).status).toBe(200), {
      timeout: 2 * (LINK_DIAL_TIMEOUT_MS + LINK_REDIAL_DELAY_MAX_MS),
      interval: 50,
    });
  });

  it('is served from at once where it says that it is now', async () => {
    await serve([at(way.link, 'i-0')]);
    expect((await ask()).status).toBe(503);
    await serve([at(there.handle.link, 'i-0')]);
    expect(await ask()).toMatchObject({ status: 200, text: 'served' });
  });

  it('does not keep the requests that wait at its old address for long', async () => {
    way.open = true;
    await serve([at(way.link, 'i-0')]);
    expect((await ask()).status).toBe(200);
    way.pause();
    const waiting = ask();
    await vi.waitFor(() => expect(way.heldBytes()).toBeGreaterThan(0), { timeout: 5_000, interval: 5 });
    await serve([at(there.handle.link, 'i-0')]);
    const { status, tookMs } = await waiting;
    expect(status).toBe(200);
    expect(tookMs).toBeLessThan(2 * LINK_DOUBT_TIMEOUT_MS);
  });

  it('is told of after a while, and again when that is over', async () => {
    await serve([at(way.link, 'i-0')]);
    await ask();
    const down = { node: there.nodeId, link: way.link, why: 'timed out', sinceMs: expect.any(Number) };
    await vi.waitFor(() => expect(told.at(-1)).toEqual([down]), { timeout: 10_000, interval: 20 });
    way.open = true;
    await vi.waitFor(() => expect(told.at(-1)).toEqual([]), { timeout: 15_000, interval: 20 });
    expect(told).toHaveLength(2);
  });
});

describe('an address that another machine has now', () => {
  it.each([
    ['refuses', async () => ({ link: `127.0.0.1:${await deadPort()}` }), 'refused'],
    [
      'proves another identity',
      async () => ({ link: there.handle.link, node: makeIdentity().nodeId }),
      'another machine answers there',
    ],
  ])('and that %s costs nothing but a try elsewhere', async (_, moved, why) => {
    const upstream = { ...at('', 'i-0'), ...(await moved()) };
    await serve([upstream, localUpstream(here.nodeId, 'near', app.port, 1)]);
    expect(await ask('POST', 'payload')).toMatchObject({ status: 200, text: 'served' });
    await serve([upstream]);
    expect(await ask('POST', 'payload')).toMatchObject({
      status: 503,
      text: expect.stringContaining(`cannot reach (${why})`),
    });
  });
});
