// A request that may have waited while its node stood still: it is not carried out when its sender may have given up.
// What a frozen daemon does is in test/e2e/frozen.test.ts.

import { describe, expect, it } from 'vitest';
import { createApi } from '../../node/api/api.ts';
import { NotReplicatedError } from '../../node/cluster/replicator.ts';
import { Standstill } from '../../node/lib/standstill.ts';
import { testApi } from './client.ts';
import { MemoryNode, memoryLog, tokenOf } from './memory-node.ts';

describe('a change that is asked of a node that has stood still', () => {
  const node = new MemoryNode();
  const log = memoryLog();
  const api = createApi({ service: node, log, standstill: { recentMs: () => 40_000 } });
  const ask = async (method: string, path: string, headers: Record<string, string> = {}) => {
    const response = await api.request(path, {
      method,
      headers: { authorization: `Bearer ${tokenOf('admin')}`, ...headers },
    });
    return { status: response.status, body: await response.json() };
  };

  it('is refused when its sender waits for less time than that, and logged', async () => {
    expect(await ask('POST', '/v1/node/stop', { 'peer-wanted-for-ms': '30000' })).toEqual({
      status: 408,
      body: {
        error: { code: 'too_late', retry: 'later', message: expect.stringMatching(/stood still for 40 s.*ask again/) },
      },
    });
    expect(node.shutdowns).toEqual([]);
    expect(log.entries.find(({ event }) => event === 'api.request_not_wanted')?.fields).toMatchObject({
      method: 'POST',
      path: '/v1/node/stop',
      by: 'the-admin',
    });
  });

  it('is carried out when its sender waits longer, or says nothing and may wait a minute', async () => {
    expect((await ask('POST', '/v1/node/stop', { 'peer-wanted-for-ms': '50000' })).status).toBe(200);
    expect((await ask('POST', '/v1/node/stop', { 'peer-wanted-for-ms': 'soon' })).status).toBe(200);
    expect((await ask('POST', '/v1/node/stop')).status).toBe(200);
  });

  it('is no question: those are answered', async () => {
    expect((await ask('GET', '/v1/status', { 'peer-wanted-for-ms': '1000' })).status).toBe(200);
  });
});

describe('a change that no other node confirmed', () => {
  it('is the server’s failure, and may hold', async () => {
    const { developer, node } = testApi();
    node.failWrites = new NotReplicatedError(1, 6_000);
    expect(await developer.post('/v1/apps', { name: 'hello' })).toEqual({
      status: 503,
      body: {
        error: {
          code: 'not_replicated',
          retry: 'later',
          message: expect.stringContaining('may still take'),
          mayHold: true,
        },
      },
    });
    const { events } = await developer.push('hello');
    expect(events.at(-1)).toMatchObject({ type: 'failed', code: 'not_replicated', mayHold: true });
  });
});

describe('a standstill', () => {
  const started = () => {
    const clock = { steady: 0, wall: 1_000_000 };
    const clocks = { steadyMs: () => clock.steady, wallMs: () => clock.wall };
    const standstill = new Standstill({ clocks, ticking: false });
    const pass = (steadyMs: number, wallMs = steadyMs) => {
      clock.steady += steadyMs;
      clock.wall += wallMs;
      standstill.look();
    };
    return { standstill, pass };
  };

  it('is what passed since the process ran last, and counts for as long as buffers may hold what came in', () => {
    const { standstill, pass } = started();
    pass(1_000);
    expect(standstill.recentMs()).toBe(0);
    pass(60_000);
    expect(standstill.recentMs()).toBe(60_000);
    pass(1_000);
    expect(standstill.recentMs()).toBe(60_000);
    for (let second = 0; second < 5; second++) pass(1_000);
    expect(standstill.recentMs()).toBe(0);
  });

  it('of a machine that slept is seen by the clock on the wall alone', () => {
    const { standstill, pass } = started();
    pass(1_000, 3_600_000);
    expect(standstill.recentMs()).toBe(3_600_000);
  });

  it('says nothing of a connection that was taken after it, and goes on through a busy moment', () => {
    const { standstill, pass } = started();
    pass(60_000);
    const takenAtMs = standstill.nowMs();
    expect(standstill.recentMs(takenAtMs)).toBe(0);
    pass(4_000);
    expect(standstill.recentMs()).toBe(60_000);
    expect(standstill.recentMs(takenAtMs)).toBe(60_000);
  });
});
