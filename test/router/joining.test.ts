import { once } from 'node:events';
import http from 'node:http';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { NodeId } from '../../crdt/ids.ts';
import { joinThroughLink } from '../../node/router/join-client.ts';
import { JOIN_REQUEST_BYTES_MAX, JOINS_BURST, JOINS_CONCURRENT_MAX } from '../../node/router/limits.ts';
import { dialLinkAsync, linkCredentials } from '../../node/router/link-dial.ts';
import { deadPort, makeIdentity, startTestRouter, type TestIdentity, type TestRouter } from './cluster.ts';

const TIMEOUT_MS = 20_000;
const member = () => ({ link: router.handle.link, expectedNode: router.nodeId });

let router: TestRouter;
let answer: (request: unknown, from: NodeId) => Promise<unknown>;

beforeAll(async () => {
  router = await startTestRouter();
  router.handle.onJoin((request, from) => answer(request, from));
});
afterAll(() => router.handle.close());

/** Waits until the rate lets a request through again. */
const join = (request: unknown, who: TestIdentity = makeIdentity()) =>
  expect.poll(
    async () => {
      try {
        return { reply: await joinThroughLink({ ...member(), tls: who.tls, request }, TIMEOUT_MS) };
      } catch (error) {
        if ((error as { code?: string }).code === 'busy') throw error;
        return { error: error as Error & { code: string } };
      }
    },
    { timeout: 10_000, interval: 50 },
  );

describe('joining through a link', () => {
  it('passes the request on with the identity that was proven, and brings the answer back', async () => {
    const newcomer = makeIdentity();
    answer = async (request, from) => ({ request, from, admitted: true });
    await join({ secret: 's', from: 'forged' }, newcomer).toEqual({
      reply: { request: { secret: 's', from: 'forged' }, from: newcomer.nodeId, admitted: true },
    });
  });

  it('brings back an answer of many megabytes', async () => {
    const snapshot = 'c25h'.repeat(3_000_000);
    answer = async () => ({ snapshot });
    await join({}).toEqual({ reply: { snapshot } });
  });

  it('is not let in when the daemon stood still until nobody waited for the answer', async () => {
    let isAsked = false;
    answer = async () => {
      isAsked = true;
    };
    const now = Date.now;
    const later = vi.spyOn(Date, 'now').mockImplementation(() => now() + 60_000);
    try {
      await join({}).toMatchObject({ error: { code: 'timeout' } });
    } finally {
      later.mockRestore();
    }
    expect(isAsked).toBe(false);
  });

  it('tells the newcomer why it was refused, when the handler meant it to', async () => {
    answer = async () => {
      throw Object.assign(new Error('The invite has expired; ask for a new one.'), { code: 'invite_expired' });
    };
    await join({}).toMatchObject({
      error: { code: 'invite_expired', message: 'The invite has expired; ask for a new one.' },
    });
    answer = async () => {
      throw new Error('a secret detail');
    };
    await join({}).toMatchObject({ error: { code: 'internal', message: expect.not.stringContaining('secret') } });
  });

  it('sends nothing to another node than the invite names', async () => {
    let called = false;
    answer = async () => {
      called = true;
    };
    const { tls } = makeIdentity();
    const other = { ...member(), expectedNode: makeIdentity().nodeId };
    await expect(joinThroughLink({ ...other, tls, request: {} }, TIMEOUT_MS)).rejects.toMatchObject({
      code: 'wrong_identity',
    });
    expect(called).toBe(false);
  });

  it('says that nobody is there', async () => {
    const nobody = { ...member(), link: `127.0.0.1:${await deadPort()}` };
    await expect(
      joinThroughLink({ ...nobody, tls: makeIdentity().tls, request: {} }, TIMEOUT_MS),
    ).rejects.toMatchObject({
      code: 'unreachable',
    });
  });

  it('gives up in time', async () => {
    let release = (_reply: unknown) => {};
    answer = () =>
      new Promise((resolve) => {
        release = resolve;
      });
    const { tls } = makeIdentity();
    await expect(joinThroughLink({ ...member(), tls, request: {} }, 300)).rejects.toMatchObject({ code: 'timeout' });
    release({});
  });

  it('refuses requests beyond the bound, and nonsense, without asking the daemon', async () => {
    let called = 0;
    answer = async () => ++called;
    await join('x'.repeat(JOIN_REQUEST_BYTES_MAX)).toMatchObject({ error: { code: 'bad_request' } });
    expect(await post('{"half":')).toBe(400);
    expect(await post(`"${'x'.repeat(JOIN_REQUEST_BYTES_MAX)}"`)).toBe(413);
    expect(called).toBe(0);
  });

  it('bounds how many are answered at one time, and how fast', async () => {
    let running = 0;
    let most = 0;
    let total = 0;
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    answer = async () => {
      most = Math.max(most, ++running);
      total++;
      await released;
      running--;
    };
    const asked = Array.from({ length: 40 }, () =>
      joinThroughLink({ ...member(), tls: makeIdentity().tls, request: {} }, TIMEOUT_MS).then(
        () => 'ok',
        (error: { code: string }) => error.code,
      ),
    );
    await expect.poll(() => running).toBe(JOINS_CONCURRENT_MAX);
    release();
    const outcomes = await Promise.all(asked);
    expect(most).toBeLessThanOrEqual(JOINS_CONCURRENT_MAX);
    expect(total).toBeLessThanOrEqual(2 * JOINS_BURST);
    expect(new Set(outcomes)).toEqual(new Set(['ok', 'busy']));
  });
});

/** Posts raw text as a stranger, until it is not turned away for being too fast. */
async function post(body: string): Promise<number | undefined> {
  let status: number | undefined;
  await expect
    .poll(
      async () => {
        const connection = await dialLinkAsync({ ...member(), credentials: linkCredentials(makeIdentity().tls) });
        const request = http.request({
          createConnection: () => connection,
          method: 'POST',
          path: '/join',
          headers: { host: 'h' },
        });
        request.on('error', () => {});
        request.end(body);
        const [response] = (await once(request, 'response')) as [http.IncomingMessage];
        status = response.statusCode;
        connection.destroy();
        return status;
      },
      { timeout: 10_000, interval: 50 },
    )
    .not.toBe(429);
  return status;
}
