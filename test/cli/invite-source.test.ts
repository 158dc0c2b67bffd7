// Where `peer start` takes the invite from.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, expect, it } from 'vitest';
import { inviteFrom } from '../../cli/invite-source.ts';

const folder = mkdtempSync(join(tmpdir(), 'peer-invite-'));
const file = join(folder, 'invite');
writeFileSync(file, 'peer-invite-1.file\n');
writeFileSync(join(folder, 'empty'), '');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const from = async (given: string | undefined, { env = {}, input = '' } = {}) => {
  const notes: string[] = [];
  const stdin = Readable.from([Buffer.from(input)]) as NodeJS.ReadStream;
  const invite = await inviteFrom(given, { env, stdin, note: (text) => notes.push(text) });
  return { invite, warned: notes.some((note) => note.includes('everyone on this machine')) };
};

it.each([
  ['stdin', '-', {}, ' peer-invite-1.input \n', 'peer-invite-1.input', false],
  ['a file', `@${file}`, {}, '', 'peer-invite-1.file', false],
  ['a path', file, {}, '', 'peer-invite-1.file', false],
  ['the environment', undefined, { PEER_INVITE: 'peer-invite-1.env\n' }, '', 'peer-invite-1.env', false],
  ['the arguments before the environment', file, { PEER_INVITE: 'x' }, '', 'peer-invite-1.file', false],
  ['itself, with a warning', 'peer-invite-1.argument', {}, '', 'peer-invite-1.argument', true],
  ['what is neither, for the daemon to refuse', 'nonsense', {}, '', 'nonsense', false],
  ['nowhere', undefined, { PEER_INVITE: '' }, '', undefined, false],
])('an invite comes from %s', async (_what, given, env, input, invite, warned) => {
  expect(await from(given, { env, input })).toEqual({ invite, warned });
});

it.each([
  ['an empty stdin', '-', '--join: nothing came on stdin'],
  ['an empty file', `@${join(folder, 'empty')}`, 'is empty'],
  ['a file that is not there', `@${join(folder, 'nowhere')}`, 'cannot read the invite: ENOENT'],
  ['a folder', folder, 'cannot read the invite: EISDIR'],
])('%s is no invite', async (_what, given, problem) => {
  await expect(from(given)).rejects.toThrow(problem);
});
