// `npm run sim -- …`: runs simulated clusters from seeds and says what was violated. The last line is a one-line
// summary; exits 1 when something was violated (or a mutant survived), 2 on wrong usage.

import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { MUTANTS } from '../test/sim/mutants.ts';
import { PINNED } from '../test/sim/pinned.ts';
import { isBad, runSeeds, type SeedResult } from '../test/sim/pool.ts';
import { run, scenarioOf } from '../test/sim/run.ts';
import { FAULT_KINDS, type FaultKind, type ShapeOptions, USER_KINDS, type UserKind } from '../test/sim/shape.ts';
import { keeping, shrink } from '../test/sim/shrink.ts';

const USAGE = `usage: npm run sim -- [--seed S | --seed-from S --seeds N | --pinned | --mutants [--mutant NAME] [--seeds N]]
  --nodes N --apps A --instances I --minutes M   the shape; else drawn from the seed
  --faults ${FAULT_KINDS.join(',')} | all | none
  --users ${USER_KINDS.join(',')}   what users do besides their first pushes; else all
  --work X            how much longer work takes than on a good machine; 0: no time at all
  --processors N      all nodes share so many; else each has its own
  --data on|off       with volumes and services or without; else drawn from the seed
  --slack X           memory of all nodes over what all instances want
  --keep 0,3,7        only these actions of the schedule (what a failure prints)
  --trace             every event and effect, one a line
  --jobs J            threads (default: one per core)
  --no-shrink         report a failure as it is
`;

/**
 * Fresh seeds within which every mutant must be caught, after the pinned ones: each of those once showed such a fault.
 */
const MUTANT_SEEDS = 1_000;
const SEEDS_DEFAULT = 300;

type Flags = ReturnType<typeof readFlags>;

function readFlags() {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      'seed-from': { type: 'string' },
      seeds: { type: 'string' },
      nodes: { type: 'string' },
      apps: { type: 'string' },
      instances: { type: 'string' },
      minutes: { type: 'string' },
      faults: { type: 'string' },
      users: { type: 'string' },
      slack: { type: 'string' },
      work: { type: 'string' },
      processors: { type: 'string' },
      data: { type: 'string' },
      keep: { type: 'string' },
      jobs: { type: 'string' },
      trace: { type: 'boolean' },
      pinned: { type: 'boolean' },
      mutants: { type: 'boolean' },
      mutant: { type: 'string' },
      'no-shrink': { type: 'boolean' },
    },
  });
  return values;
}

function usage(problem: string): never {
  process.stderr.write(`${problem}\n${USAGE}`);
  process.exit(2);
}

function number(name: string, text: string | undefined, options: { min: number; max: number }): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text.trim() === '' || !(value >= options.min && value <= options.max)) {
    usage(`--${name} must be a number from ${options.min} to ${options.max}, not "${text}"`);
  }
  return value;
}

function whole(name: string, text: string | undefined, options: { min: number; max: number }): number | undefined {
  const value = number(name, text, options);
  if (value !== undefined && !Number.isInteger(value)) usage(`--${name} must be a whole number, not "${text}"`);
  return value;
}

function shapeOptions(flags: Flags): ShapeOptions {
  const options: ShapeOptions = {};
  const nodes = whole('nodes', flags.nodes, { min: 1, max: 200 });
  const apps = whole('apps', flags.apps, { min: 1, max: 100 });
  const instances = whole('instances', flags.instances, { min: 1, max: 90 });
  const minutes = number('minutes', flags.minutes, { min: 0.1, max: 10_000 });
  if (nodes !== undefined) options.nodes = nodes;
  if (apps !== undefined) options.apps = apps;
  if (instances !== undefined) options.instances = instances;
  if (minutes !== undefined) options.minutes = minutes;
  if (flags.faults !== undefined) options.faults = faultsOf(flags.faults);
  if (flags.users !== undefined) options.users = kindsOf('user', flags.users, USER_KINDS);
  const slack = number('slack', flags.slack, { min: 0.5, max: 100 });
  if (slack !== undefined) options.slack = slack;
  const work = number('work', flags.work, { min: 0, max: 1_000 });
  if (work !== undefined) options.work = work;
  const processors = whole('processors', flags.processors, { min: 1, max: 1_000 });
  if (processors !== undefined) options.processors = processors;
  if (flags.data !== undefined)
    options.data = flags.data === 'on' || (flags.data !== 'off' && usage('--data is on or off'));
  return options;
}

function faultsOf(text: string): FaultKind[] {
  if (text === 'all') return [...FAULT_KINDS];
  if (text === 'none') return [];
  return kindsOf('fault', text, FAULT_KINDS);
}

function kindsOf<Kind extends FaultKind | UserKind>(what: string, text: string, kinds: readonly Kind[]): Kind[] {
  return text.split(',').map((name) => kinds.find((kind) => kind === name) ?? usage(`there is no ${what} "${name}"`));
}

/** The one command that shows the failure again. */
function replayLine(seed: number, flags: Flags, keep: readonly number[] | undefined): string {
  const shape = (
    ['nodes', 'apps', 'instances', 'minutes', 'faults', 'users', 'slack', 'work', 'processors', 'data'] as const
  )
    .filter((name) => flags[name] !== undefined)
    .map((name) => ` --${name} ${flags[name]}`);
  return `npm run sim -- --seed ${seed}${shape.join('')}${keep === undefined ? '' : ` --keep ${keep.join(',')}`}`;
}

