// The folder that is pushed, as a tar stream: which files belong to it, and packing them with tar.
// Never holds file contents in memory.

import { spawn } from 'node:child_process';
import { opendir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import ignore, { type Ignore } from 'ignore';
import { CliError } from './errors.ts';

/** Left out unless an ignore file brings them back with `!name`. */
const IGNORED_ALWAYS = [
  '.git',
  '.hg',
  '.svn',
  'node_modules',
  '.DS_Store',
  '.peerignore',
  '.cfignore',
  // For whoever pushes; the app does not need it, and it may hold secrets.
  '/manifest.yml',
  '/manifest.yaml',
];
/** Files in the syntax of .gitignore; the first that is there counts. */
const IGNORE_FILES = ['.peerignore', '.cfignore'];
const ENTRIES_MAX = 200_000;
const STREAM_BYTES = 1024 * 1024;

export type Archive = {
  files: number;
  /** The tar; fails, without an end, when packing fails. */
  stream: Readable;
};

/** Fails with CliError when it is no folder, is empty, or cannot be read. */
export async function packFolder(folder: string): Promise<Archive> {
  const entries = await listFolder(folder);
  const files = entries.filter((entry) => !entry.endsWith('/')).length;
  if (files === 0) throw new CliError('empty_folder', `${folder} has no files to push`);
  return { files, stream: tarOf(folder, entries) };
}

/** All of a folder but its history, compressed with gzip. */
export async function packBuildpack(folder: string): Promise<Readable> {
  const entries: string[] = [];
  await walk(folder, '', ignore().add('.git'), entries);
  const tar = tarOf(folder, entries);
  const gzip = createGzip();
  tar.on('error', (error) => gzip.destroy(error));
  gzip.on('close', () => tar.destroy());
  return tar.pipe(gzip);
}

/** Relative paths, folders with a slash at the end and before what is in them. */
export async function listFolder(folder: string): Promise<string[]> {
  const found = await stat(folder).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error) {
    const reason = found.code === 'ENOENT' ? 'there is no such folder' : found.message;
    throw new CliError('no_folder', `cannot push ${folder}: ${reason}`);
  }
  if (!found.isDirectory()) throw new CliError('no_folder', `cannot push ${folder}: it is not a folder`);
  const rules = ignore().add(IGNORED_ALWAYS);
  const own = await ignoreFile(folder);
  if (own !== undefined) rules.add(own);
  const entries: string[] = [];
  await walk(folder, '', rules, entries);
  return entries;
}

async function walk(folder: string, inside: string, rules: Ignore, entries: string[]): Promise<void> {
  const children = [];
  try {
    for await (const child of await opendir(join(folder, inside))) children.push(child);
  } catch (error) {
    throw new CliError('unreadable', `cannot read ${join(folder, inside)}: ${(error as Error).message}`);
  }
  children.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const child of children) {
    const path = inside + child.name + (child.isDirectory() ? '/' : '');
    // Sockets and pipes mean nothing elsewhere.
    if (!child.isDirectory() && !child.isFile() && !child.isSymbolicLink()) continue;
    if (rules.ignores(path)) continue;
    if (entries.length >= ENTRIES_MAX) {
      const message = `${folder} holds more than ${ENTRIES_MAX} files: leave some out with a .peerignore file`;
      throw new CliError('too_many_files', message);
    }
    entries.push(path);
    if (child.isDirectory()) await walk(folder, path, rules, entries);
  }
}

async function ignoreFile(folder: string): Promise<string | undefined> {
  for (const name of IGNORE_FILES) {
    try {
      return await readFile(join(folder, name), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        throw new CliError('unreadable', `cannot read ${join(folder, name)}: ${(error as Error).message}`);
      }
    }
  }
  return undefined;
}

/**
 * 1980-01-02: files that did not change make the same bytes after every checkout; and nothing older fits into a zip
 * file.
 */
const MTIME = '@315619200';

/** Arguments of tar: names come on stdin, ended by NUL, and are taken literally; owners and times do not travel. */
export const tarArguments = (folder: string): string[] => [
  '--create',
  '--file=-',
  `--directory=${folder}`,
  '--no-recursion',
  '--numeric-owner',
  '--owner=0',
  '--group=0',
  `--mtime=${MTIME}`,
  '--format=gnu',
  '--null',
  '--files-from=-',
];

function tarOf(folder: string, entries: readonly string[]): Readable {
  const tar = spawn('tar', tarArguments(folder), { stdio: ['pipe', 'pipe', 'pipe'] });
  const stream = new PassThrough({ highWaterMark: STREAM_BYTES });
  let said = '';
  tar.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(-2_000);
  });
  // tar ending early shows in its exit status.
  tar.stdin.on('error', () => {});
  Readable.from(nulEnded(entries)).pipe(tar.stdin);
  tar.stdout.pipe(stream, { end: false });
  tar.on('error', (error) => stream.destroy(new CliError('tar', `cannot run tar: ${error.message}`)));
  tar.on('close', (code) => {
    // 1: a file changed while it was read, which pushes what was read.
    if (code === 0 || code === 1) stream.end();
    else
      stream.destroy(
        new CliError('tar', `cannot pack ${folder}: ${said.trim().split('\n')[0] ?? `tar ended with ${code}`}`),
      );
  });
  stream.on('close', () => tar.kill());
  return stream;
}

function* nulEnded(entries: readonly string[]): Generator<Buffer> {
  for (const entry of entries) yield Buffer.from(`./${entry}\0`);
}
