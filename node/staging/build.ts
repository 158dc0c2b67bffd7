// One staging, from the received upload to the stored droplet, as a short story: unpack, fetch buildpacks, build, pack; each
// a run in the sandbox. Never runs anything on the host itself.

import { rmdir, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bind, StagedDroplet, StageRequest } from '../ports.ts';
import { packsOfApp } from './app-packs.ts';
import { type BuildpackSpec, cacheKey, parseBuildpackSpec } from './buildpack.ts';
import { parseOutcome } from './cloud-native.ts';
import { packDroplet } from './droplet.ts';
import { StagingError } from './errors.ts';
import { placePacks } from './fetching.ts';
import { type BuildContext, INSIDE, type Job, lastShown, print, runSandbox } from './job.ts';
import { configVarsScript, mergeProcesses, parseProcfile, parseRelease } from './processes.ts';
import { buildError, parseSteps, RUNNER_STATUS } from './verdict.ts';
import { readResult, type Workspace, writeEnvDir } from './workspace.ts';

export const build = async (
  context: BuildContext,
  options: { request: StageRequest; packs: BuildpackSpec[]; workspace: Workspace; id: string; signal: AbortSignal },
): Promise<StagedDroplet> => {
  const { request, workspace } = options;
  const job: Job = { ...options, context, deadlineMs: performance.now() + context.limits.timeLimitMs, lastLines: [] };
  await writeEnvDir(workspace, request.env);
  const { app, deps, layers, profile, scratch, result } = workspace;
  await Promise.all([app, deps, layers, profile, scratch, result].map((path) => context.sandbox.giveTo(path)));

  await unpackUpload(job);
  const { packs, detect } = await choosePacks(job, options.packs);
  const { folders, binds } = await placePacks(job, packs);
  const built = await runBuildpacks(job, { packs, folders, binds, detect });

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
  const stored = await packDroplet(job);
  return { ...stored, stack: context.stack, buildpack, processes };
};

const unpackUpload = async (job: Job): Promise<void> => {
  const result = await runSandbox(job, { step: 'unpack', argv: ['unpack'], binds: [] });
  if (result.code === 0) return;
  throw new StagingError('bad_archive', `the upload could not be unpacked: ${lastShown(job)}; push again`, {
    lastLines: job.lastLines,
  });
};

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
    return { packs: detectOrder.map((name): BuildpackSpec => ({ kind: 'builtin', name })), detect: true };
  }
  print(job, `-----> Buildpacks from ${own.from}`);
  return { packs: own.packs.map((text) => parseBuildpackSpec(text, detectOrder)), detect: false };
};

type Built = { used: string[]; processes: Record<string, string>; configVars: Record<string, string> };

const runBuildpacks = async (
  job: Job,
  given: { packs: readonly BuildpackSpec[]; folders: string[]; binds: Bind[]; detect: boolean },
): Promise<Built> => {
  const { context, request, workspace } = job;
  const { path, fresh } = await context.caches.folder(request.app.id);
  if (fresh) await context.sandbox.giveTo(path);
  const packs = given.packs.flatMap((pack, at) => [pack.name, given.folders[at]!, cacheKey(pack)]);
  const result = await runSandbox(job, {
    step: 'build',
    argv: ['build', given.detect ? 'detect' : 'given', ...packs],
    binds: [
      ...given.binds,
      { from: context.builtinDir, to: INSIDE.builtins, writable: false },
      { from: path, to: INSIDE.cache, writable: true },
      { from: workspace.deps, to: INSIDE.deps, writable: true },
      { from: workspace.layers, to: INSIDE.layers, writable: true },
      { from: workspace.profile, to: INSIDE.profile, writable: true },
    ],
  });
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
