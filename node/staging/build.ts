// One staging, from the received upload to the stored droplet: three short stories (fetch buildpacks, build, pack), each
// one run in the sandbox. Turns their endings into a StagingError. Never runs anything on the host itself.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Bind, StagedDroplet, StageRequest } from '../ports.ts';
import { type BuildpackSpec, cacheKey, resolveFolder } from './buildpack.ts';
import { packDroplet } from './droplet.ts';
import { StagingError } from './errors.ts';
import { type BuildContext, INSIDE, type Job, lastShown, print, runSandbox } from './job.ts';
import { configVarsScript, mergeProcesses, parseProcfile, parseRelease, type Release } from './processes.ts';
import { readResult, type Workspace, writeEnvDir } from './workspace.ts';

/** Exit statuses of runner.sh. */
const UNPACK_FAILED = 221;
const NOTHING_DETECTED = 222;
const COMPILE_FAILED = 223;
const RELEASE_FAILED = 224;
const GIT_MISSING = 226;

export const build = async (
  context: BuildContext,
  options: { request: StageRequest; packs: BuildpackSpec[]; workspace: Workspace; id: string; signal: AbortSignal },
): Promise<StagedDroplet> => {
  const { request, workspace } = options;
  const job: Job = { ...options, context, deadlineMs: performance.now() + context.limits.timeLimitMs, lastLines: [] };
  await writeEnvDir(workspace, request.env);
  await Promise.all([workspace.app, workspace.scratch, workspace.result].map((path) => context.sandbox.giveTo(path)));

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
