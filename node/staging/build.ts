// One staging, from the received upload to the stored droplet, as a short story: unpack, fetch buildpacks, build,
// pack; each a run in the sandbox. Never runs anything on the host itself.

import { rmdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bind } from '../ports/sandbox.ts';
import type { StagedDroplet } from '../ports/staging.ts';
import { packsOfApp } from './app-packs.ts';
import { type BuildpackSpec, cacheKey, parseBuildpackSpec } from './buildpack.ts';
import { parseOutcome } from './cloud-native.ts';
import { packDroplet } from './droplet.ts';
import { StagingError } from './errors.ts';
import { placePacks } from './fetching.ts';
import { type BuildContext, INSIDE, type Job, lastLinesOf, lastShown, print, runSandbox } from './job.ts';
import { parseLent } from './lent-folders.ts';
import { configVarsScript, mergeProcesses, parseProcfile, parseRelease } from './processes.ts';
import { buildError, parseSteps, RUNNER_STATUS } from './verdict.ts';
import { readResult, type Workspace, writeEnvDir } from './workspace.ts';

export const build = async (
  context: BuildContext,
  options: Pick<Job, 'request' | 'workspace' | 'id' | 'signal' | 'stopwatch'> & { packs: BuildpackSpec[] },
): Promise<StagedDroplet> => {
  const { request, workspace, stopwatch } = options;
  const job: Job = {
    ...options,
    context,
    deadlineMs: performance.now() + context.limits.timeLimitMs,
    lines: [],
  };
  await writeEnvDir(workspace, request.env);
  const { app, deps, layers, profile, scratch, result } = workspace;
  await context.sandbox.giveTo(app, deps, layers, profile, scratch, result);

  const asked = options.packs;
  const cache = await takeCache(job);
  const run = async (packs: readonly BuildpackSpec[], how: { detect: boolean; unpack: boolean }) => {
    const placed = await placePacks(job, packs);
    stopwatch.lap('fetch');
    const built = await runBuildpacks(job, { ...placed, ...how, packs, cacheBinds: cache.binds });
    stopwatch.lap('build');
    return built;
  };
  try {
    let built: Built | undefined;
    // When all are here already, one run does both: a sandbox takes longer to set up than most apps to unpack.
    if (asked.every(({ kind }) => kind === 'builtin' || kind === 'folder')) {
      const packs = asked.length > 0 ? asked : builtins(context);
      built = await run(packs, { detect: asked.length === 0, unpack: true });
    } else {
      await unpackUpload(job);
      stopwatch.lap('unpack');
    }
    if (built === undefined) {
      const { packs, detect } = await choosePacks(job, asked);
      built = await run(packs, { detect, unpack: false });
    }
    if (built === undefined) throw new Error('the runner did not build');
    const droplet = await makeDroplet(job, built, cache.binds);
    stopwatch.lap('pack');
    return droplet;
  } finally {
    await cache.giveBack();
  }
};

/**
 * The app's cache, and how the sandbox sees it: beside the droplet, where buildpacks may move files between the two;
 * where the sandbox has no user of its own, by itself.
 */
const takeCache = async ({
  context,
  request,
  workspace,
}: Job): Promise<{ binds: Bind[]; giveBack(): Promise<void> }> => {
  const { caches, sandbox } = context;
  if (!sandbox.ownUser) {
    const { path } = await caches.folder(request.app.id);
    return { binds: [{ from: path, to: INSIDE.cache, writable: true }], giveBack: async () => {} };
  }
  const { fresh, giveBack } = await caches.lend(request.app.id, workspace.cache);
  if (fresh) await sandbox.giveTo(workspace.cache);
  return {
    binds: [
      { from: workspace.cache, to: INSIDE.cache, writable: true },
      { from: workspace.together, to: INSIDE.together, writable: true },
    ],
    giveBack,
  };
};

