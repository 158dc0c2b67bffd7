// `npm run compare -- --base REV --bench NAME[,NAME…] [--rounds N] [--head REV]`: the same benchmarks on two commits
// in one go, in turn, so that whatever else the machine does strikes both. Prints one JSON document with medians and
// ratios on stdout; what the benchmarks say goes to stderr. Exits 1 when a run failed, 2 on wrong usage; a bound that
// is missed is no failure here.

import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type BenchRun, compared, type Side } from './bench/comparison.ts';
import { ROOT, run } from './local-cluster.ts';

const USAGE = `usage: npm run compare -- --base REV --bench NAME[,NAME…] [--rounds N] [--head REV]
  --bench    benchmarks, each with its arguments: --bench "push,failover --rivals none"
  --rounds   runs of each on each commit; default 3
  --head     default: this checkout as it is
`;
const ROUNDS_MAX = 100;
const INSTALL_TIMEOUT_MS = 600_000;

type Tree = { side: Side; rev: string; folder: string };

function usage(problem: string): never {
  process.stderr.write(`${problem}\n${USAGE}`);
  process.exit(2);
}

function read() {
  const text = { type: 'string' as const };
  try {
    return parseArgs({ options: { base: text, head: text, bench: text, rounds: { ...text, default: '3' } } }).values;
  } catch (error) {
    usage((error as Error).message);
  }
}

const { base, head, bench, rounds: given } = read();
if (base === undefined || bench === undefined) usage('--base and --bench have to be given');
const rounds = Number(given);
if (!(Number.isInteger(rounds) && rounds >= 1 && rounds <= ROUNDS_MAX)) {
  usage(`--rounds must be a whole number from 1 to ${ROUNDS_MAX}, not "${given}"`);
}
const revs = { base: await commitOf(base), head: head === undefined ? undefined : await commitOf(head) };
const benches = bench.split(',').map((one) => one.trim());

const say = (text: string): void => void process.stderr.write(`compare: ${text}\n`);
/** Of what was asked to end: the benchmark under way ends by the same signal and cleans up, then this does. */
let isStopped = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    isStopped = true;
  });
}

const work = await mkdtemp(join(tmpdir(), 'peer-compare-'));
const failures: { bench: string; side: Side; round: number; reason: string }[] = [];
const runs: BenchRun[] = [];
const trees: Tree[] = [];
try {
  trees.push(await treeOf('base', revs.base));
  trees.push(
    revs.head === undefined
      ? { side: 'head', rev: await nameOfCheckout(), folder: ROOT }
      : await treeOf('head', revs.head),
  );
  for (let round = 1; round <= rounds; round++) {
    for (const name of benches) {
      // The two commits take turns at being first, as the first may warm something up for the second.
      for (const tree of round % 2 === 1 ? trees : trees.toReversed()) {
        if (isStopped) continue;
        say(`round ${round} of ${rounds}: ${name} on ${tree.side} (${tree.rev})`);
        try {
          runs.push({ bench: name, side: tree.side, figures: await measure(tree, name) });
        } catch (error) {
          say((error as Error).message);
          failures.push({ bench: name, side: tree.side, round, reason: (error as Error).message });
        }
      }
    }
  }
} finally {
  for (const { folder } of trees) if (folder !== ROOT) await done(['git', 'worktree', 'remove', '--force', folder]);
  await rm(work, { recursive: true, force: true });
}
const [revBase, revHead] = trees.map(({ rev }) => rev);
process.stdout.write(
  `${JSON.stringify({ compare: { base: revBase, head: revHead, rounds }, figures: compared(runs), failures }, undefined, 2)}\n`,
);
process.exit(failures.length === 0 && !isStopped ? 0 : 1);

/** The commit in a folder of its own, with npm packages of its own. */
async function treeOf(side: Side, rev: string): Promise<Tree> {
  const folder = join(work, side);
  await done(['git', 'worktree', 'add', '--detach', folder, rev]);
  const tree = { side, rev, folder };
  const lockOf = (at: string): Promise<string> => readFile(join(at, 'package-lock.json'), 'utf8');
  try {
    if ((await lockOf(folder)) === (await lockOf(ROOT))) {
      await done(['cp', '-a', '--reflink=auto', join(ROOT, 'node_modules'), folder]);
    } else {
      say(`installing the npm packages of ${tree.rev}`);
      await done(['npm', 'ci', '--no-audit', '--no-fund', '--loglevel=error'], folder);
    }
  } catch (error) {
    await done(['git', 'worktree', 'remove', '--force', folder]);
    throw error;
  }
  return tree;
}

async function commitOf(rev: string): Promise<string> {
  const { code, stdout } = await run(['git', 'rev-parse', '--verify', '--short', `${rev}^{commit}`], { cwd: ROOT });
  if (code !== 0) usage(`there is no commit "${rev}" here`);
  return stdout.trim();
}

async function nameOfCheckout(): Promise<string> {
  const rev = await done(['git', 'rev-parse', '--short', 'HEAD']);
  return (await done(['git', 'status', '--porcelain', '--untracked-files=no'])) === '' ? rev : `${rev} with changes`;
}

/** Fails when it printed no figures: then something else than a bound was missed. */
async function measure({ folder }: Tree, name: string): Promise<BenchRun['figures']> {
  const args = ['scripts/bench.ts', ...name.split(/\s+/)];
  const child = spawn(join(folder, 'node_modules/.bin/node'), args, {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => {
    text += chunk;
  });
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject).once('close', resolve);
  });
  try {
    return (JSON.parse(text) as { figures: BenchRun['figures'] }).figures;
  } catch {
    throw new Error(`${name} printed no figures, and ended with status ${code}: see above`);
  }
}

async function done(command: string[], cwd = ROOT): Promise<string> {
  const { code, stdout, stderr } = await run(command, { cwd, timeoutMs: INSTALL_TIMEOUT_MS });
  if (code !== 0) throw new Error(`${command.join(' ')}: ${stderr.trim()}`);
  return stdout.trim();
}
