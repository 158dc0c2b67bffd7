// Asks a service whether it answers, by a command of its kind that runs within its instance. Decides nothing of what
// follows.

import type { Attended, AttendedCommand } from '../ports/commands.ts';
import type { ServiceCommand } from '../ports/services.ts';

/** A probe takes a second at most; on a machine that is busy, longer. */
const PROBE_TIMEOUT_MS = 10_000;
/** Pause between probes of a service that has never been ready. */
export const SERVICE_STARTING_PROBE_MS = 500;
const OUTPUT_BYTES_MAX = 4 * 1024;
const PROBLEM_CHARACTERS_MAX = 200;

/** Undefined when it answers, else what is wrong, in a few words: the last line that the command printed. */
export async function probeService(
  exec: (command: AttendedCommand) => Promise<Attended>,
  probe: ServiceCommand,
): Promise<string | undefined> {
  const { argv, env, stdin } = probe;
  let attended: Attended;
  try {
    attended = await exec({ argv, ...(env === undefined ? {} : { env }) });
  } catch (error) {
    return (error as Error).message;
  }
  const late = `its probe did not answer within ${PROBE_TIMEOUT_MS / 1000} s`;
  const timer = setTimeout(() => attended.end(late), PROBE_TIMEOUT_MS);
  attended.stdin.end(stdin ?? '');
  const [exit, out, err] = await Promise.all([attended.exited, lastLine(attended.stdout), lastLine(attended.stderr)]);
  clearTimeout(timer);
  if (exit.code === 0) return undefined;
  return exit.reason ?? (err || out || `its probe ended with status ${exit.code}`);
}

/** Read to its end; only the last of it is kept. */
async function lastLine(stream: AsyncIterable<unknown>): Promise<string> {
  let kept = Buffer.alloc(0);
  try {
    for await (const chunk of stream) {
      kept = Buffer.concat([kept, chunk as Buffer]).subarray(-OUTPUT_BYTES_MAX);
    }
  } catch {
    // What has come must do.
  }
  const lines = kept
    .toString()
    .replace(/[^\x20-\x7e\n]+/g, ' ')
    .split('\n')
    .map((line) => line.trim());
  return (lines.findLast((line) => line !== '') ?? '').slice(0, PROBLEM_CHARACTERS_MAX);
}
