import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { startRouter } from '../../node/router/handle.ts';
import {
  applyTable,
  get,
  localUpstream,
  makeIdentity,
  route,
  silentLog,
  startApp,
  startTcp,
  startTestRouter,
  type TestApp,
  type TestRouter,
} from './cluster.ts';

const opened: { close(): Promise<void> }[] = [];
const keep = <T extends { close(): Promise<void> }>(thing: T): T => {
  opened.push(thing);
  return thing;
};
const router = async (...args: Parameters<typeof startTestRouter>): Promise<TestRouter> => {
  const started = await startTestRouter(...args);
  keep(started.handle);
  return started;
};
const app = async (handler: http.RequestListener): Promise<TestApp> => keep(await startApp(handler));
afterEach(async () => {
  await Promise.all(opened.splice(0).map((thing) => thing.close()));
});

const serving = (started: TestRouter, port: number) => ({
  routes: [route('shop.test', [localUpstream(started.nodeId, 'i', port)])],
  local: [],
  admitted: [],
});
const gone = (pid: number) => {
  try {
    process.kill(pid, 0);
    return false;
  } catch {
    return true;
  }
};

describe('the router process', () => {
  it.each(['--http', '--link'] as const)(
    'names the port that is in use and the flag to change it: %s',
    async (flag) => {
      const taken = keep(await startTcp(() => {}));
      const addresses = { http: '127.0.0.1:0', link: '127.0.0.1:0', [flag.slice(2)]: `127.0.0.1:${taken.port}` };
      await expect(startRouter({ ...makeIdentity(), ...addresses, log: silentLog })).rejects.toMatchObject({
        code: 'port_in_use',
        message: `Port ${taken.port} is in use by another program: stop it, or choose another port with ${flag} HOST:PORT.`,
      });
    },
  );

  it.each([
    ['nonsense', 'bad_address'],
    ['127.0.0.1:99999', 'bad_address'],
    ['192.0.2.1:0', 'address_unavailable'],
  ])('cannot listen on %s: %s', async (http, code) => {
    await expect(startRouter({ ...makeIdentity(), http, link: '127.0.0.1:0', log: silentLog })).rejects.toMatchObject({
      code,
    });
  });

  it('comes back on the same ports with the same table after a crash', async () => {
    const started = await router();
    const { port } = await app((_req, res) => res.end('served'));
    await applyTable(started, serving(started, port));
    const {
      http: address,
      link,
      pid,
    } = { http: started.handle.http, link: started.handle.link, pid: started.handle.pid! };
    process.kill(pid, 'SIGKILL');
    await expect
      .poll(() => get(started, { host: 'shop.test' }).catch(() => undefined), { timeout: 20_000 })
      .toMatchObject({ text: 'served' });
    expect(started.handle).toMatchObject({ http: address, link });
    expect(started.handle.pid).not.toBe(pid);
  });

  it('finishes what is in flight when it closes, and takes nothing new', async () => {
    const started = await router();
    let answer: http.ServerResponse | undefined;
    const { port } = await app((_req, res) => {
      answer = res;
    });
    await applyTable(started, serving(started, port));
    const waiting = get(started, { host: 'shop.test' });
    await vi.waitFor(() => expect(answer).toBeDefined());
    const closed = started.handle.close();
    await expect.poll(() => refused(started.httpPort)).toBe(true);
    answer!.end('late');
    expect((await waiting).text).toBe('late');
    await closed;
    expect(gone(started.handle.pid!)).toBe(true);
  });

  it('survives signals meant for the daemon, and ends with it', async () => {
    const daemon = fork(new URL('./daemon.ts', import.meta.url), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const [{ pid, port }] = (await once(daemon, 'message')) as [{ pid: number; port: number }];
    process.kill(pid, 'SIGINT');
    process.kill(pid, 'SIGTERM');
    expect((await get({ httpPort: port }, { host: 'x.test' })).status).toBe(404);
    daemon.kill('SIGKILL');
    await expect.poll(() => gone(pid), { timeout: 10_000 }).toBe(true);
  });

  it('serves on several threads', async () => {
    const started = await router(makeIdentity(), { threads: 2 });
    const { port } = await app((_req, res) => res.end('served'));
    started.handle.setTable(serving(started, port));
    for (let n = 0; n < 20; n++) {
      await expect
        .poll(async () => (await get(started, { host: 'shop.test' })).text, { timeout: 10_000 })
        .toBe('served');
    }
  });

  it('holds little memory', async () => {
    // Warm: the first start of a fresh checkout compiles TypeScript in the process.
    await (await startTestRouter()).handle.close();
    const started = await router();
    const { port } = await app((_req, res) => res.end('served'));
    await applyTable(started, serving(started, port));
    const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
    await Promise.all(Array.from({ length: 400 }, () => get(started, { host: 'shop.test', agent })));
    agent.destroy();
    const own = /^Pss_Anon:\s+(\d+)/m.exec(readFileSync(`/proc/${started.handle.pid}/smaps_rollup`, 'utf8'));
    expect(Number(own![1])).toBeLessThan(45_000);
  });

  it('refuses a slow client, and closes idle ones, in time', async () => {
    const started = await router();
    const idle = net.connect(started.httpPort, '127.0.0.1');
    await once(idle, 'connect');
    idle.write('GET / HTTP/1.1\r\nHost: shop.test\r\nX-Slow:');
    let text = '';
    idle.on('data', (chunk) => {
      text += chunk;
    });
    await once(idle, 'close');
    expect(text).toMatch(/^HTTP\/1\.1 408 /);
  });
});

const refused = (port: number) =>
  new Promise<boolean>((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });
