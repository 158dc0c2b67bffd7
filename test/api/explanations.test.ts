import { describe, expect, it } from 'vitest';
import { testApi } from './client.ts';

const MIB = 1024 ** 2;

describe('why', () => {
  it('names the owner, who runs the slot, and how every other node is weighed', async () => {
    const { viewer, developer, node } = testApi();
    await developer.push('hello', { instances: 2 });
    node.setStatus('beta', 'suspect');
    expect(await viewer.get('/v1/apps/hello/why?index=0')).toEqual({
      status: 200,
      body: {
        app: 'hello',
        process: 'web',
        index: 0,
        decision: 'kept',
        because: null,
        owner: 'alpha',
        from: null,
        holders: [
          expect.objectContaining({ node: 'alpha', release: 'v1', state: 'ready', current: true, mayStay: true }),
        ],
        nodes: [{ node: 'beta', verdict: 'infeasible', reasons: [{ kind: 'notAlive', status: 'suspect' }] }],
        successors: ['alpha'],
        data: null,
      },
    });
  });

  it('ranks the nodes for a slot that nobody runs, and lists those that are gone', async () => {
    const { viewer, developer, admin, node } = testApi();
    await developer.push('hello');
    await admin.post('/v1/nodes/alpha/drain');
    expect((await viewer.get('/v1/apps/hello/why?process=web&index=0')).body).toMatchObject({
      decision: 'bestRank',
      owner: 'beta',
      holders: [{ node: 'alpha', mayStay: false }],
      nodes: [
        {
          node: 'beta',
          verdict: 'feasible',
          rank: { sameApp: 0, sameZone: 0, fullness: 0, weight: expect.any(Number) },
          freeBytes: 1024 * MIB,
        },
        { node: 'alpha', verdict: 'infeasible', reasons: [{ kind: 'draining' }] },
      ],
    });
    node.setStatus('beta', 'dead');
    expect((await viewer.get('/v1/apps/hello/why?index=0')).body).toMatchObject({
      decision: 'unplaceable',
      owner: null,
      nodes: [{ node: 'alpha' }, { node: 'beta', verdict: 'absent', status: 'dead' }],
    });
  });

  it('says of a slot that the app does not ask for why it does not', async () => {
    const { viewer, developer } = testApi();
    await developer.push('hello');
    const because = async (query: string) => (await viewer.get(`/v1/apps/hello/why?${query}`)).body.because;
    expect(await because('index=7')).toBe('scale');
    expect(await because('process=worker&index=0')).toBe('noProcess');
    await developer.post('/v1/apps/hello/stop');
    expect(await because('index=0')).toBe('stopped');
  });

  it('names the field at fault, and an app that is not there', async () => {
    const { viewer, developer } = testApi();
    await developer.push('hello');
    const failure = async (path: string) => {
      const { status, body } = await viewer.get(path);
      return [status, body.error.message];
    };
    expect(await failure('/v1/apps/hello/why?index=one')).toEqual([
      400,
      'index: should be a whole number from 0 to 99',
    ]);
    expect(await failure('/v1/apps/hello/why?index=100')).toEqual([
      400,
      'index: should be a whole number from 0 to 99',
    ]);
    expect(await failure('/v1/apps/hello/why')).toEqual([400, expect.stringContaining('index')]);
    expect(await failure('/v1/apps/nothing/why?index=0')).toEqual([404, 'there is no app nothing: see peer apps']);
  });
});

describe('what if', () => {
  it('says where slots would go, and how full nodes would be, and changes nothing', async () => {
    const { viewer, developer, node } = testApi();
    await developer.push('hello', { instances: 2, memoryBytes: 256 * MIB });
    const writes = node.writes.length;
    expect((await viewer.get('/v1/what-if?without=beta')).body).toEqual({
      without: ['beta'],
      moves: [{ app: 'hello', process: 'web', index: 1, from: 'beta', to: 'alpha', refusals: [] }],
      nodes: [
        { node: 'alpha', budgetBytes: 1024 * MIB, beforeBytes: 256 * MIB, afterBytes: 512 * MIB },
        { node: 'beta', budgetBytes: 1024 * MIB, beforeBytes: 256 * MIB, afterBytes: null },
      ],
    });
    expect(node.writes).toHaveLength(writes);
  });

  it('says why no node that is left can take a slot', async () => {
    const { viewer, developer } = testApi();
    await developer.push('big', { instances: 2, memoryBytes: 768 * MIB });
    expect((await viewer.get('/v1/what-if?without=12D3KooWbeta')).body.moves).toEqual([
      {
        app: 'big',
        process: 'web',
        index: 1,
        from: 'beta',
        to: null,
        refusals: [{ node: 'alpha', reasons: [{ kind: 'memory', wantedBytes: 768 * MIB, freeBytes: 256 * MIB }] }],
      },
    ]);
  });

  it('takes several nodes, and refuses what is no node', async () => {
    const { viewer, developer } = testApi();
    await developer.push('hello');
    const { body } = await viewer.get('/v1/what-if?without=alpha&without=beta');
    expect(body).toMatchObject({ without: ['alpha', 'beta'], moves: [{ from: 'alpha', to: null, refusals: [] }] });
    expect((await viewer.get('/v1/what-if?without=gamma')).body.error.message).toBe(
      'there is no node gamma: see peer nodes',
    );
    const { status, body: refused } = await viewer.get('/v1/what-if');
    expect([status, refused.error.message]).toEqual([400, expect.stringContaining('without')]);
  });
});
