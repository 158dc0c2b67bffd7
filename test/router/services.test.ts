// Ways to services through the router, on real connections: through doors of this node, over the link to another, and
// for the daemon itself. The services are plain servers of TCP.

import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asServiceId, type ServiceId } from '../../crdt/ids.ts';
import type { OpenDoor, ServicePlace, ServiceTable } from '../../node/ports/router.ts';
import { linkCredentials, openTunnel, serviceTarget } from '../../node/router/link-dial.ts';
import { waitFor } from '../../scripts/local-cluster.ts';
import { applyTable, deadPort, makeIdentity, startTcp, startTestRouter, type TestRouter } from './cluster.ts';

const WITHIN_MS = 10_000;
const DB = asServiceId('22222222-2222-4222-8222-222222222222');
const OTHER = asServiceId('33333333-3333-4333-8333-333333333333');

let here: TestRouter;
let there: TestRouter;
let doors: readonly OpenDoor[] = [];
let echo: Awaited<ReturnType<typeof startTcp>>;
let second: Awaited<ReturnType<typeof startTcp>>;
/** Connections that the services have accepted, newest last. */
const accepted: Socket[] = [];

const server = (name: string) =>
  startTcp((socket) => {
    accepted.push(socket);
    socket.write(`${name}\n`);
    socket.pipe(socket);
  });
const at = (port: number): ServicePlace => ({ host: '127.0.0.1', port });
const behind = (router: TestRouter): ServicePlace => ({ node: router.nodeId, link: router.handle.link });
const place = (service: ServiceId, where: ServicePlace): ServiceTable['places'][number] => ({
  service,
  name: 'orders',
  place: where,
});
const door = (service = DB): ServiceTable['doors'][number] => ({ service, listen: { host: '127.0.0.1', port: 0 } });
const doorOf = (service = DB): number | undefined => doors.find((one) => one.service === service)?.port;

/** Reads until the text ends so. */
async function read(socket: net.Socket, end: string, text = ''): Promise<string> {
  while (!text.endsWith(end)) text += String((await once(socket, 'data'))[0]);
  return text;
}

/** Connects through the door and reads the service's greeting. */
async function connect(greeting: string, service = DB): Promise<Socket> {
  const socket = net.connect({ port: doorOf(service)!, host: '127.0.0.1', allowHalfOpen: true });
  expect(await read(socket, '\n')).toBe(`${greeting}\n`);
  return socket;
}

/** What the kernel says of a connection from here. */
const socketInfo = (socket: Socket): string =>
  execFileSync('ss', ['-tinH', 'sport', `:${socket.localPort}`, 'dport', `:${socket.remotePort}`], {
    encoding: 'utf8',
  });

/** How a connection ends: an error's code, or `end`. */
async function endOf(socket: Socket): Promise<string> {
  socket.resume();
  return new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    socket.once('end', () => resolve('end'));
    socket.once('close', () => resolve('close'));
  });
}

/** What a client gets that connects now. */
async function refusal(service = DB): Promise<string> {
  const socket = net.connect(doorOf(service)!, '127.0.0.1');
  const how = await endOf(socket);
  socket.destroy();
  return how;
}

/** Whether the service greets who connects now. */
async function isReached(service = DB): Promise<boolean> {
  const socket = net.connect(doorOf(service)!, '127.0.0.1');
  const greeted = once(socket, 'data').then(
    () => true,
    () => false,
  );
  const ended = new Promise<boolean>((resolve) => socket.once('close', () => resolve(false)));
  const reached = await Promise.race([greeted, ended]);
  socket.destroy();
  return reached;
}

async function setHere(table: ServiceTable): Promise<void> {
  here.handle.setServices(table);
  await waitFor('the doors to open', WITHIN_MS, () =>
    table.doors.every(({ service }) => doorOf(service) !== undefined),
  );
}

beforeAll(async () => {
  [here, there, echo, second] = await Promise.all([
    startTestRouter(),
    startTestRouter(),
    server('first'),
    server('second'),
  ]);
  here.handle.onDoors((open) => {
    doors = open;
  });
  const admitted = [here.nodeId, there.nodeId];
  await applyTable(here, { routes: [], local: [], admitted });
  await applyTable(there, { routes: [], local: [], admitted });
  there.handle.setServices({ places: [place(DB, at(echo.port))], doors: [] });
});
afterAll(() => Promise.all([here.handle.close(), there.handle.close(), echo.close(), second.close()]));

