// A cluster too large for a connection between any two nodes, where the few that look at a member are chosen by
// chance.

import { expect, it } from 'vitest';
import { START_MS, WideCluster } from './wide/cluster.ts';

/** With this seed none of one victim's neighbours is among those that look at once. */
const SEED = 8;
const NODES = 60;
const VICTIMS = 12;
const FILLED_WITHIN_MS = 2_000;

it('a cluster of more nodes than have a connection to each other notices every death of many at once', () => {
  const cluster = new WideCluster({ seed: SEED, nodes: NODES });
  const { clock } = cluster;
  clock.runTo(clock.nowMs + cluster.heartbeatMs());
  cluster.kill(cluster.someNodes(VICTIMS));
  clock.runTo(clock.nowMs + START_MS + FILLED_WITHIN_MS);
  expect([...cluster.empty]).toEqual([]);
});
