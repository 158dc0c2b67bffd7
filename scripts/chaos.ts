// `npm run chaos -- --seed S --minutes M`: real daemons in network namespaces, under the faults that the simulator's
// schedule of the seed has, and others that only real disks and processes have. Prints what it does and the verdict;
// exits 1 when something was violated, 2 on wrong usage.

import { parseArgs } from 'node:util';
import { type ChaosOptions, type ChaosResult, runChaos } from '../test/chaos/run.ts';
import { CHAOS_FAULTS, type ChaosFault } from '../test/chaos/schedule.ts';

const DEFAULTS = { minutes: '1', nodes: '4', apps: '2', instances: '3', faults: 'all' };
const USAGE = `usage: npm run chaos -- [--seed S] [--minutes M]
  --nodes N --apps A --instances I   default ${DEFAULTS.nodes}, ${DEFAULTS.apps}, ${DEFAULTS.instances}; every other app is fenced
  --faults ${CHAOS_FAULTS.join(',')} | all
`;
const SEEDS = 1_000_000;

function usage(problem: string): never {
  process.stderr.write(`${problem}\n${USAGE}`);
  process.exit(2);
}

function read() {
  const text = { type: 'string' as const };
  const options = { seed: text, minutes: text, nodes: text, apps: text, instances: text, faults: text };
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    usage((error as Error).message);
  }
}

function number(name: keyof typeof DEFAULTS | 'seed', text: string, range: { min: number; max: number }): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= range.min && value <= range.max)) {
    usage(`--${name} must be a number from ${range.min} to ${range.max}, not "${text}"`);
  }
  if (name !== 'minutes' && !Number.isInteger(value)) usage(`--${name} must be a whole number, not "${text}"`);
  return value;
}

function kindsOf(text: string): ChaosFault[] {
  if (text === 'all') return [...CHAOS_FAULTS];
  return text.split(',').map((name) => {
    return CHAOS_FAULTS.find((kind) => kind === name) ?? usage(`there is no fault "${name}" for real daemons`);
  });
}

/** The one command that runs the same schedule again. */
function replayLine({ seed, minutes, nodes, apps, instances, faults }: ChaosOptions): string {
  const shape = `--nodes ${nodes} --apps ${apps} --instances ${instances} --faults ${faults.join(',')}`;
  return `npm run chaos -- --seed ${seed} --minutes ${minutes} ${shape}`;
}

function print(options: ChaosOptions, result: ChaosResult): void {
  const { violation, faults, restedAfterMs, requests, writes } = result;
  const { during, calm } = requests;
  process.stdout.write(
    `requests: ${during.failed} of ${during.sent} failed while faults struck` +
      `${during.lastFailure === undefined ? '' : ` (the last: ${during.lastFailure})`}, ${calm.failed} of ${calm.sent} at rest; ` +
      `${writes} acknowledged writes\n`,
  );
  if (violation !== undefined) {
    const { kind, checker, atMs, message } = violation;
    process.stdout.write(`${kind} violation by ${checker} at ${(atMs / 1_000).toFixed(1)} s: ${message}\n`);
    process.stdout.write(`replay: ${replayLine(options)}\n`);
  }
  process.stdout.write(
    `seed ${options.seed}: ${violation === undefined ? 'held' : 'VIOLATED'}, ${faults} faults, ` +
      `at rest ${Math.round(restedAfterMs)} ms after the last one ended\n`,
  );
}

/** Asked to end, it ends everything that it started first. */
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stopping.abort());

const flags = { ...DEFAULTS, ...read() };
const seed = flags.seed ?? String(Math.floor(Math.random() * SEEDS));
const options: ChaosOptions = {
  seed: number('seed', seed, { min: 0, max: Number.MAX_SAFE_INTEGER }),
  minutes: number('minutes', flags.minutes, { min: 0.1, max: 600 }),
  nodes: number('nodes', flags.nodes, { min: 2, max: 16 }),
  apps: number('apps', flags.apps, { min: 1, max: 8 }),
  instances: number('instances', flags.instances, { min: 1, max: 16 }),
  faults: kindsOf(flags.faults),
  say: (text) => process.stdout.write(`${text}\n`),
  signal: stopping.signal,
};
process.stdout.write(`seed ${options.seed}\n`);
const result = await runChaos(options);
if (stopping.signal.aborted) {
  process.stdout.write('stopped before its end\n');
  process.exit(1);
}
print(options, result);
process.exit(result.violation === undefined ? 0 : 1);
