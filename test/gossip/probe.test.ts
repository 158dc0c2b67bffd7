import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { startChild } from './child-process.ts';
import { allConnected, TestCluster } from './cluster.ts';
import { pausableRelay } from './pausable-relay.ts';

const cluster = new TestCluster();
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(cleanups.splice(0).map((end) => end()));
  await cluster.close();
});
const within = { timeout: 15_000, interval: 10 };

describe('probe', () => {
  test('of a living node is ok, over the connection there is, also many at once', async () => {
    const [a, b] = await cluster.connected(2);
    expect(await a!.gossip.probe(b!.id, 10_000)).toBe('ok');
    expect(await Promise.all(Array.from({ length: 50 }, () => a!.gossip.probe(b!.id, 10_000)))).toEqual(
      Array(50).fill('ok'),
    );
    expect([...a!.connections, ...b!.connections]).toEqual([`+${b!.id}`, `+${a!.id}`]);
  });

  test('of a node that ended is refused', async () => {
    const [a, b] = await cluster.connected(2);
    await b!.gossip.stop();
    await expect.poll(() => a!.gossip.connected(), within).toEqual([]);
    const startedMs = performance.now();
    expect(await a!.gossip.probe(b!.id, 20_000)).toBe('refused');
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  });

  test('of a node without a known address is an error at once', async () => {
    const [a, b] = [await cluster.node(), await cluster.node()];
    a.gossip.setAdmitted(new Map([[b.id, { addresses: [] }]]));
    expect(await a.gossip.probe(b.id, 10_000)).toBe('error');
  });

  test('of a node whose host swallows everything is a timeout', async () => {
    const [a, b] = [await cluster.node(), await cluster.node()];
    const hole = createServer().listen(0, '127.0.0.1');
    await once(hole, 'listening');
    cleanups.push(async () => void hole.close());
    const { port } = hole.address() as AddressInfo;
    hole.on('connection', (socket) => cleanups.push(async () => void socket.destroy()));
    a.gossip.setAdmitted(new Map([[b.id, { addresses: [`/ip4/127.0.0.1/tcp/${port}`] }]]));
    expect(await a.gossip.probe(b.id, 300)).toBe('timeout');
  });

  test('of a node that hangs is a timeout in time, which costs it no connection, and ok again once it runs', async () => {
    const node = await cluster.node();
    const child = await startChild([node]);
    cleanups.push(child.end);
    node.gossip.setAdmitted(new Map([[child.id, { addresses: child.addresses }]]));
    await expect.poll(() => node.gossip.connected(), within).toEqual([child.id]);
    child.process.kill('SIGSTOP');
    const startedMs = performance.now();
    expect(await node.gossip.probe(child.id, 300)).toBe('timeout');
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    expect(await node.gossip.probe(child.id, 300)).toBe('timeout');
    child.process.kill('SIGCONT');
    expect(await node.gossip.probe(child.id, 10_000)).toBe('ok');
    expect(node.connections).toEqual([`+${child.id}`]);
  });

  test('is ok again where a connection carries nothing any more, once another has taken its place', async () => {
    const [a, b] = [await cluster.node(), await cluster.node()];
    const relay = await pausableRelay(Number(b.gossip.addresses()[0]!.split('/')[4]));
    cleanups.push(relay.close);
    b.gossip.setAdmitted(new Map([[a.id, { addresses: [] }]]));
    a.gossip.setAdmitted(new Map([[b.id, { addresses: [`/ip4/127.0.0.1/tcp/${relay.port}`] }]]));
    await allConnected([a, b]);
    relay.pause();
    expect(await a.gossip.probe(b.id, 300)).toBe('timeout');
    await expect.poll(() => a.gossip.probe(b.id, 1_000), { timeout: 60_000, interval: 10 }).toBe('ok');
    // Neither end was without a connection at any time.
    expect(a.connections).toEqual([`+${b.id}`]);
    expect(b.connections).toEqual([`+${a.id}`]);
  });

  test('of every connection replaces those that carry nothing, when the machine has lost an address', async () => {
    const [a, b, c] = [await cluster.node(), await cluster.node(), await cluster.node()];
    const relay = await pausableRelay(Number(b.gossip.addresses()[0]!.split('/')[4]));
    cleanups.push(relay.close);
    for (const other of [b, c]) other.gossip.setAdmitted(new Map([[a.id, { addresses: [] }]]));
    a.gossip.setAdmitted(
      new Map([
        [b.id, { addresses: [`/ip4/127.0.0.1/tcp/${relay.port}`] }],
        [c.id, { addresses: c.gossip.addresses() }],
      ]),
    );
    await expect.poll(() => a.gossip.connected().length, within).toBe(2);
    relay.pause();
    a.gossip.checkConnections();
    await expect.poll(() => a.gossip.probe(b.id, 1_000), within).toBe('ok');
    // Another has taken the place of the one to b; the one to c answered.
    expect([...a.connections].sort()).toEqual([`+${b.id}`, `+${c.id}`].sort());
  });
});

describe('a node that cannot be dialled', () => {
  test('is named with the reason, until it can', async () => {
    const [a, b] = [await cluster.node(), await cluster.node()];
    const hole = createServer().listen(0, '127.0.0.1');
    await once(hole, 'listening');
    const { port } = hole.address() as AddressInfo;
    hole.close();
    await once(hole, 'close');
    a.gossip.setAdmitted(new Map([[b.id, { addresses: [`/ip4/127.0.0.1/tcp/${port}`] }]]));
    const refused = { node: b.id, why: 'refused', sinceMs: expect.any(Number) };
    await expect.poll(() => a.gossip.unreachable(), within).toEqual([refused]);
    a.admit(b);
    b.admit(a);
    await expect.poll(() => a.gossip.unreachable(), within).toEqual([]);
  });
});