describe.each([
  ['here', () => at(echo.port)],
  ['on another node', () => behind(there)],
])('a door to a service that runs %s', (where, its) => {
  beforeAll(async () => {
    await setHere({ places: [place(DB, its())], doors: [door()] });
    // The other router may not have taken its table yet.
    await waitFor('the service to be reached', WITHIN_MS, () => isReached());
  });

  it('carries bytes both ways', async () => {
    const socket = await connect('first');
    const large = 'x'.repeat(2_000_000);
    socket.write(`${large}!`);
    expect((await read(socket, '!')).length).toBe(large.length + 1);
    socket.destroy();
  });

  it('holds back whoever sends more than the other end reads', async () => {
    const socket = await connect('first');
    const service = accepted.at(-1)!;
    service.unpipe(service);
    service.pause();
    const all = 64 * 1024 * 1024;
    const sent = new Promise<void>((resolve) => socket.write(Buffer.alloc(all), () => resolve()));
    // The kernel counts what it has taken of it.
    const takenBytes = () => Number(/bytes_acked:(\d+)/.exec(socketInfo(socket))?.[1] ?? 0);
    let before = 0;
    let stood = 0;
    await waitFor('it to be held back', WITHIN_MS, () => {
      const now = takenBytes();
      stood = now > 0 && now === before ? stood + 1 : 0;
      before = now;
      return stood === 10;
    });
    expect(before).toBeLessThan(all / 2);
    service.resume();
    await sent;
    socket.destroy();
  });

  it('lets one side end first', async () => {
    const socket = await connect('first');
    socket.end('last words');
    expect(await read(socket, 'words')).toBe('last words');
    await once(socket, 'close');
  });

  it('ends the connection to the service at once when its client breaks off', async () => {
    const socket = await connect('first');
    const service = accepted.at(-1)!;
    const ended = endOf(service);
    socket.resetAndDestroy();
    expect(await ended).toBe(where === 'here' ? 'ECONNRESET' : 'end');
  });

  it("ends the client's at once when the service breaks off", async () => {
    const socket = await connect('first');
    const ended = endOf(socket);
    accepted.at(-1)!.resetAndDestroy();
    expect(await ended).toBe(where === 'here' ? 'ECONNRESET' : 'end');
    socket.destroy();
  });

  it('breaks off what is open when the service is elsewhere, and leads there from then on', async () => {
    const socket = await connect('first');
    const ended = endOf(socket);
    await setHere({ places: [place(DB, at(second.port))], doors: [door()] });
    expect(await ended).toBe('ECONNRESET');
    const again = await connect('second');
    await setHere({ places: [place(DB, its())], doors: [door()] });
    expect(await endOf(again)).toBe('ECONNRESET');
  });

  it('leaves open what is, when other services change', async () => {
    const socket = await connect('first');
    await setHere({ places: [place(DB, its()), place(OTHER, at(second.port))], doors: [door(), door(OTHER)] });
    (await connect('second', OTHER)).destroy();
    await setHere({ places: [place(DB, its())], doors: [door()] });
    socket.write('still there');
    expect(await read(socket, 'there')).toBe('still there');
    socket.destroy();
  });

  it('is a connection for the daemon too', async () => {
    const socket = await here.handle.openService(DB);
    expect(await read(socket as Socket, '\n')).toBe('first\n');
    socket.end('bye');
    expect(await read(socket as Socket, 'bye')).toBe('bye');
    socket.destroy();
  });
});

