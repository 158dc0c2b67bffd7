// One staging, from the received upload to the stored droplet: three short stories (fetch buildpacks, build, pack), each
// one run in the sandbox. Turns their endings into a StagingError. Never runs anything on the host itself.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Bind, BlobStore, Sandbox, SandboxResult, StagedDroplet, StageRequest } from '../ports.ts';
import { type BuildpackSpec, cacheKey, resolveFolder } from './buildpack.ts';
import type { Caches } from './cache.ts';
import { buildEnvironment } from './environment.ts';
import { StagingError } from './errors.ts';
import { createLineSplitter } from './lines.ts';
import { configVarsScript, mergeProcesses, parseProcfile, parseRelease, type Release } from './processes.ts';
import { readResult, type Workspace, writeEnvDir } from './workspace.ts';

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
  /** Folder of the built-in buildpacks, and the order in which they are asked. */
  builtinDir: string;
  detectOrder: readonly string[];
  stack: string;
  /** Folders that no buildpack may come from. */
  forbiddenDirs: readonly string[];
  daemonEnv: NodeJS.ProcessEnv;
  limits: BuildLimits;
};

/** Exit statuses of runner.sh. */
const UNPACK_FAILED = 221;
const NOTHING_DETECTED = 222;
const COMPILE_FAILED = 223;
const RELEASE_FAILED = 224;
const GIT_MISSING = 226;

const LAST_LINES_MAX = 10;
/** Of the last line that is shown within the error's message. */
const SHOWN_CHARS_MAX = 200;
const PACK_ERRORS_BYTES_MAX = 2_000;

/** Where a build sees what; the app where it will also be found when it runs, since builds write absolute paths. */
const INSIDE = {
  app: '/app',
  cache: '/cache',
  scratch: '/scratch',
  result: '/result',
  droplet: '/droplet',
  hostPacks: '/packs',
  builtins: '/opt/peer/buildpacks',
  runner: '/opt/peer/stage.sh',
} as const;
const runnerPath = fileURLToPath(new URL('runner.sh', import.meta.url));

type Job = {
  context: BuildContext;
  request: StageRequest;
  workspace: Workspace;
  id: string;
  deadlineMs: number;
  signal: AbortSignal;
  /** The end of what was printed. */
  lastLines: string[];
};

export const build = async (
  context: BuildContext,
  options: { request: StageRequest; packs: BuildpackSpec[]; workspace: Workspace; id: string; signal: AbortSignal },
): Promise<StagedDroplet> => {
  const { request, workspace } = options;
  const job: Job = { ...options, context, deadlineMs: performance.now() + context.limits.timeLimitMs, lastLines: [] };
  await writeEnvDir(workspace, request.env);
  await context.sandbox.giveTo(workspace.shared);

  const packs: BuildpackSpec[] =
    options.packs.length > 0
      ? options.packs
      : context.detectOrder.map((name): BuildpackSpec => ({ kind: 'builtin', name }));
  const binds: Bind[] = [];
  const folders: string[] = [];
  for (const [at, spec] of packs.entries()) folders.push(await packFolder(job, spec, { at, binds }));

  const chosen = await runBuildpacks(job, { packs, folders, binds, detect: options.packs.length === 0 });
  const release = await readRelease(job, chosen);
  const processes = await processesOf(job, release);
  const buildpack = chosen.join(', ');
  await writeFile(join(workspace.droplet, 'staging_info.json'), `${JSON.stringify({ buildpack, processes })}\n`);
  if (Object.keys(release.configVars).length > 0) {
    await writeFile(join(workspace.droplet, 'profile.d', '00-config-vars.sh'), configVarsScript(release.configVars));
  }
  const stored = await packDroplet(job);
  return { ...stored, stack: context.stack, buildpack, processes };
};

/** Where the sandbox sees the buildpack; git ones are fetched first. */
const packFolder = async (
  job: Job,
  spec: BuildpackSpec,
  { at, binds }: { at: number; binds: Bind[] },
): Promise<string> => {
  switch (spec.kind) {
    case 'builtin':
      return `${INSIDE.builtins}/${spec.name}`;
    case 'folder': {
      const from = await resolveFolder(spec, job.context.forbiddenDirs);
      const to = `${INSIDE.hostPacks}/${at}`;
      binds.push({ from, to, writable: false });
      return to;
    }
    case 'git': {
      print(job, `-----> Fetching buildpack ${spec.name}`);
      const result = await runSandbox(job, {
        step: 'fetch',
        argv: ['fetch', spec.url, spec.ref ?? '', String(at)],
        binds: [],
      });
      if (result.code === GIT_MISSING) {
        throw new StagingError(
          'buildpack_fetch_failed',
          'git is not installed on this node: install it, or give the buildpack as a folder',
        );
      }
      if (result.code !== 0) {
        throw new StagingError(
          'buildpack_fetch_failed',
          `buildpack ${spec.name} could not be fetched: ${lastShown(job)}; check the URL and that the branch, tag or commit exists`,
          { lastLines: job.lastLines },
        );
      }
      return `${INSIDE.scratch}/packs/${at}`;
    }
  }
};

