// Credentials of a service that is not Peer's, as they are given: JSON from a file, from stdin, or from who is asked.

import { createReadStream } from 'node:fs';
import { UsageError } from '../errors.ts';
import { promptOn } from '../prompt.ts';
import { readStart } from '../read-start.ts';

/** What a node takes: more need not be read. */
const CREDENTIALS_BYTES_MAX = 32 * 1024;
const EXAMPLE = 'should be JSON such as {"uri": "https://…"}';

type Input = { stdin: NodeJS.ReadStream; stderr: NodeJS.WritableStream; note: (text: string) => void };

/**
 * `@FILE`, `-` for stdin, JSON itself, which is warned of, or undefined, for which the person or a line of stdin is
 * asked. Fails with UsageError, which never holds what was read.
 */
export async function readCredentials(source: string | undefined, input: Input): Promise<Record<string, unknown>> {
  const text = await textOf(source, input);
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new UsageError(`--credentials: ${EXAMPLE}`);
  }
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>;
  throw new UsageError(`--credentials: ${EXAMPLE}`);
}

async function textOf(source: string | undefined, { stdin, stderr, note }: Input): Promise<string> {
  if (source === '-') return bounded(await readStart(stdin, CREDENTIALS_BYTES_MAX));
  if (source?.startsWith('@')) return bounded(await bytesOfFile(source.slice(1)));
  if (source !== undefined) {
    note('warning: what is in the arguments stands in ps and in the history of the shell: give @FILE or -');
    return source;
  }
  const prompt = promptOn(stdin, stderr);
  const line = await prompt.ask('Credentials (JSON): ');
  prompt.close();
  if (line === undefined) throw new UsageError('--credentials is missing: @FILE, - for stdin, or JSON on stdin');
  return line;
}

async function bytesOfFile(path: string): Promise<Buffer> {
  try {
    return await readStart(createReadStream(path), CREDENTIALS_BYTES_MAX);
  } catch (error) {
    const [reason] = (error as Error).message.split(',');
    throw new UsageError(`--credentials: cannot read ${path}: ${reason}`);
  }
}

function bounded(bytes: Buffer): string {
  if (bytes.byteLength <= CREDENTIALS_BYTES_MAX) return bytes.toString('utf8');
  throw new UsageError(`--credentials: should be at most ${CREDENTIALS_BYTES_MAX / 1024} KiB`);
}
