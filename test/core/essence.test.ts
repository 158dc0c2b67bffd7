// What is news to decide on: everything that a decision reads of a report, or a route table's reader of a table, and
// nothing else.

import { describe, expect, it } from 'vitest';
import { asAppId, asNodeId, type InstanceId } from '../../crdt/ids.ts';
import { decidesAlike } from '../../node/core/essence.ts';
import { isSameTable } from '../../node/core/routes.ts';
import { initialState } from '../../node/core/state.ts';
import type { InstanceReport, Report, RouteTable } from '../../node/core/types.ts';
import { app, LittleCluster, release, selfInfo } from './little-cluster.ts';

const A = asNodeId('a');

const instance: InstanceReport = {
  id: 'a-1' as InstanceId,
  app: asAppId('shop'),
  process: 'web',
  index: 0,
  release: release(1).id,
  restartCount: 0,
  state: 'ready',
  sinceMs: 10,
  crashes: 1,
  memoryBytes: 1,
  port: 1,
};
const report: Report = {
  ...selfInfo(A),
  incarnation: 1,
  sequence: 1,
  status: 'alive',
  load: 0.25,
  instances: [instance],
  droplets: [],
  heads: [],
};
const withInstance = (changes: Partial<InstanceReport>): Report => ({
  ...report,
  instances: [{ ...instance, ...changes }],
});

describe('a report', () => {
  it.each([
    ['the crashes of an instance', withInstance({ crashes: 0 })],
    ['the state of an instance', withInstance({ state: 'unhealthy' })],
    ['a promise', withInstance({ covers: ['b-1@1.1'] })],
    ['an instance', { ...report, instances: [] }],
    ['a label', { ...report, labels: { zone: 'x' } }],
    ['the memory of the node', { ...report, memoryBytes: 2 }],
    ['a whole core more of load', { ...report, load: 1.25 }],
  ])('is new to decide on with %s', (_what, other) => {
    expect(decidesAlike(report, other)).toBe(false);
    expect(decidesAlike(other, report)).toBe(false);
  });

  it.each([
    ['time passed', withInstance({ sinceMs: 5_000 })],
    ['a little more load', { ...report, load: 0.75 }],
    ['another reason for people', withInstance({ reason: 'exited' })],
    ['other heads', { ...report, heads: ['h'], sequence: 2 }],
    ['the same again', structuredClone(report)],
  ])('is nothing new to decide on with %s', (_what, other) => {
    expect(decidesAlike(report, other)).toBe(true);
  });
});

describe('a route table', () => {
  const upstream = { instance: instance.id, app: instance.app, index: 0, node: A, port: 1, host: '10.0.0.1' };
  const local = { instance: instance.id, app: instance.app, port: 1, host: '10.0.0.1' };
  const table: RouteTable = {
    routes: [{ route: 'shop.localhost', app: instance.app, appName: 'shop', upstreams: [upstream] }],
    local: [local],
    admitted: [A],
  };

  it('is another one when an instance is reached at another address', () => {
    const elsewhere = { ...upstream, host: '10.0.0.2' };
    expect(isSameTable(table, structuredClone(table))).toBe(true);
    expect(isSameTable(table, { ...table, routes: [{ ...table.routes[0]!, upstreams: [elsewhere] }] })).toBe(false);
    expect(isSameTable(table, { ...table, local: [{ ...local, host: '10.0.0.2' }] })).toBe(false);
  });
});

describe('a crash that is forgotten', () => {
  it('is news to every node: what had to wait for it goes on by itself', () => {
    const cluster = new LittleCluster(['a', 'b'], [app('shop', { scale: { web: 2 } })]);
    cluster.run(5_000);
    cluster.kill('b');
    cluster.run(30_000);
    for (const { node, id } of cluster.instances()) cluster.crash(node, id);
    cluster.run(2_000);
    cluster.restart('b');
    cluster.run(30_000);
    expect(cluster.ready()).toEqual(['app-shop/0@a', 'app-shop/1@a']);
    cluster.run(10 * 60_000);
    expect(
      cluster
        .instances()
        .map((one) => `${one.node} ${one.state}`)
        .sort(),
    ).toEqual(['a ready', 'b ready']);
  });
});

describe('the first probe', () => {
  it('comes after the interval that is configured', () => {
    const config = { probeIntervalMs: 50 };
    const state = initialState({ self: selfInfo(A), incarnation: 1, nowMs: 1_000, config });
    expect(state.nextProbeAtMs).toBe(1_050);
  });
});
