// Where the values of variables come from: the arguments, a file, stdin, or who is asked.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, describe, expect, it } from 'vitest';
import { readVariables, VALUE_BYTES_MAX } from '../../cli/variables.ts';
import { ENV_VALUE_BYTES_MAX } from '../../crdt/limits.ts';

const folder = mkdtempSync(join(tmpdir(), 'peer-variables-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: string | Uint8Array): string => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};

const read = async (given: readonly string[], input = ''): Promise<Record<string, string>> => {
  const stdin = Readable.from(input === '' ? [] : [Buffer.from(input)]) as unknown as NodeJS.ReadStream;
  return readVariables(given, 'variable', { stdin, stderr: new PassThrough() });
};

describe('a variable', () => {
  it.each([
    ['the argument', ['A=x=y', 'B='], '', { A: 'x=y', B: '' }],
    ['a file, without the newline at its end', [`A=@${file('key', 'line 1\nline 2\n')}`], '', { A: 'line 1\nline 2' }],
    ['a file that ends with two newlines, without the last', [`A=@${file('two', 'x\n\n')}`], '', { A: 'x\n' }],
    ['an empty file', [`A=@${file('empty', '')}`], '', { A: '' }],
    ['all of stdin', ['A=-', 'B=1'], 'line 1\nline 2\n', { A: 'line 1\nline 2', B: '1' }],
    ['a line of stdin each', ['A', 'B=2', 'C'], 'one\nthree\nmore\n', { A: 'one', B: '2', C: 'three' }],
    ['the argument, with a doubled sign before what begins with it', ['A=@@home'], '', { A: '@home' }],
  ])('has the value of %s', async (_, given, input, values) => {
    expect(await read(given, input)).toEqual(values);
  });

  it.each([
    ['no name', ['=x'], '', 'variable "=x": should be KEY=VALUE'],
    ['a name given twice', ['A=1', 'A'], '', 'variable A was given twice: give it once'],
    ['all of stdin, twice', ['A=-', 'B=-'], 'x', 'A and B cannot all come from stdin: give one of them as =@FILE'],
    ['all of stdin, and a line of it', ['A=-', 'B'], 'x', 'A and B cannot all come from stdin'],
    ['nothing on stdin', ['A', 'B'], 'one\n', 'variable B: should be KEY=VALUE, or have its value on stdin'],
    ['a file that is not there', ['A=@/nowhere/at/all'], '', 'variable A: cannot read /nowhere/at/all: ENOENT'],
    ['a folder', [`A=@${folder}`], '', `variable A: cannot read ${folder}: EISDIR`],
    ['a file without an end', ['A=@/dev/zero'], '', 'variable A: should be at most 64 KiB'],
    ['stdin without an end', ['A=-'], 'x'.repeat(ENV_VALUE_BYTES_MAX + 2), 'variable A: should be at most 64 KiB'],
    ['bytes', [`A=@${file('bytes', Buffer.of(0xff, 0xfe))}`], '', 'variable A: should be text: encode bytes'],
  ])('that has %s is refused with a line that says so', async (_, given, input, message) => {
    const failed = await read(given, input).catch((error: Error) => error);
    expect(failed).toMatchObject({ name: 'UsageError', message: expect.stringContaining(message) });
  });

  it('is read as far as a node takes it', () => {
    expect(VALUE_BYTES_MAX).toBe(ENV_VALUE_BYTES_MAX);
  });

  it('of the largest size that is allowed is taken from a file', async () => {
    const value = 'x'.repeat(ENV_VALUE_BYTES_MAX);
    expect(await read([`A=@${file('large', `${value}\n`)}`])).toEqual({ A: value });
  });

  it('is asked for on a terminal by its name, and not shown', async () => {
    const stdin = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => stdin });
    const stderr = new PassThrough().setEncoding('utf8');
    const reading = readVariables(['A'], 'variable', { stdin: stdin as unknown as NodeJS.ReadStream, stderr });
    stdin.write('secret\r');
    expect(await reading).toEqual({ A: 'secret' });
    expect(stderr.read()).toBe('A: \n');
  });
});