const makeDroplet = async (job: Job, built: Built, cacheBinds: Bind[]): Promise<StagedDroplet> => {
  const { context, request, workspace } = job;
  const { deps, layers } = workspace;

  const procfile = parseProcfile((await readResult(workspace, 'Procfile')) ?? '');
  for (const line of procfile.ignoredLines)
    print(job, ` !     Procfile line ${line} is ignored: it does not read \`type: command\``);
  const processes = mergeProcesses({
    release: built.processes,
    procfile: procfile.processes,
    command: request.command,
  });
  const buildpack = built.used.join(', ');
  await writeFile(join(workspace.droplet, 'staging_info.json'), `${JSON.stringify({ buildpack, processes })}\n`);
  if (Object.keys(built.configVars).length > 0) {
    await writeProfileScript(workspace, '00-config-vars.sh', configVarsScript(built.configVars));
  }
  // Folders for what this build did not make; the same app makes the same droplet whatever could have been in it.
  for (const path of [deps, layers]) await rmdir(path).catch(() => {});
  const lent = parseLent(await readResult(workspace, 'lent'));
  const stored = await packDroplet(job, { cacheBinds, lent });
  return { ...stored, stack: context.stack, buildpack, processes };
};

const unpackUpload = async (job: Job): Promise<void> => {
  const result = await runSandbox(job, { step: 'unpack', argv: ['unpack'], binds: [] });
  if (result.code !== 0) throw notUnpacked(job);
};

const notUnpacked = (job: Job): StagingError =>
  new StagingError('bad_archive', `the upload could not be unpacked: ${lastShown(job)}; push again`, {
    lastLines: lastLinesOf(job),
  });

const builtins = ({ detectOrder }: BuildContext): BuildpackSpec[] =>
  detectOrder.map((name) => ({ kind: 'builtin', name }));

/** What the push names, else what the app names, else all that are asked whether they recognise it. */
const choosePacks = async (
  job: Job,
  asked: readonly BuildpackSpec[],
): Promise<{ packs: readonly BuildpackSpec[]; detect: boolean }> => {
  if (asked.length > 0) return { packs: asked, detect: false };
  const { detectOrder } = job.context;
  const own = packsOfApp({
    buildpacks: await readResult(job.workspace, 'buildpacks'),
    appJson: await readResult(job.workspace, 'app.json'),
  });
  if (own === undefined) {
    return { packs: builtins(job.context), detect: true };
  }
  print(job, `-----> Buildpacks from ${own.from}`);
  return { packs: own.packs.map((text) => parseBuildpackSpec(text, detectOrder)), detect: false };
};

type Built = { used: string[]; processes: Record<string, string>; configVars: Record<string, string> };

/** `unpack`: the upload first; undefined then, when the app names its own buildpacks and nothing was built. */
const runBuildpacks = async (
  job: Job,
  given: {
    packs: readonly BuildpackSpec[];
    folders: string[];
    binds: Bind[];
    cacheBinds: readonly Bind[];
    detect: boolean;
    unpack: boolean;
  },
): Promise<Built | undefined> => {
  const { context, workspace } = job;
  const packs = given.packs.flatMap((pack, at) => [pack.name, given.folders[at]!, cacheKey(pack)]);
  const result = await runSandbox(job, {
    step: 'build',
    argv: [given.unpack ? 'stage' : 'build', given.detect ? 'detect' : 'given', ...packs],
    binds: [
      ...given.binds,
      ...given.cacheBinds,
      { from: context.builtinDir, to: INSIDE.builtins, writable: false },
      { from: workspace.deps, to: INSIDE.deps, writable: true },
      { from: workspace.layers, to: INSIDE.layers, writable: true },
      { from: workspace.profile, to: INSIDE.profile, writable: true },
    ],
  });
  if (given.unpack && result.code === RUNNER_STATUS.unpackFailed) throw notUnpacked(job);
  if (given.unpack && result.code === RUNNER_STATUS.ownPacks) return undefined;
  const names = given.packs.map((pack) => pack.name);
  const outcome = await readResult(workspace, 'cloud-native.json');
  if (outcome !== undefined && (result.code === 0 || result.code === RUNNER_STATUS.lifecycleFailed)) {
    const { used, processes } = parseOutcome(job, outcome);
    return { used, processes, configVars: {} };
  }
  const steps = parseSteps((await readResult(workspace, 'status')) ?? '', names);
  if (result.code !== 0 || !steps.done) throw buildError(job, { code: result.code, steps, asked: names });
  const release = parseRelease((await readResult(workspace, 'release.yml')) ?? '', steps.ran.at(-1) ?? '');
  return { used: steps.ran, ...release };
};

/** The build could write to this folder: whatever is at the name is replaced, not followed. */
const writeProfileScript = async (workspace: Workspace, name: string, text: string): Promise<void> => {
  const path = join(workspace.profile, name);
  await unlink(path).catch(() => {});
  await writeFile(path, text, { flag: 'wx' });
};
