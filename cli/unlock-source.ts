// Where `peer start --unlock` takes the passphrase of the node's key from: a person, a file, or a credential that
// systemd gives to a service. Never the arguments or the environment, which others can read.

import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { CliError, UsageError } from './errors.ts';
import { promptOn } from './prompt.ts';
import { readStart } from './read-start.ts';

const PASSPHRASE_BYTES_MAX = 4 * 1024;
const FORMS = 'it takes prompt, file:PATH or credential:NAME';

export async function passphraseFrom(
  given: string | undefined,
  io: { env: NodeJS.ProcessEnv; stdin: NodeJS.ReadStream; stderr: NodeJS.WritableStream },
): Promise<string | undefined> {
  if (given === undefined) return undefined;
  const colon = given.indexOf(':');
  const [kind, rest] = colon < 0 ? [given, ''] : [given.slice(0, colon), given.slice(colon + 1)];
  if (kind === 'prompt' && colon < 0) return prompted(io);
  if (kind === 'file' && rest !== '') return fromFile(rest);
  if (kind === 'credential' && /^[A-Za-z0-9_.-]{1,255}$/.test(rest) && !rest.startsWith('.')) {
    const folder = io.env.CREDENTIALS_DIRECTORY;
    if (folder !== undefined) return fromFile(join(folder, rest));
    const message = `no credential ${rest} was given to this process: LoadCredential= of a systemd service gives one`;
    throw new CliError('no_passphrase', message);
  }
  throw new UsageError(`--unlock: ${FORMS}`);
}

async function prompted({ stdin, stderr }: { stdin: NodeJS.ReadStream; stderr: NodeJS.WritableStream }) {
  const prompt = promptOn(stdin, stderr);
  try {
    return nonEmpty((await prompt.ask("Passphrase of the node's key: ")) ?? '', 'the passphrase');
  } finally {
    prompt.close();
  }
}

async function fromFile(path: string): Promise<string> {
  const bytes = await readStart(createReadStream(path), PASSPHRASE_BYTES_MAX).catch((error: Error) => {
    throw new CliError('no_passphrase', `cannot read the passphrase: ${error.message}`, { cause: error });
  });
  if (bytes.length > PASSPHRASE_BYTES_MAX) {
    throw new UsageError(`--unlock: ${path} is longer than ${PASSPHRASE_BYTES_MAX} bytes, so it is no passphrase`);
  }
  return nonEmpty(bytes.toString('utf8').replace(/\r?\n$/, ''), path);
}

function nonEmpty(text: string, what: string): string {
  if (text !== '') return text;
  throw new UsageError(`--unlock: ${what} is empty`);
}
