// What the ending of a build means for people: turns the runner's exit status and the steps it told into a
// StagingError.

import { StagingError, type StagingErrorCode } from './errors.ts';
import { type Job, lastLinesOf, lastShown } from './job.ts';

/** Exit statuses of runner.sh. 222 to 226 are those that Cloud Foundry uses. */
export const RUNNER_STATUS = {
  unpackFailed: 221,
  nothingDetected: 222,
  compileFailed: 223,
  releaseFailed: 224,
  supplyFailed: 225,
  finalizeFailed: 226,
  fetchFailed: 227,
  gitMissing: 228,
  noBuildpack: 229,
  mixedKinds: 230,
  lifecycleFailed: 231,
  /** No failure: which buildpacks to run is in the app. */
  ownPacks: 232,
} as const;

export type RunnerSteps = {
  /** Names of the buildpacks that were run, in order. */
  ran: string[];
  /** What the buildpack's own script ended with. */
  exitStatus: number | undefined;
  /** The one that is no buildpack. */
  noBuildpack: string | undefined;
  done: boolean;
};

/** `names` by the numbers that the runner tells. */
export const parseSteps = (text: string, names: readonly string[]): RunnerSteps => {
  const exitStatus = /^status (\d{1,3})$/m.exec(text)?.[1];
  const noBuildpack = /^no-buildpack (\d{1,3})$/m.exec(text)?.[1];
  return {
    ran: [...text.matchAll(/^running (\d{1,3})$/gm)].flatMap((match) => names[Number(match[1])] ?? []),
    exitStatus: exitStatus === undefined ? undefined : Number(exitStatus),
    noBuildpack: noBuildpack === undefined ? undefined : names[Number(noBuildpack)],
    done: /^done$/m.test(text),
  };
};

/** Scripts of a buildpack that can fail, by the status that tells so. */
const SCRIPTS = new Map<number, { code: StagingErrorCode; script: string; advice: string }>([
  [RUNNER_STATUS.compileFailed, { code: 'compile_failed', script: 'compile', advice: 'the output above says why' }],
  [RUNNER_STATUS.supplyFailed, { code: 'supply_failed', script: 'supply', advice: 'the output above says why' }],
  [RUNNER_STATUS.finalizeFailed, { code: 'finalize_failed', script: 'finalize', advice: 'the output above says why' }],
  [
    RUNNER_STATUS.releaseFailed,
    { code: 'release_failed', script: 'bin/release', advice: "report it to the buildpack's author" },
  ],
]);

export const buildError = (
  job: Job,
  ended: { code: number | null; steps: RunnerSteps; asked: readonly string[] },
): StagingError => {
  const { steps } = ended;
  const pack = steps.ran.at(-1) ?? 'unknown';
  const exit = `exit status ${steps.exitStatus ?? ended.code ?? 'unknown'}`;
  const lastLines = lastLinesOf(job);
  switch (ended.code) {
    case RUNNER_STATUS.nothingDetected:
      return new StagingError(
        'no_buildpack',
        `no buildpack recognises this folder (asked: ${ended.asked.join(', ')}): add a package.json, requirements.txt, index.html or Procfile, or push with --buildpack`,
      );
    case RUNNER_STATUS.noBuildpack:
      return new StagingError(
        'buildpack_unknown',
        `buildpack ${steps.noBuildpack ?? pack}: it has no bin/compile and no bin/finalize: it is no buildpack, or cannot be the last one`,
      );
    case RUNNER_STATUS.mixedKinds:
      return new StagingError(
        'buildpack_unknown',
        `${ended.asked.join(', ')}: classic and Cloud Native Buildpacks cannot be used together: give buildpacks of one kind`,
      );
  }
  const failed = SCRIPTS.get(ended.code ?? 0);
  if (failed !== undefined) {
    return new StagingError(
      failed.code,
      `buildpack ${pack}: ${failed.script} failed (${exit}): ${lastShown(job)}; ${failed.advice}`,
      { lastLines },
    );
  }
  // The runner itself ended early: an `export` script that exits, or a signal.
  return new StagingError(
    'compile_failed',
    `buildpack ${pack}: ended the build (${exit}): ${lastShown(job)}; the output above says why`,
    { lastLines },
  );
};
