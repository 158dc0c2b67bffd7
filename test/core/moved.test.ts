// A node that is reached elsewhere than before, and one that cannot reach another: what the others hear, and what they
// decide.

import { describe, expect, it } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { app, LittleCluster } from './little-cluster.ts';

const [a, b] = [asNodeId('a'), asNodeId('b')];
/** Nothing that nodes say takes longer on this network. */
const HEARD_MS = 500;

function calmCluster(): LittleCluster {
  const cluster = new LittleCluster(['a', 'b', 'c'], [app('hello', { scale: { web: 3 } })]);
  cluster.run(10_000);
  return cluster;
}
const linksOf = (cluster: LittleCluster, seenBy: typeof a): (string | undefined)[] =>
  cluster.hosts
    .get(seenBy)!
    .state.routesGiven!.routes[0]!.upstreams.filter(({ node }) => node === b)
    .map(({ link }) => link);

describe('a node that is reached elsewhere', () => {
  it('is routed to there as soon as it says so, and nothing starts or stops for it', () => {
    const cluster = calmCluster();
    const [starts, stops] = [cluster.starts.length, cluster.stops.length];
    cluster.post('b', { type: 'selfMoved', to: { link: 'elsewhere:1', addresses: ['/ip4/10.0.0.9/tcp/1'] } });
    cluster.run(HEARD_MS);
    expect(linksOf(cluster, a)).toEqual(['elsewhere:1']);
    expect(cluster.hosts.get(a)!.state.members.get(b)!.report!.addresses).toEqual(['/ip4/10.0.0.9/tcp/1']);
    cluster.run(20_000);
    expect([cluster.starts.length, cluster.stops.length]).toEqual([starts, stops]);
  });
});

describe('a node that cannot reach another', () => {
  it('tells everyone, who take note and decide nothing', () => {
    const cluster = calmCluster();
    const unreachable = [{ node: a, by: 'link' as const, why: 'timed out', sinceMs: 0 }];
    const decidedAtMs = cluster.hosts.get(a)!.state.decidedAtMs;
    cluster.post('b', { type: 'troubleSeen', unreachable, warnings: ['it is not well'] });
    cluster.run(HEARD_MS);
    const { members, decidedAtMs: after } = cluster.hosts.get(a)!.state;
    expect(members.get(b)!.report).toMatchObject({ unreachable, warnings: ['it is not well'] });
    expect(after).toBe(decidedAtMs);
    cluster.post('b', { type: 'troubleSeen', unreachable: [], warnings: [] });
    cluster.run(HEARD_MS);
    expect(cluster.hosts.get(a)!.state.members.get(b)!.report).toMatchObject({ unreachable: [], warnings: [] });
  });
});
