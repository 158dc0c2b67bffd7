// Copying a droplet to other nodes before a release counts on it.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asDigest, asNodeId, type NodeId } from '../../crdt/ids.ts';
import { KnownCluster } from '../../node/cluster/known-cluster.ts';
import { Service, type ServiceParts } from '../../node/cluster/service.ts';
import type { Pressure } from '../../node/core/pressure.ts';
import type { Report } from '../../node/core/types.ts';
import type { Gossip } from '../../node/ports/gossip.ts';
import type { MemberView, ObservedView } from '../../node/ports/node-service.ts';
import type { StageRequest } from '../../node/ports/staging.ts';
import { desired, MIB } from '../core/little-cluster.ts';

const self = asNodeId('self');
const digest = asDigest('sha256:d');
const diskFull: Pressure = { resource: 'disk', level: 'full', free: 12 * MIB, total: 64 * MIB };
const selfReport = { pressure: [] as Pressure[] } as Report;
const noRoom = () => Promise.reject(Object.assign(new Error('no space left'), { code: 'disk_full' }));
const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function serviceOf(
  others: string[],
  holds: (node: NodeId) => Promise<unknown>,
  full: readonly string[] = [],
  look: () => void = () => {},
) {
  const alive = new Set(others.map(asNodeId));
  const asked: NodeId[] = [];
  const member = (id: NodeId): MemberView => ({
    id,
    name: id,
    status: 'alive',
    draining: false,
    report: full.includes(id) ? { ...selfReport, pressure: [diskFull] } : selfReport,
    reportAgeMs: undefined,
  });
  const gossip = {
    handle: () => {},
    request: (node: NodeId) => {
      asked.push(node);
      return holds(node);
    },
  } as unknown as Gossip;
  const service = new Service({
    self: { id: self, name: self },
    cluster: 'c',
    blobs: { sizeBytes: () => 1 },
    gossip,
    log,
    resources: { failed: () => true, look: async () => look() },
    sources: { missing: async () => [7] },
    stager: { stage: async () => 'staged' },
    known: new KnownCluster({
      self,
      view: () => desired([self, ...alive], []),
      observed: (): ObservedView => ({ members: [self, ...alive].map(member) }),
    }),
  } as unknown as ServiceParts);
  return { service, alive, asked };
}

const held = async () => ({ held: true });
const lost = () => Promise.reject(new Error('the connection was closed'));

describe('a droplet', () => {
  it('is held by three nodes, this one first', async () => {
    const { service, asked } = serviceOf(['a', 'b', 'c', 'd'], held);
    expect(await service.replicateDroplet(digest)).toEqual({ holders: [self, ...asked], withoutRoom: [] });
    expect(asked).toHaveLength(2);
  });

  it('goes to another node instead of one that fails', async () => {
    const { service } = serviceOf(['a', 'b', 'c'], (node) => (node === 'a' ? lost() : held()));
    const holders = service.replicateDroplet(digest);
    await vi.advanceTimersByTimeAsync(1_000);
    expect([...(await holders).holders].sort()).toEqual(['b', 'c', 'self']);
  });

  it('is offered again when a connection was lost and nobody else is left', async () => {
    let losses = 2;
    const { service } = serviceOf(['a', 'b'], () => (losses-- > 0 ? lost() : held()));
    const holders = service.replicateDroplet(digest);
    await vi.advanceTimersByTimeAsync(1_000);
    expect((await holders).holders).toHaveLength(3);
  });

  it('does not wait for a node that turns out to be dead', async () => {
    const { service, alive } = serviceOf(['a', 'b'], (node) => (node === 'a' ? lost() : held()));
    const holders = service.replicateDroplet(digest);
    await vi.advanceTimersByTimeAsync(1_000);
    alive.delete(asNodeId('a'));
    await vi.advanceTimersByTimeAsync(1_000);
    expect((await holders).holders).toEqual([self, 'b']);
  });

  it('is not counted on when an alive node cannot hold it, and says which and why', async () => {
    const { service } = serviceOf(['a', 'b'], (node) => (node === 'a' ? lost() : held()));
    const failed = expect(service.replicateDroplet(digest)).rejects.toMatchObject({
      code: 'droplet_not_replicated',
      message: 'the droplet reached 2 of 3 nodes (a: the connection was closed): see peer nodes, then push again',
    });
    await vi.advanceTimersByTimeAsync(10_000);
    await failed;
  });

  it('takes other holders where one has no room', async () => {
    const { service, asked } = serviceOf(['a', 'b', 'c'], (node) => (node === 'a' ? noRoom() : held()));
    const { holders, withoutRoom } = await service.replicateDroplet(digest);
    expect([...holders].sort()).toEqual(['b', 'c', 'self']);
    expect(withoutRoom).toEqual([]);
    expect(asked.filter((node) => node === 'a').length).toBeLessThanOrEqual(1);
  });

  it('asks those that say that they are full last', async () => {
    const { service, asked } = serviceOf(['a', 'b', 'c', 'd'], held, ['a', 'b']);
    await service.replicateDroplet(digest);
    expect([...asked].sort()).toEqual(['c', 'd']);
  });

  it('is held by all that have room where those are fewer, at once, and says who has none', async () => {
    const { service } = serviceOf(['a', 'b'], (node) => (node === 'a' ? noRoom() : held()));
    expect(await service.replicateDroplet(digest)).toEqual({
      holders: [self, 'b'],
      withoutRoom: [{ node: 'a', reason: 'no space left' }],
    });
  });

  it('is still not counted on when one that has room fails', async () => {
    const { service } = serviceOf(['a', 'b'], (node) => (node === 'a' ? noRoom() : lost()));
    const failed = expect(service.replicateDroplet(digest)).rejects.toMatchObject({
      code: 'droplet_not_replicated',
      message: 'the droplet reached 1 of 2 nodes (b: the connection was closed): see peer nodes, then push again',
    });
    await vi.advanceTimersByTimeAsync(10_000);
    await failed;
  });
});

describe('a push to a node with a full disk', () => {
  it('is refused before anything of it travels, with who has room and what to do', async () => {
    const { service } = serviceOf(['a', 'b'], held, ['self', 'b']);
    const refusal = {
      code: 'no_room',
      message: expect.stringMatching(
        /^self has no room left on its disk \(12 MiB of 64 MiB free\), so it .*: push to a \(--api URL\), or free space on self/,
      ),
    };
    await expect(service.sources.missing('app', new Uint8Array())).rejects.toMatchObject(refusal);
    await expect(service.stage({} as StageRequest)).rejects.toMatchObject(refusal);
  });

  it('is taken when it has room', async () => {
    const { service } = serviceOf(['a'], held);
    expect(await service.sources.missing('app', new Uint8Array())).toEqual([7]);
    expect(await service.stage({} as StageRequest)).toBe('staged');
  });

  it('is taken at once when somebody has made room since the last look', async () => {
    const full = ['self'];
    const { service } = serviceOf(['a'], held, full, () => full.pop());
    expect(await service.sources.missing('app', new Uint8Array())).toEqual([7]);
  });
});
