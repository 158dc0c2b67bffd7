// Brings the buildpacks of a build to where the sandbox sees them: built-in ones are there, others are fetched or
// unpacked by a run of their own in the sandbox. Never runs one.

import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Bind } from '../ports/sandbox.ts';
import { type BuildpackSpec, resolveFolder } from './buildpack.ts';
import { StagingError } from './errors.ts';
import { INSIDE, type Job, lastLinesOf, lastShown, print, runSandbox } from './job.ts';
import { secretsOf, sourceEnvironment } from './source-url.ts';
import { RUNNER_STATUS } from './verdict.ts';

/** Where the sandbox sees each, and what the build must be shown for that. */
export const placePacks = async (
  job: Job,
  packs: readonly BuildpackSpec[],
): Promise<{ folders: string[]; binds: Bind[] }> => {
  const binds: Bind[] = [];
  const folders: string[] = [];
  for (const [at, spec] of packs.entries()) folders.push(await placePack(job, spec, { at, binds }));
  return { folders, binds };
};

const placePack = async (
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
    case 'git':
      print(job, `-----> Fetching buildpack ${spec.name}`);
      return fetchPack(job, spec, { at, from: spec.url, ref: spec.ref ?? '', binds: [] });
    case 'archive':
      print(job, `-----> Fetching buildpack ${spec.name}`);
      return fetchPack(job, spec, { at, from: spec.name, ref: '', binds: [] });
    case 'upload': {
      const { blobs } = job.context;
      if (!blobs.has(spec.digest)) {
        throw new StagingError(
          'buildpack_unknown',
          `buildpack ${spec.name}: this node no longer has what was uploaded: push again`,
        );
      }
      // A blob may lie in pieces: the sandbox is shown one file.
      const file = join(job.workspace.root, `pack-${at}.tgz`);
      await pipeline(blobs.read(spec.digest), createWriteStream(file, { mode: 0o644 }), { signal: job.signal });
      const to = `${INSIDE.hostPacks}/${at}.tgz`;
      return fetchPack(job, spec, {
        at,
        from: to,
        ref: '',
        binds: [{ from: file, to, writable: false }],
      });
    }
  }
};

const fetchPack = async (
  job: Job,
  spec: BuildpackSpec & { kind: 'git' | 'archive' | 'upload' },
  run: { at: number; from: string; ref: string; binds: Bind[] },
): Promise<string> => {
  const result = await runSandbox(job, {
    step: 'fetch',
    ...(spec.kind === 'upload' ? {} : { env: sourceEnvironment(spec.kind, spec), secrets: secretsOf(spec) }),
    argv: ['fetch', spec.kind, run.from, run.ref, String(run.at)],
    binds: run.binds,
  });
  if (result.code === RUNNER_STATUS.gitMissing) {
    throw new StagingError(
      'buildpack_fetch_failed',
      'git is not installed on this node: install it, or give the buildpack as a folder',
    );
  }
  if (result.code !== 0) {
    throw new StagingError(
      'buildpack_fetch_failed',
      `buildpack ${spec.name} could not be fetched: ${lastShown(job)}; ${ADVICE[spec.kind]}`,
      { lastLines: lastLinesOf(job) },
    );
  }
  return `${INSIDE.scratch}/packs/${run.at}`;
};

const ADVICE = {
  git: 'check the URL and that the branch, tag or commit exists',
  archive: 'check the URL, and that it leads to a .tgz of a buildpack',
  upload: 'give the folder of a buildpack, or a .tgz of one',
};
