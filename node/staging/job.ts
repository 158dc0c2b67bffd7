// What the steps of one staging share, and how one step runs in the sandbox: its folders, environment, limits and
// output. Fails when the run was stopped, ran out of time or out of memory; what its exit status means is for the step
// to say.

import type { BlobStore } from '../ports/blobs.ts';
import type { Bind, Sandbox, SandboxResult } from '../ports/sandbox.ts';
import type { StageRequest } from '../ports/staging.ts';
import type { Caches } from './cache.ts';
import { causeOf } from './cause.ts';
import { buildEnvironment } from './environment.ts';
import { StagingError } from './errors.ts';
import type { LentFolders } from './lent-folders.ts';
import { createLineSplitter } from './lines.ts';
import { LIFECYCLE, programs } from './programs.ts';
import { hidden } from './source-url.ts';
import type { Stopwatch } from './stopwatch.ts';
import type { Workspace } from './workspace.ts';

export type BuildLimits = {
  timeLimitMs: number;
  memoryBytes: number;
  pidsMax: number;
  /** Printed by one run; the rest is cut with a notice, and the build goes on. */
  outputBytesMax: number;
  dropletBytesMax: number;
};

export type BuildContext = {
  sandbox: Sandbox;
  blobs: BlobStore;
  caches: Caches;
  lentFolders: LentFolders;
  /** Folder of the built-in buildpacks, and the order in which they are asked. */
  builtinDir: string;
  detectOrder: readonly string[];
  stack: string;
  /** Folders that no buildpack may come from. */
  forbiddenDirs: readonly string[];
  daemonEnv: NodeJS.ProcessEnv;
  limits: BuildLimits;
};

/** Among them is the cause of a failure. */
const LINES_MAX = 300;
const LINE_CHARS_MAX = 1_000;
/** Of them, shown with an error. */
const LAST_LINES_MAX = 10;
/** Of the last line that is shown within the error's message. */
const SHOWN_CHARS_MAX = 200;

/**
 * Where a build sees what; the droplet's parts where they will also be when it runs, since builds write absolute
 * paths.
 */
export const INSIDE = {
  app: '/app',
  deps: '/home/vcap/deps',
  layers: '/layers',
  profile: '/home/vcap/profile.d',
  cache: '/cache',
  /** The droplet's root and the cache on one mount; only where nothing in it can be exchanged. */
  together: '/together',
  scratch: '/scratch',
  result: '/result',
  droplet: '/droplet',
  hostPacks: '/packs',
  builtins: '/opt/peer/buildpacks',
  runner: '/opt/peer/stage.sh',
} as const;

const PROGRAMS = programs(INSIDE.runner);

export type Job = {
  context: BuildContext;
  request: StageRequest;
  workspace: Workspace;
  id: string;
  deadlineMs: number;
  signal: AbortSignal;
  stopwatch: Stopwatch;
  /** The end of what was printed. */
  lines: string[];
};

export type Run = {
  step: 'unpack' | 'fetch' | 'build' | 'pack';
  argv: string[];
  binds: Bind[];
  /** On top of what every run has. */
  env?: Record<string, string>;
  /** Never shown, whatever the run prints. */
  secrets?: readonly string[];
  signal?: AbortSignal;
  outputBytesMax?: number;
  onOutput?: (chunk: Buffer, stream: 'out' | 'err') => void | Promise<void>;
};

