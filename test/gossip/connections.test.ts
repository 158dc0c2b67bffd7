import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Connection } from '@libp2p/interface';
import { afterEach, describe, expect, test } from 'vitest';
import type { NodeId } from '../../crdt/ids.ts';
import { anyMethod } from './any-method.ts';
import { startChild } from './child-process.ts';
import { allConnected, TestCluster, type TestNode } from './cluster.ts';
import { newIdentity } from './fixtures.ts';
import { pausableRelay } from './pausable-relay.ts';
import { rawPeer } from './raw-peer.ts';

const cluster = new TestCluster();
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((end) => end()));
  await cluster.close();
});
const within = { timeout: 10_000, interval: 10 };
/** Reset or closed, either is an end. */
const gone = (socket: Socket): Promise<void> =>
  new Promise((resolve) => {
    socket.on('error', () => undefined).on('close', () => resolve());
  });
/** What a connection of libp2p has beyond its interface. */
const muxerOf = (connection: Connection): { rtt: number; ping(): Promise<number>; abort(error: Error): void } =>
  (connection as unknown as { muxer: { rtt: number; ping(): Promise<number>; abort(error: Error): void } }).muxer;
const portOf = (address: string): number => Number(address.split('/')[4]);

describe('connections', () => {
  test('every admitted node gets connected to every other, each told once, also when all dial at once', async () => {
    const nodes = await cluster.connected(5);
    for (const node of nodes) {
      const others = nodes.filter((other) => other !== node).map((other) => `+${other.id}`);
      expect([...node.connections].sort()).toEqual(others.sort());
    }
  });

  test('a node that only one side admits stays out, without a single connected', async () => {
    const [a, b] = [await cluster.node(), await cluster.node()];
    a.admit(b);
    await expect.poll(() => b.rejected('inbound_not_admitted'), within).toBe(true);
    expect(a.gossip.connected()).toEqual([]);
    expect(b.gossip.connected()).toEqual([]);
    expect([...a.connections, ...b.connections]).toEqual([]);
    b.admit(a);
    await allConnected([a, b]);
  });

  test('a removed node is disconnected before setAdmitted returns, and gets no further', async () => {
    const [a, b, c] = await cluster.connected(3);
    a!.admit(b!);
    expect(a!.gossip.connected()).toEqual([b!.id]);
    expect(a!.connections.at(-1)).toBe(`-${c!.id}`);
    await expect.poll(() => c!.gossip.connected(), within).toEqual([b!.id]);
    await expect(c!.gossip.request(a!.id, anyMethod('any'), null, { timeoutMs: 2_000 })).rejects.toMatchObject({
      code: expect.stringMatching(/unreachable|timeout|closed/),
    });
    expect(a!.gossip.connected()).toEqual([b!.id]);
  });

  test('a connection that ends while a stream over it is being opened costs that stream, not the process', async () => {
    const [a] = await cluster.connected(1);
    const other = await rawPeer();
    cleanups.push(other.stop);
    a!.gossip.setAdmitted(new Map([[other.id, { addresses: [] }]]));
    await other.connect(a!);
    const [connection] = other.host.getConnections();
    // From when the round trip is known, yamux announces a larger window also for a stream that has ended.
    await expect.poll(() => muxerOf(connection!).rtt, within).toBeGreaterThan(-1);
    const opening = connection!.newStream('/any/1', { signal: AbortSignal.timeout(5_000) });
    connection!.abort(new Error('pulled'));
    await expect(opening).rejects.toThrow();
  });

  test('all streams that are opened before the other side is done with its key exchange are served', async () => {
    const STREAMS = 40;
    const { promise: isDone, resolve: goOn } = Promise.withResolvers<void>();
    const other = await rawPeer({ gater: { denyInboundUpgradedConnection: () => isDone.then(() => false) } });
    cleanups.push(other.stop);
    const one = await rawPeer();
    cleanups.push(one.stop);
    await other.host.handle('/any/1', (stream) => void stream.close());
    const connection = await one.host.dial([...other.listening]);
    const opening = Array.from({ length: STREAMS }, () => connection.newStream('/any/1'));
    // The first bytes of each have been sent before what is asked now.
    await muxerOf(connection).ping();
    goOn();
    expect(await Promise.all(opening)).toHaveLength(STREAMS);
  });

  test('a connection ends on both sides when its multiplexer does, on one', async () => {
    const [a] = await cluster.connected(1);
    const other = await rawPeer();
    cleanups.push(other.stop);
    a!.gossip.setAdmitted(new Map([[other.id, { addresses: [] }]]));
    await other.connect(a!);
    await expect.poll(() => a!.gossip.connected(), within).toEqual([other.id]);
    muxerOf(other.host.getConnections()[0]!).abort(new Error('given up'));
    await expect.poll(() => a!.connections, within).toEqual([`+${other.id}`, `-${other.id}`]);
    expect(other.host.getConnections()).toEqual([]);
  });

  test('a stranger with the right private-network key gets nowhere', async () => {
    const [a] = await cluster.connected(2);
    const stranger = await rawPeer();
    cleanups.push(stranger.stop);
    await stranger.connect(a!).catch(() => undefined);
    await expect.poll(() => a!.rejected('inbound_not_admitted'), within).toBe(true);
    await expect.poll(() => stranger.host.getConnections().length, within).toBe(0);
    expect(a!.gossip.connected()).toHaveLength(1);
  });

  test('the wrong private-network key gets nowhere, even with an admitted identity', async () => {
    const node = await cluster.node();
    const other = await cluster.node({ psk: new Uint8Array(32).fill(9) });
    node.admit(other);
    other.admit(node);
    await expect(other.gossip.request(node.id, anyMethod('any'), null, { timeoutMs: 2_000 })).rejects.toMatchObject({
      code: expect.stringMatching(/unreachable|timeout/),
    });
    expect(await other.gossip.probe(node.id, 1_000)).not.toBe('ok');
    expect(node.gossip.connected()).toEqual([]);
  });

  test('garbage on the port is shed: the connections end, the node lives on, its memory does not grow with them', async () => {
    const [a, b] = await cluster.connected(2);
    const port = portOf(a!.gossip.addresses()[0]!);
    const before = process.memoryUsage().rss;
    const garbage = Buffer.alloc(64 * 1024, 'GET / HTTP/1.1\r\n');
    const closed = Array.from({ length: 60 }, async () => {
      const socket = connect(port, '127.0.0.1');
      const write = (): void => {
        while (!socket.destroyed && socket.write(garbage));
      };
      socket.on('drain', write).on('connect', write);
      await gone(socket);
    });
    await Promise.all(closed);
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
    expect(await b!.gossip.probe(a!.id, 2_000)).toBe('ok');
    expect(a!.connections).toEqual([`+${b!.id}`]);
  });

  test('connections that say nothing are ended, too', async () => {
    const node = await cluster.node();
    const socket = connect(portOf(node.gossip.addresses()[0]!), '127.0.0.1');
    socket.resume();
    await gone(socket);
  });

  // Nothing here probes: only the closed connection can tell. Usually it takes milliseconds.
  test('a killed node is noticed by its closed connection', async () => {
    const node = await cluster.node();
    const child = await startChild([node]);
    cleanups.push(child.end);
    node.gossip.setAdmitted(new Map([[child.id, { addresses: child.addresses }]]));
    await expect.poll(() => node.gossip.connected(), within).toEqual([child.id]);
    const noticed = new Promise<number>((resolve) => {
      const ignore = (): void => undefined;
      const disconnected = (): void => resolve(performance.now());
      node.gossip.on({ connected: ignore, disconnected, report: ignore, membership: ignore, changes: ignore });
    });
    const killedMs = performance.now();
    child.process.kill('SIGKILL');
    expect((await noticed) - killedMs).toBeLessThan(2_000);
  });

  test('a lost connection is made again at once', async () => {
    const [a, b] = await cluster.connected(2);
    // Removing and admitting again is the shortest way to cut the wire.
    a!.gossip.setAdmitted(new Map());
    a!.admit(b!);
    await expect.poll(() => [a!.connections.at(-1), b!.connections.at(-1)], within).toEqual([`+${b!.id}`, `+${a!.id}`]);
    expect(b!.connections).toEqual([`+${a!.id}`, `-${a!.id}`, `+${a!.id}`]);
  });

  test('a restarted node finds the others by itself, from the addresses on its disk', async () => {
    const [a, b] = [await cluster.node(), await cluster.node()];
    a.admit(b);
    b.admit(a);
    await allConnected([a, b]);
    await a.gossip.stop();
    expect(JSON.parse(readFileSync(join(a.dataDir, 'peers.json'), 'utf8'))).toEqual({
      nodes: { [b.id]: [b.gossip.addresses()[0]!.split('/p2p/')[0]] },
    });
    const again = await cluster.node({ identity: a.identity, dataDir: a.dataDir });
    again.gossip.setAdmitted(new Map([[b.id, { addresses: [] }]]));
    await expect.poll(() => again.gossip.connected(), within).toEqual([b.id]);
    await expect.poll(() => b.gossip.connected(), within).toEqual([a.id]);
  });

  test('a node that listens again under the same identity while the old connection still hangs is taken, without a flap', async () => {
    const [a, b] = [await cluster.node(), await cluster.node()];
    const relay = await pausableRelay(portOf(b.gossip.addresses()[0]!));
    cleanups.push(relay.close);
    const twin = await rawPeer({ identity: a.identity });
    cleanups.push(twin.stop);
    b.gossip.setAdmitted(new Map([[a.id, { addresses: [] }]]));
    a.gossip.setAdmitted(new Map([[b.id, { addresses: [`/ip4/127.0.0.1/tcp/${relay.port}`] }]]));
    await expect.poll(() => b.gossip.connected(), within).toEqual([a.id]);
    relay.pause();
    await twin.connect(b);
    expect(b.gossip.connected()).toEqual([a.id]);
    expect(b.connections).toEqual([`+${a.id}`]);
    expect(twin.host.getConnections()).toHaveLength(1);
  });

  test.each([
    ['smaller', (one: NodeId, other: NodeId) => one < other],
    ['larger', (one: NodeId, other: NodeId) => one > other],
  ])(
    'gossip flows both ways soon after the node with the %s id found its first connection dead, within seconds',
    async (_, isFirst) => {
      const [one, other] = [await newIdentity(), await newIdentity()];
      const [identity, second] = isFirst(one.nodeId, other.nodeId) ? [one, other] : [other, one];
      const [a, b] = [await cluster.node({ identity }), await cluster.node({ identity: second })];
      const relay = await pausableRelay(portOf(b.gossip.addresses()[0]!));
      cleanups.push(relay.close);
      b.gossip.setAdmitted(new Map([[a.id, { addresses: [] }]]));
      a.gossip.setAdmitted(new Map([[b.id, { addresses: [`/ip4/127.0.0.1/tcp/${relay.port}`] }]]));
      await expect.poll(() => [a, b].map((node) => node.gossip.connected().length), within).toEqual([1, 1]);
      relay.pause();
      a.gossip.checkConnections();
      let said = 0;
      const say = (from: TestNode, about: TestNode): void =>
        from.gossip.publishMembership({
          kind: 'suspect',
          node: about.id,
          incarnation: ++said,
          from: from.id,
          evidence: 'silence',
        });
      const heardSince = said;
      const hears = (node: TestNode): boolean => node.membership.some(({ incarnation }) => incarnation > heardSince);
      await expect
        .poll(() => {
          say(a, b);
          say(b, a);
          return [hears(a), hears(b)];
        }, within)
        .toEqual([true, true]);
      expect([a.connections, b.connections]).toEqual([[`+${b.id}`], [`+${a.id}`]]);
    },
  );
});
