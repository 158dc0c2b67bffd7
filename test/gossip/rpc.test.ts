import * as v from 'valibot';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { GossipError, RemoteError } from '../../node/gossip/errors.ts';
import { RPC_INBOUND_PER_NODE_MAX, RPC_REPLY_BYTES_MAX, RPC_REQUEST_BYTES_MAX } from '../../node/gossip/limits.ts';
import type { DuplexRequests } from '../../node/ports/gossip.ts';
import { method } from '../../node/ports/methods.ts';
import { anyDuplex, anyMethod, anyStream } from './any-method.ts';
import { TestCluster, type TestNode } from './cluster.ts';
import { rawPeer } from './raw-peer.ts';

const cluster = new TestCluster();
let asker: TestNode;
let server: TestNode;
beforeEach(async () => {
  [asker, server] = (await cluster.connected(2)) as [TestNode, TestNode];
});
afterEach(() => cluster.close());
const within = { timeout: 10_000, interval: 10 };
const ask = (method: string, payload: unknown = null, timeoutMs = 5_000): Promise<unknown> =>
  asker.gossip.request(server.id, anyMethod(method), payload, { timeoutMs });

describe('a request that may have waited while its node stood still', () => {
  const stoodStillMs = 10_000;
  let called: string[];
  beforeEach(async () => {
    called = [];
    server = await cluster.node({ standstill: { recentMs: () => stoodStillMs } });
    for (const node of [asker, server]) node.admit(asker, server);
    await expect.poll(() => server.gossip.connected(), within).toEqual([asker.id]);
    for (const method of ['restart', 'read']) {
      const handler = async () => void called.push(method);
      server.gossip.handle(anyMethod(method, { whileWanted: method === 'restart' }), handler);
    }
  });

  test('is not carried out when its caller waits for less time than that', async () => {
    await expect(ask('restart', null, 5_000)).rejects.toMatchObject({
      code: 'late',
      message: expect.stringContaining('stood still for 10 s'),
    });
    expect(called).toEqual([]);
  });

  test('is carried out when its caller waits longer, and when it changes nothing', async () => {
    await ask('restart', null, 20_000);
    await ask('read', null, 5_000);
    expect(called).toEqual(['restart', 'read']);
  });

  test('with a command for this node neither', async () => {
    const longer = await cluster.node({ standstill: { recentMs: () => 3_600_000 } });
    for (const node of [asker, longer]) node.admit(asker, longer);
    await expect.poll(() => longer.gossip.connected(), within).toEqual([asker.id]);
    duplexOf(longer).handleDuplex(anyDuplex('session'), async function* () {
      called.push('session');
      yield new Uint8Array(1);
    });
    const { signal } = new AbortController();
    const input = (async function* () {})();
    const frames = duplexOf(asker).requestDuplex(longer.id, anyDuplex('session'), null, { input, signal });
    await expect(frames[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'late' });
    expect(called).toEqual([]);
  });
});

const duplexOf = (node: TestNode) => node.gossip as unknown as DuplexRequests;

