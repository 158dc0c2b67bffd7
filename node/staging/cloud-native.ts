// Reads what the lifecycle says of a build with Cloud Native Buildpacks. The build could write it: it is checked like
// any other input.

import * as v from 'valibot';
import { StagingError } from './errors.ts';
import { type Job, lastLinesOf, lastShown } from './job.ts';
import { PROCESS_TYPE } from './processes.ts';

const TEXT_CHARS_MAX = 2_000;
const BUILDPACKS_USED_MAX = 100;

const line = v.pipe(v.string(), v.maxLength(TEXT_CHARS_MAX));
const outcomeShape = v.union([
  v.object({ code: v.picklist(['no_buildpack', 'build_failed', 'buildpack_invalid']), message: v.string() }),
  v.object({
    used: v.pipe(v.array(line), v.maxLength(BUILDPACKS_USED_MAX)),
    processes: v.record(v.string(), v.string()),
  }),
]);

/** Throws the StagingError of a build that failed. */
export const parseOutcome = (job: Job, text: string): { used: string[]; processes: Record<string, string> } => {
  const lastLines = lastLinesOf(job);
  let outcome: v.InferOutput<typeof outcomeShape>;
  try {
    outcome = v.parse(outcomeShape, JSON.parse(text));
  } catch (error) {
    throw new StagingError('buildpack_invalid', 'the build left a result that cannot be read: push again', {
      cause: error,
      lastLines,
    });
  }
  if ('code' in outcome) {
    const message = oneLine(outcome.message);
    if (outcome.code !== 'build_failed') throw new StagingError(outcome.code, message, { lastLines });
    throw new StagingError('build_failed', `${message}: ${lastShown(job)}; the output above says why`, { lastLines });
  }
  // Other platforms allow dots in the name of a process type.
  const processes = Object.entries(outcome.processes).filter(([type]) => PROCESS_TYPE.test(type));
  return { used: outcome.used.map(oneLine), processes: Object.fromEntries(processes) };
};

const oneLine = (text: string): string => text.replace(/\p{Cc}+/gu, ' ').slice(0, TEXT_CHARS_MAX);
