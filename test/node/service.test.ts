// Copying a droplet to other nodes before a release counts on it.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { asDigest, asNodeId, type NodeId } from '../../crdt/ids.ts';
import type { Gossip, MemberView, ObservedView } from '../../node/ports.ts';
import { Service, type ServiceParts } from '../../node/service.ts';
import { desired } from '../core/little-cluster.ts';

const self = asNodeId('self');
const digest = asDigest('sha256:d');
const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

function serviceOf(others: string[], holds: (node: NodeId) => Promise<unknown>) {
  const alive = new Set(others.map(asNodeId));
  const asked: NodeId[] = [];
  const member = (id: NodeId): MemberView => ({
    id,
    name: id,
    status: 'alive',
    draining: false,
    report: undefined,
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
    self: { id: self },
    cluster: 'c',
    blobs: { sizeBytes: () => 1 },
    gossip,
    log,
    view: () => desired([self, ...alive], []),
    observed: (): ObservedView => ({ members: [self, ...alive].map(member) }),
  } as unknown as ServiceParts);
  return { service, alive, asked };
}

const held = async () => ({ held: true });
const lost = () => Promise.reject(new Error('the connection was closed'));

describe('a droplet', () => {
  it('is held by three nodes, this one first', async () => {
    const { service, asked } = serviceOf(['a', 'b', 'c', 'd'], held);
    expect(await service.replicateDroplet(digest)).toEqual([self, ...asked]);
    expect(asked).toHaveLength(2);
  });

  it('goes to another node instead of one that fails', async () => {
    const { service } = serviceOf(['a', 'b', 'c'], (node) => (node === 'a' ? lost() : held()));
    const holders = service.replicateDroplet(digest);
    await vi.advanceTimersByTimeAsync(1_000);
    expect([...(await holders)].sort()).toEqual(['b', 'c', 'self']);
  });

  it('is offered again when a connection was lost and nobody else is left', async () => {
    let losses = 2;
    const { service } = serviceOf(['a', 'b'], () => (losses-- > 0 ? lost() : held()));
    const holders = service.replicateDroplet(digest);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await holders).toHaveLength(3);
  });

  it('does not wait for a node that turns out to be dead', async () => {
    const { service, alive } = serviceOf(['a', 'b'], (node) => (node === 'a' ? lost() : held()));
    const holders = service.replicateDroplet(digest);
    await vi.advanceTimersByTimeAsync(1_000);
    alive.delete(asNodeId('a'));
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await holders).toEqual([self, 'b']);
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
});