describe('request', () => {
  test('brings the payload there and the answer back, with who asked', async () => {
    server.gossip.handle(anyMethod('echo'), async (payload, from) => ({ payload, from }));
    expect(await ask('echo', { a: [1, 'ä', null] })).toEqual({ payload: { a: [1, 'ä', null] }, from: asker.id });
    expect(await ask('echo')).toEqual({ payload: null, from: asker.id });
  });

  test('may be given what is left of a longer time, which is no whole number', async () => {
    server.gossip.handle(anyMethod('echo'), async (payload) => payload);
    expect(await ask('echo', 1, 1_999.9674179999993)).toBe(1);
  });

  test('an answer may be nothing at all', async () => {
    server.gossip.handle(anyMethod('nothing'), async () => undefined);
    expect(await ask('nothing')).toBeUndefined();
  });

  test('what the handler throws comes as a RemoteError with its code and message', async () => {
    server.gossip.handle(anyMethod('fail'), async () => {
      throw Object.assign(new Error('the slot is empty'), { code: 'slot_empty' });
    });
    server.gossip.handle(anyMethod('failWithoutCode'), async () => {
      throw new Error('plain');
    });
    await expect(ask('fail')).rejects.toEqual(new RemoteError('slot_empty', 'the slot is empty'));
    await expect(ask('fail')).rejects.toBeInstanceOf(RemoteError);
    await expect(ask('failWithoutCode')).rejects.toMatchObject({ code: 'failed', message: 'plain' });
  });

  test('an unknown method, a late answer and a caller who gives up are told apart', async () => {
    server.gossip.handle(anyMethod('never'), () => new Promise(() => undefined));
    await expect(ask('who')).rejects.toMatchObject({ code: 'unknown_method' });
    await expect(ask('never', null, 100)).rejects.toMatchObject({ code: 'timeout' });
    const caller = new AbortController();
    const asked = asker.gossip.request(server.id, anyMethod('never'), null, {
      timeoutMs: 5_000,
      signal: caller.signal,
    });
    caller.abort();
    await expect(asked).rejects.toMatchObject({ code: 'aborted' });
    await expect(asked).rejects.toBeInstanceOf(GossipError);
  });

  test('a node that went away in the middle ends the request at once', async () => {
    server.gossip.handle(anyMethod('never'), () => new Promise(() => undefined));
    const asked = ask('never', null, 30_000);
    asked.catch(() => undefined);
    await ask('who').catch(() => undefined);
    await server.gossip.stop();
    await expect(asked).rejects.toMatchObject({ code: 'closed' });
  });

  test('an unreachable node is said to be so', async () => {
    const { id } = server;
    await server.gossip.stop();
    await expect.poll(() => asker.gossip.connected(), within).toEqual([]);
    await expect(asker.gossip.request(id, anyMethod('any'), null, { timeoutMs: 2_000 })).rejects.toMatchObject({
      code: 'unreachable',
    });
  });

  test('requests and answers of several MB pass up to the bound, larger ones fail on their own', async () => {
    server.gossip.handle(anyMethod('size'), async (payload) => (payload as string).length);
    server.gossip.handle(anyMethod('make'), async (payload) => 'x'.repeat(payload as number));
    const large = RPC_REQUEST_BYTES_MAX - 100;
    expect(await ask('size', 'x'.repeat(large))).toBe(large);
    await expect(ask('size', 'x'.repeat(RPC_REQUEST_BYTES_MAX))).rejects.toMatchObject({ code: 'too_large' });
    expect(await ask('make', RPC_REPLY_BYTES_MAX - 100)).toHaveLength(RPC_REPLY_BYTES_MAX - 100);
    await expect(ask('make', RPC_REPLY_BYTES_MAX)).rejects.toMatchObject({ code: 'too_large' });
    expect(await ask('size', 'ok')).toBe(2);
  });

  test('a handler sees no request, and a caller no answer, that the table of methods does not allow', async () => {
    const strict = method('strict', v.object({ app: v.string() }), v.object({ held: v.boolean() }), {
      timeoutMs: 5_000,
    });
    const handled: unknown[] = [];
    server.gossip.handle(strict, async (payload) => {
      handled.push(payload);
      return { held: 'perhaps' } as unknown as { held: boolean };
    });
    const odd = { app: 7 } as unknown as { app: string };
    await expect(asker.gossip.request(server.id, strict, odd)).rejects.toMatchObject({
      code: 'protocol',
      message: expect.stringContaining('a request of strict is not as it should be: app'),
    });
    expect(handled).toEqual([]);
    await expect(asker.gossip.request(server.id, strict, { app: 'hello' })).rejects.toMatchObject({
      code: 'protocol',
      message: expect.stringMatching(
        new RegExp(`strict on node ${server.id}: the answer is not what was asked for: held`),
      ),
    });
    expect(handled).toEqual([{ app: 'hello' }]);
  });

  test('each method has bounds of its own, on both sides', async () => {
    const small = method('small', v.string(), v.string(), {
      timeoutMs: 5_000,
      requestBytesMax: 100,
      replyBytesMax: 100,
    });
    server.gossip.handle(small, async (times) => 'x'.repeat(Number(times)));
    expect(await asker.gossip.request(server.id, small, '100')).toHaveLength(100);
    const tooLarge = { code: 'too_large' };
    await expect(asker.gossip.request(server.id, small, '5000')).rejects.toMatchObject(tooLarge);
    await expect(asker.gossip.request(server.id, small, '1'.repeat(5_000))).rejects.toMatchObject(tooLarge);
    const careless = { ...small, requestBytesMax: 10_000 };
    await expect(asker.gossip.request(server.id, careless, '1'.repeat(5_000))).rejects.toMatchObject(tooLarge);
  });

  test('more requests at once than the bound are answered with busy, and later ones pass again', async () => {
    const { promise: gate, resolve: open } = Promise.withResolvers<void>();
    let started = 0;
    server.gossip.handle(anyMethod('wait'), async () => {
      started += 1;
      await gate;
      return 'done';
    });
    const asked = Array.from({ length: RPC_INBOUND_PER_NODE_MAX }, () => ask('wait', null, 30_000));
    await expect.poll(() => started, within).toBe(RPC_INBOUND_PER_NODE_MAX);
    await expect(ask('wait')).rejects.toMatchObject({ code: 'busy' });
    open();
    expect(new Set(await Promise.all(asked))).toEqual(new Set(['done']));
    expect(await ask('wait')).toBe('done');
  });

  test('nonsense on the protocol costs its sender the stream and nobody else anything', async () => {
    const raw = await rawPeer();
    try {
      server.gossip.setAdmitted(new Map([asker.id, raw.id].map((id) => [id, { addresses: [] }])));
      await raw.connect(server);
      for (const bytes of [
        Uint8Array.of(0xff, 0xff, 0xff, 0xff),
        Uint8Array.of(0, 0, 0, 2, 0x5b, 0x5d),
        Uint8Array.of(0, 0, 0, 9, 1),
      ]) {
        const stream = await raw.host
          .getConnections()[0]!
          .newStream(`/peer/${'0123456789abcdef0123456789abcdef'}/rpc/1`);
        const ended = new Promise((resolve) => stream.addEventListener('remoteCloseWrite', resolve));
        stream.send(bytes);
        await stream.close();
        await ended;
      }
      server.gossip.handle(anyMethod('echo'), async (payload) => payload);
      expect(await ask('echo', 1)).toBe(1);
    } finally {
      await raw.stop();
    }
  });
});