function runOne(seed: number, flags: Flags): boolean {
  const whole = scenarioOf(seed, shapeOptions(flags));
  const all = whole.actions.map((_, index) => index);
  const keep = flags.keep === undefined ? all : flags.keep.split(',').filter(Boolean).map(Number);
  const scenario = keeping(whole, keep);
  const result = run(scenario, flags.trace ? (line) => process.stdout.write(`${line}\n`) : undefined);
  process.stdout.write(`shape ${JSON.stringify(scenario.shape)}\n`);
  if (flags.keep !== undefined)
    for (const action of scenario.actions) process.stdout.write(`${JSON.stringify(action)}\n`);
  const { violation, traceHash, simulatedMs, restedAfterMs, counts } = result;
  const { steps, starts, stops, acknowledged, handshakes } = counts;
  if (violation !== undefined) {
    process.stdout.write(
      `${violation.kind} violation by ${violation.checker} at ${violation.atMs} ms: ${violation.message}\n`,
    );
    if (flags.keep === undefined && !flags['no-shrink']) explain(seed, flags, violation.checker, all);
  }
  process.stdout.write(
    `seed ${seed}: ${violation === undefined ? 'held' : 'VIOLATED'}, ${Math.round(simulatedMs / 1000)} s simulated, ` +
      `at rest after ${restedAfterMs} ms, ${steps} steps, ${starts} starts, ${stops} stops, ${handshakes} handshakes, ${acknowledged} acknowledged writes, trace ${traceHash}\n`,
  );
  return violation === undefined;
}

function explain(seed: number, flags: Flags, checker: string, all: readonly number[]): void {
  const scenario = scenarioOf(seed, shapeOptions(flags));
  const keep = shrink(scenario, checker, all);
  process.stdout.write(`shrunk from ${all.length} to ${keep.length} actions:\n`);
  for (const action of keeping(scenario, keep).actions) process.stdout.write(`  ${JSON.stringify(action)}\n`);
  process.stdout.write(`replay: ${replayLine(seed, flags, keep)}\n`);
}

async function runMany(seeds: readonly number[], flags: Flags, jobs: number): Promise<boolean> {
  const bad: SeedResult[] = [];
  let done = 0;
  let simulatedMs = 0;
  const options = shapeOptions(flags);
  await runSeeds({
    seeds,
    jobs,
    options,
    onResult: (result) => {
      done++;
      if (!('error' in result)) simulatedMs += result.simulatedMs;
      if (isBad(result)) {
        bad.push(result);
        const what = 'error' in result ? result.error : `${result.violation?.checker}: ${result.violation?.message}`;
        process.stdout.write(`seed ${result.seed}: ${what}\n  replay: ${replayLine(result.seed, flags, undefined)}\n`);
      }
      if (done % 500 === 0) process.stderr.write(`${done} of ${seeds.length} seeds\n`);
    },
  });
  const first = bad.sort((a, b) => a.seed - b.seed)[0];
  if (first !== undefined && !('error' in first) && first.violation !== undefined && !flags['no-shrink']) {
    const all = scenarioOf(first.seed, options).actions.map((_, index) => index);
    explain(first.seed, flags, first.violation.checker, all);
  }
  process.stdout.write(
    `${bad.length} violations in ${seeds.length} seeds, ${Math.round(simulatedMs / 3_600_000)} h simulated\n`,
  );
  return bad.length === 0;
}

async function runMutants(fresh: readonly number[], flags: Flags, jobs: number): Promise<boolean> {
  const seeds = [...PINNED.map((one) => one.seed), ...fresh];
  const mutants = MUTANTS.filter(({ name }) => flags.mutant === undefined || name === flags.mutant);
  if (mutants.length === 0) usage(`there is no mutant "${flags.mutant}"`);
  let survived = 0;
  process.stdout.write(`${'mutant'.padEnd(20)} ${'caught by'.padEnd(14)} seeds  fault\n`);
  for (const { name, fault, provoke } of mutants) {
    let tried = 0;
    let by: string | undefined;
    await runSeeds({
      seeds,
      jobs,
      mutant: name,
      options: { ...provoke, ...shapeOptions(flags) },
      stopAtViolation: true,
      onResult: (result) => {
        if (by === undefined) tried++;
        if (isBad(result)) by ??= 'error' in result ? 'assertion' : result.violation?.checker;
      },
    });
    if (by === undefined) survived++;
    process.stdout.write(
      `${name.padEnd(20)} ${(by ?? 'SURVIVED').padEnd(14)} ${String(tried).padStart(5)}  ${fault}\n`,
    );
  }
  process.stdout.write(`${mutants.length - survived} of ${mutants.length} mutants caught\n`);
  return survived === 0;
}

let flags: Flags;
try {
  flags = readFlags();
} catch (error) {
  usage((error as Error).message);
}
const SEED_RANGE = { min: 0, max: Number.MAX_SAFE_INTEGER - 1_000_000_000 };
const jobs = whole('jobs', flags.jobs, { min: 1, max: 64 }) ?? availableParallelism();
const from = whole('seed-from', flags['seed-from'], SEED_RANGE) ?? 1;
const seed = whole('seed', flags.seed, SEED_RANGE);
const count =
  whole('seeds', flags.seeds, { min: 1, max: 10_000_000 }) ?? (flags.mutants ? MUTANT_SEEDS : SEEDS_DEFAULT);
const range = Array.from({ length: count }, (_, index) => from + index);
let held: boolean;
if (flags.mutants) held = await runMutants(range, flags, jobs);
else if (flags.pinned)
  held = await runMany(
    PINNED.map((one) => one.seed),
    flags,
    jobs,
  );
else if (seed !== undefined) held = runOne(seed, flags);
else held = await runMany(range, flags, jobs);
process.exitCode = held ? 0 : 1;
