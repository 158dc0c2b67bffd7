// calm: starts and stops in simulated clusters of 5 and 20 nodes that have come to rest, in ten hours in which nothing
// changes but the load of every node, from idle to eight waiting processes per core.

import { parseArgs } from 'node:util';
import { run, scenarioOf } from '../../test/sim/run.ts';
import { type Bench, type Figure, figure } from './figure.ts';

const SIZES = [
  { nodes: 5, apps: 4, instances: 3 },
  { nodes: 20, apps: 10, instances: 4 },
];
const SEED = 1;
const HOURS = 10;
const HOUR_MS = 3_600_000;

const calm: Bench = async (args, say) => {
  const { values } = parseArgs({ args, options: { hours: { type: 'string', default: String(HOURS) } } });
  const hours = Number(values.hours);
  const figures: Figure[] = [];
  for (const { nodes, apps, instances } of SIZES) {
    say(`${nodes} nodes for ${hours} hours`);
    const scenario = scenarioOf(SEED, { nodes, apps, instances, minutes: 1, faults: [] });
    // A release that crashes by itself is started again, load or not.
    const actions = scenario.actions.map((action) =>
      'quality' in action ? { ...action, quality: 'good' as const } : action,
    );
    const result = run({ ...scenario, actions }, undefined, hours * HOUR_MS);
    const { violation, simulatedMs, movesAtRest, counts } = result;
    // A cluster that never came to rest has shown nothing.
    if (violation !== undefined && violation.checker !== 'calm')
      throw new Error(`${violation.checker}: ${violation.message}`);
    if (violation !== undefined) say(violation.message);
    figures.push(
      figure(`${nodes} nodes: starts and stops at rest`, movesAtRest, 'moves', { atMost: 0 }),
      figure(`${nodes} nodes: simulated`, simulatedMs / HOUR_MS, 'h'),
      figure(`${nodes} nodes: starts before`, counts.starts - movesAtRest, 'starts'),
    );
  }
  return figures;
};
export default calm;