/** Names of the buildpacks that were used. */
const runBuildpacks = async (
  job: Job,
  given: { packs: BuildpackSpec[]; folders: string[]; binds: Bind[]; detect: boolean },
): Promise<string[]> => {
  const { context, request } = job;
  const { path, fresh } = await context.caches.folder(request.app.id);
  if (fresh) await context.sandbox.giveTo(path);
  const binds = [
    ...given.binds,
    { from: context.builtinDir, to: INSIDE.builtins, writable: false },
    { from: path, to: INSIDE.cache, writable: true },
  ];
  const packs = given.packs.flatMap((pack, at) => [pack.name, given.folders[at]!, cacheKey(pack)]);
  const result = await runSandbox(job, {
    step: 'build',
    argv: ['build', given.detect ? 'detect' : 'given', ...packs],
    binds,
  });
  const names = given.packs.map((pack) => pack.name);
  const status = parseStatus((await readResult(job.workspace, 'status')) ?? '', names);
  if (result.code === 0 && status.done) return status.compiled;
  throw buildError(job, { code: result.code, status, asked: names });
};

type RunnerStatus = { compiled: string[]; exitStatus: number | undefined; done: boolean };

const parseStatus = (text: string, names: string[]): RunnerStatus => {
  const compiled = [...text.matchAll(/^compiling (\d{1,3})$/gm)].flatMap((match) => names[Number(match[1])] ?? []);
  const exitStatus = /^status (\d{1,3})$/m.exec(text)?.[1];
  return {
    compiled,
    exitStatus: exitStatus === undefined ? undefined : Number(exitStatus),
    done: /^done$/m.test(text),
  };
};

const buildError = (job: Job, ended: { code: number | null; status: RunnerStatus; asked: string[] }): StagingError => {
  const pack = ended.status.compiled.at(-1) ?? 'unknown';
  const exit = `exit status ${ended.status.exitStatus ?? ended.code ?? 'unknown'}`;
  const { lastLines } = job;
  switch (ended.code) {
    case UNPACK_FAILED:
      return new StagingError('bad_archive', `the upload could not be unpacked: ${lastShown(job)}; push again`, {
        lastLines,
      });
    case NOTHING_DETECTED:
      return new StagingError(
        'no_buildpack',
        `no buildpack recognises this folder (asked: ${ended.asked.join(', ')}): add a package.json, requirements.txt, index.html or Procfile, or push with --buildpack`,
      );
    case RELEASE_FAILED:
      return new StagingError(
        'release_failed',
        `buildpack ${pack}: bin/release failed (${exit}): ${lastShown(job)}; report it to the buildpack's author`,
        { lastLines },
      );
    case COMPILE_FAILED:
      return new StagingError(
        'compile_failed',
        `buildpack ${pack}: compile failed (${exit}): ${lastShown(job)}; the output above says why`,
        { lastLines },
      );
    default:
      // The runner itself ended early: an `export` script that exits, or a signal.
      return new StagingError(
        'compile_failed',
        `buildpack ${pack}: ended the build (${exit}): ${lastShown(job)}; the output above says why`,
        { lastLines },
      );
  }
};

const readRelease = async (job: Job, chosen: string[]): Promise<Release> =>
  parseRelease((await readResult(job.workspace, 'release.yml')) ?? '', chosen.at(-1) ?? '');

const processesOf = async (job: Job, release: Release): Promise<Record<string, string>> => {
  const procfile = parseProcfile((await readResult(job.workspace, 'Procfile')) ?? '');
  for (const line of procfile.ignoredLines)
    print(job, ` !     Procfile line ${line} is ignored: it does not read \`type: command\``);
  return mergeProcesses({ release: release.processes, procfile: procfile.processes, command: job.request.command });
};

