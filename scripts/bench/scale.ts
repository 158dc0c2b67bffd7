// scale: 10, 100 and 1,000 simulated nodes with ten instances each, side by side: gossip at rest, then a tenth of the
// nodes killed at once, the time until every slot is ready again, gossip meanwhile, and what one decision of one node
// takes. Real cores and the real codec on a simulated clock (test/sim/wide); only decisions are in real time.

import { parseArgs } from 'node:util';
import { START_MS, WideCluster } from '../../test/sim/wide/cluster.ts';
import { type Bench, type Figure, figure, median, worst } from './figure.ts';

const SIZES = [10, 100, 1_000];
const SEED = 1;
const REST_MS = 20_000;
const SECOND_MS = 1_000;
const GIVE_UP_MS = 30_000;
/** The bounds that a cluster of any size is held to. */
const READY_WITHIN_MS = 5_000;
const REST_BYTES_MAX = 100_000;
const STORM_BYTES_MAX = 1_000_000;
const DECISION_MS_MAX = 50;

const scale: Bench = async (args, say) => {
  const { values } = parseArgs({ args, options: { nodes: { type: 'string', multiple: true } } });
  const figures: Figure[] = [];
  for (const nodes of values.nodes?.map(Number) ?? SIZES) figures.push(...measure(nodes, say));
  return figures;
};
export default scale;

function measure(nodes: number, say: (text: string) => void): Figure[] {
  say(`founding ${nodes} nodes at rest`);
  const cluster = new WideCluster({ seed: SEED, nodes });
  const { clock, mesh } = cluster;
  // A whole heartbeat, so that each node is heard at its own time.
  clock.runTo(clock.nowMs + cluster.heartbeatMs() + SECOND_MS);
  const moved = cluster.counts.starts + cluster.counts.stops;
  if (moved > 0 || !cluster.isSettled)
    throw new Error(`${nodes} nodes did not begin at rest: ${moved} starts and stops`);
  mesh.takeCounts();
  for (let ms = 0; ms < REST_MS; ms += SECOND_MS) {
    cluster.shakeLoads();
    clock.runTo(clock.nowMs + SECOND_MS);
  }
  const rest = perSecond(mesh.takeCounts().received, REST_MS);
  say(`${nodes} nodes at rest: ${Math.round(median(rest) / 1000)} KB/s of gossip to each; killing a tenth`);

  cluster.decisionsMs = [];
  const before = { ...cluster.counts };
  const killedAtMs = clock.nowMs;
  const victims = cluster.someNodes(Math.ceil(nodes / 10));
  cluster.kill(victims);
  const lost = cluster.empty.size;
  const seconds: number[][] = [];
  while (!cluster.isSettled && clock.nowMs < killedAtMs + GIVE_UP_MS) {
    clock.runTo(clock.nowMs + SECOND_MS);
    const live = [...mesh.takeCounts().received].filter((_, index) => !victims.includes(index));
    seconds.push(perSecond(live, SECOND_MS));
    say(`${nodes} nodes, ${clock.nowMs - killedAtMs} ms after the kill: ${cluster.empty.size} of ${lost} slots empty`);
  }
  const readyMs = cluster.isSettled ? cluster.filledAtMs - killedAtMs : Number.POSITIVE_INFINITY;
  const means = seconds.map((second) => second.reduce((sum, one) => sum + one, 0) / second.length);
  const stormMs = seconds.length * SECOND_MS;
  const at = `${nodes} nodes`;
  return [
    figure(`${at}: every slot ready again, beyond the start of an instance`, readyMs - START_MS, 'ms', {
      atMost: READY_WITHIN_MS,
    }),
    figure(`${at}: gossip received per node at rest, the busiest`, worst(rest), 'B/s', { atMost: REST_BYTES_MAX }),
    figure(
      `${at}: gossip received per node in the storm`,
      means.reduce((sum, one) => sum + one, 0) / means.length,
      'B/s',
      {
        atMost: STORM_BYTES_MAX,
        samples: means,
      },
    ),
    figure(
      `${at}: gossip received in the worst second of the storm, the busiest node`,
      worst(seconds.map(worst)),
      'B/s',
    ),
    figure(`${at}: length of the storm`, stormMs, 'ms'),
    figure(`${at}: one decision, median`, median(cluster.decisionsMs), 'ms', { atMost: DECISION_MS_MAX }),
    figure(`${at}: one decision, worst`, worst(cluster.decisionsMs), 'ms'),
    figure(
      `${at}: decisions in the storm, per node`,
      cluster.decisionsMs.length / (nodes - victims.length),
      'decisions',
    ),
    figure(`${at}: slots that lost their instance`, lost, 'slots'),
    figure(`${at}: starts in the storm`, cluster.counts.starts - before.starts, 'starts'),
  ];
}

function perSecond(bytes: Iterable<number>, ms: number): number[] {
  return [...bytes].map((one) => (one * 1_000) / ms);
}
