// Where `peer start` takes the invite from. An invite holds the cluster's key, which outlives it: not from the
// arguments, if that can be, as everyone on the machine reads those.

import { createReadStream } from 'node:fs';
import { CliError, UsageError } from './errors.ts';
import { readStart } from './read-start.ts';

/** Every invite begins with it (node/admission/invite.ts). */
const INVITE_PREFIX = 'peer-invite-';
/** An invite is a few KiB; a file that is longer is something else. */
const SOURCE_BYTES_MAX = 64 * 1024;

const EXPOSED =
  'the invite holds the key of the cluster, and everyone on this machine can read arguments (ps): pass it with --join - (stdin), --join @FILE or PEER_INVITE';

/**
 * From --join: `-` is stdin, `@FILE` and a path are files, anything else the invite itself, with a warning. Without it
 * from PEER_INVITE. Undefined: from nowhere, so there is nothing to join.
 */
export async function inviteFrom(
  given: string | undefined,
  io: { env: NodeJS.ProcessEnv; stdin: NodeJS.ReadStream; note(text: string): void },
): Promise<string | undefined> {
  if (given === undefined) return io.env.PEER_INVITE?.trim() || undefined;
  if (given === '-') return nonEmpty(await readInput(io), 'nothing came on stdin');
  if (given.startsWith(INVITE_PREFIX)) {
    io.note(EXPOSED);
    return given.trim();
  }
  const named = given.startsWith('@');
  const path = named ? given.slice(1) : given;
  const text = await readStart(createReadStream(path), SOURCE_BYTES_MAX).catch((error: NodeJS.ErrnoException) => {
    if (named || !NO_PATH.has(error.code ?? '')) {
      throw new CliError('no_invite', `cannot read the invite: ${error.message}`, { cause: error });
    }
    return undefined;
  });
  // Not a file either: the daemon says what is wrong with it.
  if (text === undefined) return given.trim();
  return nonEmpty(text.toString('utf8'), `${path} is empty`);
}

/** What cannot be the path of a file. */
const NO_PATH = new Set(['ENOENT', 'ENOTDIR', 'ENAMETOOLONG']);

async function readInput({ stdin, note }: { stdin: NodeJS.ReadStream; note(text: string): void }): Promise<string> {
  if (stdin.isTTY === true) note('paste the invite:');
  stdin.setEncoding('utf8');
  let text = '';
  for await (const chunk of stdin) {
    text += chunk;
    // An invite that is pasted ends with a newline.
    if (text.length > SOURCE_BYTES_MAX || (stdin.isTTY === true && text.trim() !== '' && text.endsWith('\n'))) break;
  }
  return text;
}

function nonEmpty(text: string, problem: string): string {
  const invite = text.trim();
  if (invite !== '') return invite;
  throw new UsageError(`--join: ${problem}: it takes an invite that peer invite printed`);
}