/** One run with what every run has in common; fails when it was stopped, ran out of time or out of memory. */
export const runSandbox = async (job: Job, run: Run): Promise<SandboxResult> => {
  const { context, workspace } = job;
  const { limits } = context;
  const timeoutMs = Math.max(1, Math.ceil(job.deadlineMs - performance.now()));
  const build = buildEnvironment({
    daemonEnv: context.daemonEnv,
    stack: context.stack,
    home: `${INSIDE.scratch}/home`,
    tmp: `${INSIDE.scratch}/tmp`,
  });
  const output = lineOutput(job, run.secrets ?? []);
  const result = await context.sandbox.run({
    name: `stage-${job.id}-${run.step}`,
    argv: ['/bin/bash', INSIDE.runner, ...run.argv],
    cwd: INSIDE.scratch,
    env: {
      ...build.env,
      PEER_APP: INSIDE.app,
      PEER_DEPS: INSIDE.deps,
      PEER_LAYERS: INSIDE.layers,
      PEER_PROFILE: INSIDE.profile,
      PEER_LIFECYCLE: LIFECYCLE,
      PEER_CACHE: INSIDE.cache,
      PEER_TOGETHER: INSIDE.together,
      PEER_SCRATCH: INSIDE.scratch,
      PEER_RESULT: INSIDE.result,
      PEER_BUILTINS: INSIDE.builtins,
      ...run.env,
    },
    binds: [
      { from: workspace.scratch, to: INSIDE.scratch, writable: true },
      { from: workspace.app, to: INSIDE.app, writable: true },
      { from: workspace.result, to: INSIDE.result, writable: true },
      ...PROGRAMS,
      ...build.binds,
      ...run.binds,
    ],
    ...(run.step === 'pack' || run.step === 'unpack' ? { network: 'none' as const } : { reach: build.reach }),
    memoryBytes: limits.memoryBytes,
    pidsMax: limits.pidsMax,
    timeoutMs,
    onOutput: run.onOutput ?? output.push,
    outputBytesMax: run.outputBytesMax ?? limits.outputBytesMax,
    signal: run.signal ? AbortSignal.any([job.signal, run.signal]) : job.signal,
  });
  output.end(result.truncated && run.onOutput === undefined);
  if (result.aborted) {
    throw job.signal.reason instanceof StagingError
      ? job.signal.reason
      : new StagingError('aborted', 'staging was stopped');
  }
  if (result.timedOut) {
    throw new StagingError(
      'time_limit',
      `staging did not end within ${Math.round(limits.timeLimitMs / 1000)} s and was stopped: ${lastShown(job)}; make the build shorter`,
      { lastLines: lastLinesOf(job) },
    );
  }
  if (result.outOfMemory && result.code !== 0) {
    throw new StagingError(
      'out_of_memory',
      `the build needed more than the ${Math.floor(limits.memoryBytes / 1024 / 1024)} MiB it may use: make it smaller, or build before the push`,
      { lastLines: lastLinesOf(job) },
    );
  }
  return result;
};

/** The run's output as lines, its two streams apart so that half lines never mix. */
const lineOutput = (
  job: Job,
  secrets: readonly string[],
): { push: (chunk: Buffer, stream: 'out' | 'err') => void; end: (truncated: boolean) => void } => {
  const show = (text: string): void => print(job, hidden(text, secrets));
  const out = createLineSplitter(show);
  const err = createLineSplitter(show);
  return {
    push: (chunk, stream) => (stream === 'out' ? out : err).push(chunk),
    end: (truncated) => {
      out.end();
      err.end();
      if (truncated) {
        print(
          job,
          ` !     The build printed more than ${Math.floor(job.context.limits.outputBytesMax / 1024 / 1024)} MiB; the rest is not shown`,
        );
      }
    },
  };
};

export const print = (job: Job, text: string): void => {
  if (text.trim() !== '') {
    job.lines.push(text.slice(0, LINE_CHARS_MAX));
    if (job.lines.length > LINES_MAX) job.lines.shift();
  }
  job.request.onLine(text);
};

/** The end of what was printed, for people. */
export const lastLinesOf = ({ lines }: Job): string[] => lines.slice(-LAST_LINES_MAX);

/** The line that says why it failed (cause.ts), short, for within a message. */
export const lastShown = (job: Job): string => {
  const cause = causeOf(job.lines);
  if (cause === undefined) return 'it printed nothing';
  const { line, isNetwork } = cause;
  const short = line.length > SHOWN_CHARS_MAX ? `${line.slice(0, SHOWN_CHARS_MAX)}…` : line;
  return isNetwork ? `${short} (the build could not reach the network)` : short;
};
