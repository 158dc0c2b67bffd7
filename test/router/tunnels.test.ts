import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { linkCredentials, openTunnel } from '../../node/router/link-dial.ts';
import {
  applyTable,
  deadPort,
  get,
  localInstance,
  localUpstream,
  raw,
  remoteUpstream,
  route,
  startApp,
  startEcho,
  startTcp,
  startTestRouter,
  type TestApp,
  type TestRouter,
  upgrade,
} from './cluster.ts';

let here: TestRouter;
let there: TestRouter;
let echo: TestApp;
let plain: TestApp;
let dead: number;

beforeAll(async () => {
  [here, there, echo, plain, dead] = await Promise.all([
    startTestRouter(),
    startTestRouter(),
    startEcho(),
    startApp((_req, res) => res.writeHead(426, { 'X-App': 'plain' }).end('no websockets here')),
    deadPort(),
  ]);
  const admitted = [here.nodeId, there.nodeId];
  await applyTable(there, {
    routes: [],
    local: [
      localInstance('there', echo.port),
      localInstance('there-plain', plain.port),
      localInstance('there-dead', dead),
    ],
    admitted,
  });
  await applyTable(here, {
    routes: [
      route('local.test', [localUpstream(here.nodeId, 'here', echo.port)]),
      route('remote.test', [remoteUpstream(there, 'there')]),
      route('plain.local.test', [localUpstream(here.nodeId, 'here-plain', plain.port)]),
      route('plain.remote.test', [remoteUpstream(there, 'there-plain')]),
      route('dead.local.test', [
        localUpstream(here.nodeId, 'here-dead', dead),
        localUpstream(here.nodeId, 'here', echo.port),
      ]),
      route('dead.remote.test', [remoteUpstream(there, 'there-dead'), remoteUpstream(there, 'there')]),
    ],
    local: [],
    admitted,
  });
});
afterAll(() => Promise.all([here.handle.close(), there.handle.close(), echo.close(), plain.close()]));

/** Reads until the text ends so. */
async function read(socket: Socket, end: string, text = ''): Promise<string> {
  while (!text.endsWith(end)) text += String((await once(socket, 'data'))[0]);
  return text;
}

describe.each(['local', 'remote'])('a websocket to a %s instance', (where) => {
  it('carries bytes both ways, from the first on', async () => {
    const { status, socket, head, headers } = await upgrade(here, `${where}.test`);
    expect(status).toBe(101);
    expect(headers).toMatchObject({ upgrade: 'websocket', connection: 'Upgrade', 'x-path': '/socket' });
    await read(socket, 'hello', String(head));
    socket.write('ping');
    expect(await read(socket, 'ping')).toBe('ping');
    const large = 'x'.repeat(1_000_000);
    socket.write(`${large}!`);
    expect((await read(socket, '!')).length).toBe(large.length + 1);
    socket.destroy();
  });

  it('lets one side end first', async () => {
    const { socket, head } = await upgrade(here, `${where}.test`);
    await read(socket, 'hello', String(head));
    socket.end('last words');
    expect(await read(socket, 'words')).toBe('last words');
    await once(socket, 'close');
  });

  it('ends on both sides when one breaks', async () => {
    const connected = once(echo.server, 'upgrade');
    const { socket, head } = await upgrade(here, `${where}.test`);
    await read(socket, 'hello', String(head));
    const [, appSocket] = (await connected) as [unknown, Socket];
    const appClosed = once(appSocket, 'close');
    socket.resetAndDestroy();
    await appClosed;

    const reconnected = once(echo.server, 'upgrade');
    const again = await upgrade(here, `${where}.test`);
    again.socket.on('error', () => {});
    const [, againAppSocket] = (await reconnected) as [unknown, Socket];
    const clientClosed = once(again.socket, 'close');
    again.socket.resume();
    againAppSocket.resetAndDestroy();
    await clientClosed;
  });

  it('is tried on another instance when one is dead', async () => {
    const { status, socket } = await upgrade(here, `dead.${where}.test`);
    expect(status).toBe(101);
    socket.destroy();
  });

  it('gets the answer of an app that does not switch, and the connection ends: it belongs to no instance', async () => {
    const { status, headers, socket } = await upgrade(here, `plain.${where}.test`);
    expect(status).toBe(426);
    expect(headers).toMatchObject({ 'x-app': 'plain', connection: 'close' });
    if (!socket.destroyed) await once(socket, 'close');
  });
});

describe('an upgrade', () => {
  it('to an unknown host is answered like any request', async () => {
    expect((await upgrade(here, 'nobody.test')).status).toBe(404);
  });

  it('offer of h2c is passed over', async () => {
    expect((await upgrade(here, 'local.test', 'h2c')).status).toBe(426);
    expect((await get(here, { host: 'local.test' })).status).toBe(426);
  });
});

describe('an upgrade on a connection that has served requests', () => {
  const request = (more: string) => `GET / HTTP/1.1\r\nHost: plain.local.test\r\n${more}\r\n`;
  const switching = 'GET / HTTP/1.1\r\nHost: local.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

  it('comes after their answers', async () => {
    const socket = net.connect(here.httpPort, '127.0.0.1');
    socket.write(request(''));
    expect(await read(socket, '0\r\n\r\n')).toContain('no websockets here');
    socket.write(switching);
    expect(await read(socket, 'hello')).toMatch(/^HTTP\/1\.1 101 /);
    socket.destroy();
  });

  it('is refused while they are still on their way, and the router lives on', async () => {
    const pid = here.handle.pid;
    for (const before of [1, 2, 3]) await raw(here.httpPort, request('').repeat(before) + switching);
    expect((await get(here, { host: 'plain.local.test' })).status).toBe(426);
    expect(here.handle.pid).toBe(pid);
  });
});

describe('a tunnel over the link', () => {
  const target = () => ({
    link: there.handle.link,
    expectedNode: there.nodeId,
    credentials: linkCredentials(here.tls),
  });

  it('is a raw connection to the port of an instance', async () => {
    const server = await startTcp((socket) => {
      socket.write('220 ready\r\n');
      socket.pipe(socket);
    });
    await applyTable(there, {
      routes: [],
      local: [localInstance('tcp', server.port)],
      admitted: [here.nodeId, there.nodeId],
    });
    const socket = await openTunnel({ ...target(), to: 'tcp' });
    expect(await read(socket, '\r\n')).toBe('220 ready\r\n');
    socket.end('bye');
    expect(await read(socket, 'bye')).toBe('bye');
    await once(socket, 'close');
    await server.close();
  });

  it('says why when there is none', async () => {
    await applyTable(there, {
      routes: [],
      local: [localInstance('dead', dead)],
      admitted: [here.nodeId, there.nodeId],
    });
    await expect(openTunnel({ ...target(), to: 'nobody' })).rejects.toThrow(/unknown_instance/);
    await expect(openTunnel({ ...target(), to: 'dead' })).rejects.toThrow(/dial/);
  });
});