describe('requestStream', () => {
  const stream = (
    method: string,
    payload: unknown = null,
    signal = new AbortController().signal,
  ): AsyncIterable<unknown> => asker.gossip.requestStream(server.id, anyStream(method), payload, { signal });

  test('yields every value in order, then ends', async () => {
    server.gossip.handleStream(anyStream('count'), async function* (payload) {
      for (let index = 0; index < (payload as number); index += 1) yield { index };
    });
    const values: unknown[] = [];
    for await (const value of stream('count', 1_000)) values.push(value);
    expect(values).toEqual(Array.from({ length: 1_000 }, (_, index) => ({ index })));
  });

  test('an error after some values comes after those values', async () => {
    server.gossip.handleStream(anyStream('breaks'), async function* () {
      yield 1;
      throw Object.assign(new Error('the log is gone'), { code: 'log_gone' });
    });
    const values: unknown[] = [];
    const reading = (async () => {
      for await (const value of stream('breaks')) values.push(value);
    })();
    await expect(reading).rejects.toEqual(new RemoteError('log_gone', 'the log is gone'));
    expect(values).toEqual([1]);
    await expect(stream('who')[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'unknown_method' });
  });

  test('a slow reader holds the handler back', async () => {
    let made = 0;
    const chunk = 'x'.repeat(64 * 1024);
    server.gossip.handleStream(anyStream('flood'), async function* () {
      for (; made < 1_000; made += 1) yield chunk;
    });
    const values = stream('flood')[Symbol.asyncIterator]();
    await values.next();
    let last = -1;
    // It stops by itself once the windows in between are full, far from the end.
    await expect
      .poll(
        () => {
          const still = made === last;
          last = made;
          return still;
        },
        { timeout: 10_000, interval: 200 },
      )
      .toBe(true);
    expect(made).toBeLessThan(200);
    let read = 1;
    while (!(await values.next()).done) read += 1;
    expect(read).toBe(1_000);
  });

  test.each(['aborts', 'breaks out of the loop'])('a caller who %s ends the handler', async (how) => {
    let ended = false;
    server.gossip.handleStream(anyStream('follow'), async function* (_, __, signal) {
      try {
        yield 'first';
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      } finally {
        ended = true;
      }
    });
    const caller = new AbortController();
    const reading = (async () => {
      for await (const _ of stream('follow', null, caller.signal)) {
        if (how === 'aborts') caller.abort();
        else break;
      }
    })();
    if (how === 'aborts') await expect(reading).rejects.toMatchObject({ code: 'aborted' });
    else await reading;
    await expect.poll(() => ended, within).toBe(true);
  });

  test('a node that is removed in the middle is cut off', async () => {
    let ended = false;
    server.gossip.handleStream(anyStream('follow'), async function* (_, __, signal) {
      yield 'first';
      await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
      ended = true;
    });
    const values = stream('follow')[Symbol.asyncIterator]();
    expect((await values.next()).value).toBe('first');
    server.gossip.setAdmitted(new Map());
    await expect(values.next()).rejects.toMatchObject({ code: 'closed' });
    await expect.poll(() => ended, within).toBe(true);
  });
});
