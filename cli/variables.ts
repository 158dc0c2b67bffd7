// Variables of an environment as they are given. What is in the arguments, everyone on the machine can read, and the
// shell's history keeps: a value may also come from a file, from stdin, or from who is asked for it.

import { createReadStream } from 'node:fs';
import { UsageError } from './errors.ts';
import { type Prompt, promptOn } from './prompt.ts';
import { readStart } from './read-start.ts';
import { onlyOnce, parsePair } from './values.ts';

/** What a node takes (crdt/limits.ts, which a test compares): more need not be read. */
export const VALUE_BYTES_MAX = 64 * 1024;
/** With the newline at the end, which is not part of the value. */
const READ_BYTES_MAX = VALUE_BYTES_MAX + 1;

type Input = { stdin: NodeJS.ReadStream; stderr: NodeJS.WritableStream };

/**
 * `KEY=VALUE`, `KEY=@FILE`, `KEY=-` for all of stdin, and `KEY` alone, for which the person or a line of stdin is
 * asked; `KEY=@@x` is the value `@x`. One newline at the end of a file or of stdin is not part of the value. Fails
 * with UsageError, before anything is read when it is the arguments that are wrong.
 */
export async function readVariables(
  texts: readonly string[],
  what: string,
  input: Input,
): Promise<Record<string, string>> {
  const given = onlyOnce(
    texts.map((text): [key: string, source: string | undefined] =>
      text.includes('=') || text === '' ? parsePair(text, what) : [text, undefined],
    ),
    what,
  );
  const fromStdin = given.filter(([, source]) => source === '-').map(([key]) => key);
  const asked = given.filter(([, source]) => source === undefined).map(([key]) => key);
  if (fromStdin.length + Math.min(asked.length, 1) > 1) {
    throw new UsageError(
      `${[...fromStdin, ...asked].join(' and ')} cannot all come from stdin: give one of them as =@FILE`,
    );
  }
  const prompt = promptOn(input.stdin, input.stderr);
  try {
    const values: [string, string][] = [];
    for (const [key, source] of given) values.push([key, await valueFrom(key, source, what, input.stdin, prompt)]);
    return Object.fromEntries(values);
  } finally {
    prompt.close();
  }
}

async function valueFrom(
  key: string,
  source: string | undefined,
  what: string,
  stdin: NodeJS.ReadStream,
  prompt: Prompt,
): Promise<string> {
  if (source === undefined) {
    const line = await prompt.ask(`${key}: `);
    if (line === undefined) throw new UsageError(`${what} ${key}: should be KEY=VALUE, or have its value on stdin`);
    return line;
  }
  if (source === '-') return textOf(key, what, await readStart(stdin, READ_BYTES_MAX));
  if (source.startsWith('@@')) return source.slice(1);
  if (source.startsWith('@')) return textOf(key, what, await bytesOfFile(key, source.slice(1), what));
  return source;
}

async function bytesOfFile(key: string, path: string, what: string): Promise<Buffer> {
  try {
    return await readStart(createReadStream(path), READ_BYTES_MAX);
  } catch (error) {
    const [reason] = (error as Error).message.split(',');
    throw new UsageError(
      `${what} ${key}: cannot read ${path}: ${reason} (a value that begins with @ is given as ${key}=@@…)`,
    );
  }
}

function textOf(key: string, what: string, bytes: Buffer): string {
  const end = bytes.at(-1) === 0x0a ? bytes.subarray(0, -1) : bytes;
  if (end.byteLength > VALUE_BYTES_MAX) {
    throw new UsageError(`${what} ${key}: should be at most ${VALUE_BYTES_MAX / 1024} KiB`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(end);
  } catch {
    throw new UsageError(`${what} ${key}: should be text: encode bytes, such as with base64`);
  }
}