describe('a door', () => {
  it('refuses at once when the service runs nowhere, or does not answer where it runs', async () => {
    await setHere({ places: [], doors: [door()] });
    expect(await refusal()).toBe('ECONNRESET');
    await setHere({ places: [place(DB, at(await deadPort()))], doors: [door()] });
    expect(await refusal()).toBe('ECONNRESET');
    await expect(here.handle.openService(DB)).rejects.toThrow('orders accepts no connection');
    await expect(here.handle.openService(OTHER)).rejects.toThrow('does not run');
  });

  it('refuses at once when the node of the service is gone, and leads there again when it is back', async () => {
    const identity = makeIdentity();
    const gone = await startTestRouter(identity);
    const admitted = [here.nodeId, there.nodeId, gone.nodeId];
    await setHere({ places: [place(DB, behind(gone))], doors: [door()] });
    await applyTable(gone, { routes: [], local: [], admitted });
    gone.handle.setServices({ places: [place(DB, at(echo.port))], doors: [] });
    await waitFor('the service to be reached', WITHIN_MS, () => isReached());
    const socket = await connect('first');
    const ended = endOf(socket);
    await gone.handle.close();
    expect(['end', 'close', 'ECONNRESET']).toContain(await ended);
    const startMs = performance.now();
    for (let tries = 0; tries < 20; tries++) expect(await refusal()).toBe('ECONNRESET');
    expect(performance.now() - startMs).toBeLessThan(WITHIN_MS);
    const back = await startTestRouter(identity);
    await applyTable(back, { routes: [], local: [], admitted });
    back.handle.setServices({ places: [place(DB, at(echo.port))], doors: [] });
    await setHere({ places: [place(DB, behind(back))], doors: [door()] });
    await waitFor('the service to be reached again', WITHIN_MS, () => isReached());
    await back.handle.close();
  });

  it('breaks off what leads to a node that gives no sign of life', async () => {
    const frozen = await startTestRouter();
    await setHere({ places: [place(DB, behind(frozen))], doors: [door()] });
    await applyTable(frozen, { routes: [], local: [], admitted: [here.nodeId, frozen.nodeId] });
    frozen.handle.setServices({ places: [place(DB, at(echo.port))], doors: [] });
    await waitFor('the service to be reached', WITHIN_MS, () => isReached());
    const socket = await connect('first');
    const ended = endOf(socket);
    process.kill(frozen.handle.pid!, 'SIGSTOP');
    expect(await ended).toBe('ECONNRESET');
    process.kill(frozen.handle.pid!, 'SIGCONT');
    await frozen.handle.close();
  });

  it('closes when nobody wants it any more, and is another one for another service', async () => {
    await setHere({ places: [place(DB, at(echo.port))], doors: [door()] });
    const port = doorOf()!;
    await setHere({ places: [place(DB, at(echo.port)), place(OTHER, at(second.port))], doors: [door(OTHER)] });
    await waitFor('the door to close', WITHIN_MS, () => doorOf() === undefined);
    const socket = net.connect(port, '127.0.0.1');
    expect(await endOf(socket)).toBe('ECONNREFUSED');
    (await connect('second', OTHER)).destroy();
  });

  it('listens at the address and port that it is told, as soon as they are free', async () => {
    const taken = await startTcp(() => {});
    const fixed = { service: DB, listen: { host: '127.18.3.9', port: taken.port } };
    await setHere({ places: [place(DB, at(echo.port))], doors: [fixed] });
    expect(doors).toEqual([{ service: DB, ...fixed.listen }]);
    const socket = net.connect(fixed.listen);
    expect(await read(socket, '\n')).toBe('first\n');
    socket.destroy();
    await taken.close();

    const blocker = net.createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.18.3.10', resolve));
    const { port } = blocker.address() as net.AddressInfo;
    here.handle.setServices({
      places: [place(DB, at(echo.port)), place(OTHER, at(second.port))],
      doors: [door(), { service: OTHER, listen: { host: '127.18.3.10', port } }],
    });
    await waitFor('the other door', WITHIN_MS, () => doorOf() !== undefined);
    expect(doorOf(OTHER)).toBeUndefined();
    blocker.close();
    await waitFor('the door to be tried again', WITHIN_MS, () => doorOf(OTHER) === port);
  });

  it('refuses more connections than a service may have', async () => {
    // One that nobody has connected to before: what other tests have ended may still be counted for a moment.
    const fresh = asServiceId('44444444-4444-4444-8444-444444444444');
    await setHere({ places: [place(fresh, at(echo.port))], doors: [door(fresh)] });
    const sockets: Socket[] = [];
    for (let opened = 0; opened < 1_000; opened += 100) {
      sockets.push(...(await Promise.all(Array.from({ length: 100 }, () => connect('first', fresh)))));
    }
    expect(await refusal(fresh)).toBe('ECONNRESET');
    sockets.pop()!.destroy();
    await waitFor('room for another', WITHIN_MS, () => isReached(fresh));
    for (const socket of sockets) socket.destroy();
  });

  it('is told again by a router that crashed and started anew', async () => {
    await setHere({ places: [place(DB, at(echo.port))], doors: [door()] });
    const { pid } = here.handle;
    process.kill(pid!, 'SIGKILL');
    await waitFor('no door', WITHIN_MS, () => doors.length === 0);
    await waitFor('a door again', WITHIN_MS, () => doorOf() !== undefined);
    expect(here.handle.pid).not.toBe(pid);
    (await connect('first')).destroy();
  });
});

describe('over the link', () => {
  const target = (identity: Pick<TestRouter, 'tls'> = here) => ({
    link: there.handle.link,
    expectedNode: there.nodeId,
    credentials: linkCredentials(identity.tls),
  });

  it('a service that does not run there is refused, also one that runs elsewhere', async () => {
    there.handle.setServices({ places: [place(DB, at(echo.port)), place(OTHER, behind(here))], doors: [] });
    for (const service of [OTHER, asServiceId('nobody'), asServiceId('')]) {
      await expect(openTunnel({ ...target(), to: serviceTarget(service) })).rejects.toThrow(/unknown_service/);
    }
  });

  it('a node that is not admitted is refused', async () => {
    await expect(openTunnel({ ...target(makeIdentity()), to: serviceTarget(DB) })).rejects.toThrow(/not_admitted/);
  });

  it('what is open ends when the service does not run there any more, or its client is not admitted any more', async () => {
    const socket = await openTunnel({ ...target(), to: serviceTarget(DB) });
    const first = endOf(socket);
    there.handle.setServices({ places: [], doors: [] });
    expect(await first).toBeDefined();
    there.handle.setServices({ places: [place(DB, at(echo.port))], doors: [] });
    await waitFor('the service to be back', WITHIN_MS, () =>
      openTunnel({ ...target(), to: serviceTarget(DB) }).then(
        (socket) => socket.destroy() !== undefined,
        () => false,
      ),
    );
    const again = await openTunnel({ ...target(), to: serviceTarget(DB) });
    const ended = endOf(again);
    there.handle.setTable({ routes: [], local: [], admitted: [there.nodeId] });
    expect(await ended).toBeDefined();
  });
});
