// The folder of a build on its way to the engine: unpacks the tar that was pushed and packs it anew, entry by entry,
// with the Dockerfile that is to be built in the place of its own. So the engine reads no byte of a stranger's
// archive, which it might read differently, and gets the end only once the Dockerfile was judged.

import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { Header, Pax, ReadEntry } from 'tar';
import { formatBytes } from '../../lib/format-bytes.ts';
import { RuntimeError } from '../errors.ts';
import { DOCKERFILE_BYTES_MAX } from './dockerfile.ts';

export const DOCKERFILE = 'Dockerfile';
/** As staging with buildpacks. */
const CONTEXT_BYTES_MAX = 2 * 1024 ** 3;
const ENTRIES_MAX = 200_000;
const BLOCK_BYTES = 512;
const GZIP_MAGIC = Buffer.from([0x1f, 0x8b]);
const INCOMPLETE = 'the upload is incomplete or damaged: push again';
const FILES: ReadonlySet<string> = new Set(['File', 'OldFile', 'ContiguousFile']);
const FOLDERS: ReadonlySet<string> = new Set(['Directory', 'GNUDumpDir']);
const LINKS: ReadonlySet<string> = new Set(['SymbolicLink', 'Link']);

type Head = {
  path: string;
  type: 'File' | 'Directory' | 'SymbolicLink' | 'Link';
  mode: number;
  size: number;
  mtime: Date;
  linkpath?: string;
};

/**
 * The tar for the engine; ends with an error, a RuntimeError `build_failed` when the upload is at fault or `rewrite`
 * threw one.
 * @param source a tar, compressed with gzip or not
 * @param rewrite gets the Dockerfile's text and gives the one to build; while it works, the engine waits
 */
export function contextWith(
  source: AsyncIterable<Uint8Array>,
  rewrite: (dockerfile: string) => Promise<string>,
): Readable {
  const context = new PassThrough();
  fill(context, source, rewrite).catch((error: Error) => context.destroy(error));
  return context;
}

async function fill(
  context: PassThrough,
  source: AsyncIterable<Uint8Array>,
  rewrite: (dockerfile: string) => Promise<string>,
): Promise<void> {
  // Loaded with the first build: most nodes see few.
  const tar = await import('tar');
  const { promise: failed, reject: fail } = Promise.withResolvers<never>();
  failed.catch(() => {});
  context.once('close', () => fail(new Error('the engine reads no more')));
  const until = <T>(promise: Promise<T>): Promise<T> => Promise.race([promise, failed]);
  const write = async (...chunks: Uint8Array[]): Promise<void> => {
    for (const chunk of chunks) if (!context.write(chunk)) await until(once(context, 'drain'));
  };

  let dockerfile: string | undefined;
  let bytes = 0;
  let entries = 0;
  const take = async (entry: ReadEntry): Promise<void> => {
    if (++entries > ENTRIES_MAX)
      throw refused(`the folder holds more than ${ENTRIES_MAX} files and folders: leave some out`);
    const head = headOf(entry);
    if (head.path === DOCKERFILE) {
      dockerfile = await readText(entry, head);
      return;
    }
    bytes += head.size;
    if (bytes > CONTEXT_BYTES_MAX) {
      throw refused(`the folder is larger than ${formatBytes(CONTEXT_BYTES_MAX)}: leave some of it out`);
    }
    await write(...headerBlocks(tar, head));
    for await (const chunk of entry as AsyncIterable<Uint8Array>) if (head.size > 0) await write(chunk);
    await write(padding(head.size));
  };

  let taken = Promise.resolve();
  const parser = new tar.Parser({
    onwarn: (_code, message) => fail(refused(INCOMPLETE, message)),
    onReadEntry: (entry) => {
      taken = taken.then(() => take(entry));
      taken.catch(fail);
    },
  });
  parser.on('ignoredEntry', (entry: { path: string; type: string }) => fail(strange(entry)));
  for await (const chunk of unpacked(source)) {
    const drained = new Promise((resolve) => parser.once('drain', resolve));
    if (!parser.write(chunk)) await until(drained);
    else await until(Promise.resolve());
  }
  const ended = new Promise((resolve) => parser.once('end', resolve));
  parser.end();
  await until(ended);
  await until(taken);
  if (dockerfile === undefined) throw refused(`the folder holds no ${DOCKERFILE}`);
  const text = Buffer.from(await until(rewrite(dockerfile)));
  const head: Head = { path: DOCKERFILE, type: 'File', mode: 0o644, size: text.length, mtime: new Date(0) };
  await write(...headerBlocks(tar, head), text, padding(text.length));
  context.end(Buffer.alloc(2 * BLOCK_BYTES));
}