/** Streams the droplet from the sandbox into the blob store; neither is ever whole in memory. */
const packDroplet = async (job: Job): Promise<{ digest: StagedDroplet['digest']; sizeBytes: number }> => {
  const { blobs, limits } = job.context;
  const stopPacking = new AbortController();
  const bytes = new PassThrough();
  let complaints = '';
  const stored = blobs.put(bytes, { sizeBytesMax: limits.dropletBytesMax });
  // Without a reader the pack would wait for ever.
  stored.catch(() => stopPacking.abort());
  try {
    const result = await runSandbox(job, {
      step: 'pack',
      argv: ['pack', INSIDE.droplet],
      binds: [
        { from: job.workspace.droplet, to: INSIDE.droplet, writable: false },
        { from: job.workspace.app, to: `${INSIDE.droplet}/app`, writable: false },
      ],
      signal: stopPacking.signal,
      // One more than allowed, so that the blob store sees a droplet that is too large, and refuses it.
      outputBytesMax: limits.dropletBytesMax + PACK_ERRORS_BYTES_MAX + 1,
      onOutput: (chunk, stream) => {
        if (stream === 'err') complaints = (complaints + chunk.toString('utf8')).slice(0, PACK_ERRORS_BYTES_MAX);
        else if (!bytes.write(chunk)) return writable(bytes, stopPacking.signal);
      },
    });
    if (result.code === 0 && !result.truncated) {
      bytes.end();
      return await stored;
    }
    throw new StagingError(
      'droplet_failed',
      `the droplet could not be packed: ${complaints.trim().split('\n').at(-1) || `exit status ${result.code}`}; push again`,
    );
  } catch (error) {
    const packing = error instanceof StagingError ? error : undefined;
    bytes.destroy(packing ?? new Error('packing ended'));
    const storing = await stored.then(
      () => undefined,
      (cause: unknown) => cause as { code?: string } & Error,
    );
    if (storing?.code === 'too_large') {
      throw new StagingError(
        'too_large',
        `the droplet is larger than ${Math.floor(limits.dropletBytesMax / 1024 / 1024)} MiB: leave out what the app does not need`,
        { cause: storing },
      );
    }
    if (storing?.code === 'disk_full') {
      throw new StagingError(
        'disk_full',
        'no space left on this node for the droplet: free some disk space, or push to another node',
        { cause: storing },
      );
    }
    // A failure of the store ends the pack, which then only says that it was stopped.
    throw storing && packing?.code === 'aborted' && !job.signal.aborted ? storing : error;
  }
};

const writable = (stream: PassThrough, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    if (signal.aborted || stream.destroyed) return resolve();
    stream.once('drain', done).once('close', done);
    signal.addEventListener('abort', done, { once: true });
  });

type Run = {
  step: 'fetch' | 'build' | 'pack';
  argv: string[];
  binds: Bind[];
  signal?: AbortSignal;
  outputBytesMax?: number;
  onOutput?: (chunk: Buffer, stream: 'out' | 'err') => void | Promise<void>;
};

/** One run with what every run has in common; fails when it was stopped, ran out of time or out of memory. */
const runSandbox = async (job: Job, run: Run): Promise<SandboxResult> => {
  const { context, workspace } = job;
  const { limits } = context;
  const timeoutMs = Math.max(1, Math.ceil(job.deadlineMs - performance.now()));
  const build = buildEnvironment({
    daemonEnv: context.daemonEnv,
    stack: context.stack,
    home: `${INSIDE.scratch}/home`,
    tmp: `${INSIDE.scratch}/tmp`,
  });
  const output = lineOutput(job);
  const result = await context.sandbox.run({
    name: `stage-${job.id}-${run.step}`,
    argv: ['/bin/bash', INSIDE.runner, ...run.argv],
    cwd: INSIDE.scratch,
    env: {
      ...build.env,
      PEER_APP: INSIDE.app,
      PEER_CACHE: INSIDE.cache,
      PEER_SCRATCH: INSIDE.scratch,
      PEER_RESULT: INSIDE.result,
      PEER_BUILTINS: INSIDE.builtins,
    },
    binds: [
      { from: workspace.scratch, to: INSIDE.scratch, writable: true },
      { from: workspace.app, to: INSIDE.app, writable: true },
      { from: workspace.result, to: INSIDE.result, writable: true },
      { from: runnerPath, to: INSIDE.runner, writable: false },
      ...build.binds,
      ...run.binds,
    ],
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
      { lastLines: job.lastLines },
    );
  }
  if (result.outOfMemory && result.code !== 0) {
    throw new StagingError(
      'out_of_memory',
      `the build needed more than the ${Math.floor(limits.memoryBytes / 1024 / 1024)} MiB it may use: make it smaller, or build before the push`,
      { lastLines: job.lastLines },
    );
  }
  return result;
};

/** The run's output as lines, its two streams apart so that half lines never mix. */
const lineOutput = (
  job: Job,
): { push: (chunk: Buffer, stream: 'out' | 'err') => void; end: (truncated: boolean) => void } => {
  const out = createLineSplitter((text) => print(job, text));
  const err = createLineSplitter((text) => print(job, text));
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

const print = (job: Job, text: string): void => {
  if (text.trim() !== '') {
    job.lastLines.push(text);
    if (job.lastLines.length > LAST_LINES_MAX) job.lastLines.shift();
  }
  job.request.onLine(text);
};

/** The last line printed, short and without colours, for within a message. */
const lastShown = (job: Job): string => {
  const line =
    job.lastLines
      .at(-1)
      ?.replace(/\u001b\[[0-9;]*m/g, '')
      .trim() ?? '';
  return line === ''
    ? 'it printed nothing'
    : line.length > SHOWN_CHARS_MAX
      ? `${line.slice(0, SHOWN_CHARS_MAX)}…`
      : line;
};
