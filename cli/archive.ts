// The folder that is pushed, as a tar stream: which files belong to it, and packing them with tar.
// Never holds file contents in memory.

import { spawn } from 'node:child_process';
import type { Dirent } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import ignore, { type Ignore } from 'ignore';
import { CliError } from './errors.ts';
import { decodeText } from './text.ts';

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
/** Files in the syntax of .gitignore, in any folder; the first that is there counts. */
const IGNORE_FILES = ['.peerignore', '.cfignore'];
const ENTRIES_MAX = 200_000;
/** What was left out, as it is told: the first so many. */
const LEFT_OUT_MAX = 50;
const STREAM_BYTES = 1024 * 1024;

/** What belongs to a folder that is pushed. */
export type Listing = {
  /** Relative paths as bytes, folders with a slash at the end and before what is in them. */
  entries: Buffer[];
  /** The first that ignore files left out, and how many there were; of a folder itself, not of what is in it. */
  leftOut: { first: string[]; count: number };
};

export type Archive = {
  files: number;
  leftOut: Listing['leftOut'];
  /** The tar; fails, without an end, when packing fails. */
  stream: Readable;
};

/** Fails with CliError when it is no folder, is empty, or cannot be read. */
export async function packFolder(folder: string): Promise<Archive> {
  const { entries, leftOut } = await listFolder(folder);
  const files = entries.filter((entry) => !isFolder(entry)).length;
  if (files === 0) throw new CliError('empty_folder', `${folder} has no files to push`);
  return { files, leftOut, stream: tarOf(folder, entries) };
}

/** All of a folder but its history, compressed with gzip. */
export async function packBuildpack(folder: string): Promise<Readable> {
  const listing = emptyListing();
  await walk(folder, ROOT, rulesOf(['.git']), listing, { hasIgnoreFiles: false });
  const tar = tarOf(folder, listing.entries);
  const gzip = createGzip();
  tar.on('error', (error) => gzip.destroy(error));
  gzip.on('close', () => tar.destroy());
  return tar.pipe(gzip);
}

export async function listFolder(folder: string): Promise<Listing> {
  const found = await stat(folder).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error) {
    const reason = found.code === 'ENOENT' ? 'there is no such folder' : found.message;
    throw new CliError('no_folder', `cannot push ${folder}: ${reason}`);
  }
  if (!found.isDirectory()) throw new CliError('no_folder', `cannot push ${folder}: it is not a folder`);
  const listing = emptyListing();
  await walk(folder, ROOT, rulesOf(IGNORED_ALWAYS), listing, { hasIgnoreFiles: true });
  return listing;
}

const ROOT = Buffer.alloc(0);
const SLASH = 0x2f;
const emptyListing = (): Listing => ({ entries: [], leftOut: { first: [], count: 0 } });
const isFolder = (entry: Buffer): boolean => entry.at(-1) === SLASH;
/** Letters as they are: `Icon?` is no rule for icons here. */
const rulesOf = (lines: readonly string[]): Rules => ({ lines, matcher: ignore({ ignorecase: false }).add(lines) });

/** The lines of all ignore files from the folder that is pushed down to one; the last that fits a path counts. */
type Rules = { lines: readonly string[]; matcher: Ignore };

/** A deeper folder's lines as they would stand in the topmost one: see "PATTERN FORMAT" of gitignore(5). */
function linesBelow(base: string, text: string): string[] {
  const lines = text.split(/\r?\n/).filter((line) => !/^(#|\s*$)/.test(line));
  if (base === '') return lines;
  const above = base.replace(/[\\*?[\]!# ]/g, '\\$&');
  return lines.map((line) => {
    const [, not, pattern] = /^(!?)(.*)$/s.exec(line)!;
    const isAnchored = /\/(?!\s*$)/.test(pattern!);
    return `${not}/${above}${isAnchored ? pattern!.replace(/^\//, '') : `**/${pattern}`}`;
  });
}

/** Names are bytes: those that are no UTF-8 are files as well. */
async function walk(
  folder: string,
  inside: Buffer,
  above: Rules,
  listing: Listing,
  how: { hasIgnoreFiles: boolean },
): Promise<void> {
  const here = Buffer.concat([Buffer.from(join(folder, '/')), inside]);
  let children: Dirent<Buffer>[];
  try {
    children = await readdir(here, { withFileTypes: true, encoding: 'buffer' });
  } catch (error) {
    throw new CliError('unreadable', `cannot read ${here.toString()}: ${(error as Error).message}`);
  }
  children.sort((a, b) => Buffer.compare(a.name, b.name));
  const own = how.hasIgnoreFiles ? await ignoreFile(here, children) : undefined;
  const rules = own === undefined ? above : rulesOf([...above.lines, ...linesBelow(inside.toString(), own)]);
  for (const child of children) {
    // Sockets and pipes mean nothing elsewhere.
    if (!child.isDirectory() && !child.isFile() && !child.isSymbolicLink()) continue;
    const path = Buffer.concat([inside, child.name, Buffer.from(child.isDirectory() ? '/' : '')]);
    if (rules.matcher.ignores(path.toString())) {
      if (listing.leftOut.count++ < LEFT_OUT_MAX) listing.leftOut.first.push(path.toString());
      continue;
    }
    if (listing.entries.length >= ENTRIES_MAX) {
      const message = `${folder} holds more than ${ENTRIES_MAX} files: leave some out with a .peerignore file`;
      throw new CliError('too_many_files', message);
    }
    listing.entries.push(path);
    if (child.isDirectory()) await walk(folder, path, rules, listing, how);
  }
}

async function ignoreFile(here: Buffer, children: readonly Dirent<Buffer>[]): Promise<string | undefined> {
  const names = new Set(children.filter((child) => !child.isDirectory()).map((child) => child.name.toString()));
  const name = IGNORE_FILES.find((one) => names.has(one));
  if (name === undefined) return undefined;
  const path = Buffer.concat([here, Buffer.from(name)]);
  try {
    return decodeText(await readFile(path));
  } catch (error) {
    throw new CliError('unreadable', `cannot read ${path.toString()}: ${(error as Error).message}`);
  }
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

function tarOf(folder: string, entries: readonly Buffer[]): Readable {
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

function* nulEnded(entries: readonly Buffer[]): Generator<Buffer> {
  for (const entry of entries) yield Buffer.concat([Buffer.from('./'), entry, Buffer.from('\0')]);
}