/** What the engine is told of an entry. Its own checks of paths and links come on top. */
function headOf(entry: ReadEntry): Head {
  const parts = entry.path.split('/').filter((part) => part !== '' && part !== '.');
  const isFolder = FOLDERS.has(entry.type);
  const isLink = LINKS.has(entry.type);
  if (!isFolder && !isLink && !FILES.has(entry.type)) throw strange(entry);
  if (parts.includes('..') || (parts.length === 0 && !isFolder)) {
    throw refused(`the upload holds ${shown(entry.path)}, which leads outside of the folder: remove it`);
  }
  return {
    path: isFolder ? `./${parts.map((part) => `${part}/`).join('')}` : parts.join('/'),
    type: isFolder ? 'Directory' : isLink ? (entry.type as 'SymbolicLink' | 'Link') : 'File',
    mode: (entry.mode ?? 0o644) & 0o7777,
    size: isFolder || isLink ? 0 : entry.size,
    mtime: entry.mtime ?? new Date(0),
    ...(isLink ? { linkpath: entry.linkpath ?? '' } : {}),
  };
}

async function readText(entry: ReadEntry, { type, size }: Head): Promise<string> {
  if (type !== 'File') throw refused(`the ${DOCKERFILE} is a link: make it a file`);
  if (size > DOCKERFILE_BYTES_MAX)
    throw refused(`the ${DOCKERFILE} is larger than ${formatBytes(DOCKERFILE_BYTES_MAX)}`);
  const chunks: Uint8Array[] = [];
  for await (const chunk of entry as AsyncIterable<Uint8Array>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function headerBlocks(tar: { Header: typeof Header; Pax: typeof Pax }, head: Head): Uint8Array[] {
  const header = new tar.Header({ ...head, uid: 0, gid: 0 });
  // What does not fit into a header goes into one before it.
  const { path, linkpath, size, mtime } = head;
  const pax = header.encode()
    ? [new tar.Pax({ path, size, mtime, ...(linkpath === undefined ? {} : { linkpath }) }).encode()]
    : [];
  return [...pax, header.block!];
}

/** The tar as it is; a second layer of compression is none. */
async function* unpacked(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  const isTar = (block: Buffer): boolean => block.toString('latin1', 257, 262) === 'ustar';
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of await gunzipped(source)) {
    if (head === undefined) {
      yield chunk;
      continue;
    }
    head = Buffer.concat([head, chunk]);
    if (head.length < BLOCK_BYTES) continue;
    if (!isTar(head))
      throw refused('the upload is not a tar archive: push with the peer command, or send what `tar -cz` makes');
    yield head;
    head = undefined;
  }
  if (head !== undefined) throw refused(INCOMPLETE);
}

async function gunzipped(source: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Buffer>> {
  const chunks = source[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < GZIP_MAGIC.length) {
    const next = await chunks.next();
    if (next.done) break;
    head = Buffer.concat([head, next.value]);
  }
  const whole = async function* (): AsyncGenerator<Buffer> {
    try {
      yield head;
      for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
        yield Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
      }
    } finally {
      // Not awaited: a source that waits for its client answers only when that has gone.
      void chunks.return?.().catch(() => {});
    }
  };
  if (!head.subarray(0, GZIP_MAGIC.length).equals(GZIP_MAGIC)) return whole();
  const from = Readable.from(whole(), { objectMode: false });
  const plain = createGunzip();
  from.on('error', (error) => plain.destroy(error));
  plain.on('error', (error) => from.destroy(error));
  return gunzip(from.pipe(plain));
}

async function* gunzip(plain: Readable): AsyncGenerator<Buffer> {
  try {
    yield* plain as AsyncIterable<Buffer>;
  } catch (error) {
    const isDamaged = String((error as NodeJS.ErrnoException).code).startsWith('Z_');
    throw isDamaged ? refused(INCOMPLETE, error) : error;
  }
}

const padding = (size: number): Uint8Array => Buffer.alloc((BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES);
const shown = (path: string): string => JSON.stringify(path.slice(0, 100));
const strange = ({ path, type }: { path: string; type: string }): RuntimeError =>
  refused(`the upload holds ${shown(path)}: only files, folders and links are allowed, not ${type}`);

function refused(message: string, cause?: unknown): RuntimeError {
  return new RuntimeError('build_failed', message, { cause });
}
