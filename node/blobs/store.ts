// The content-addressed files of this node: `<dir>/sha256/<hex>`. A file under its final name is whole, verified and on
// disk; anything else is a leftover, removed at open. Never decides what to keep or to fetch.

import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { asDigest, type Digest } from '../../crdt/ids.ts';
import type { BlobStore } from '../ports.ts';
import { BlobError } from './errors.ts';

const DIGEST = /^sha256:([0-9a-f]{64})$/;
const HEX = /^[0-9a-f]{64}$/;

/** Bytes gathered before a write. Larger: fewer system calls, more memory per transfer. */
const WRITE_BYTES_MIN = 256 * 1024;
const READ_BYTES = 64 * 1024;

/** Opens the store: creates its folders, removes what interrupted writes left behind, remembers sizes. */
export const createBlobStore = async (options: { dir: string }): Promise<BlobStore> => {
  const blobsDir = join(options.dir, 'sha256');
  const tempDir = join(options.dir, 'incoming');
  await rm(tempDir, { recursive: true, force: true });
  await mkdir(tempDir, { recursive: true, mode: 0o700 });
  await mkdir(blobsDir, { recursive: true, mode: 0o755 });

  const sizes = await readSizes(blobsDir);
  const listeners = new Set<() => void>();
  const changed = (): void => {
    for (const listener of listeners) listener();
  };

  /** Names appear and disappear one at a time, so that a removal never hits a blob that has just arrived again. */
  let lastTurn: Promise<void> = Promise.resolve();
  const exclusively = (turn: () => Promise<void>): Promise<void> => {
    const thisTurn = lastTurn.then(turn);
    lastTurn = thisTurn.catch(() => {});
    return thisTurn;
  };

  const path = (digest: Digest): string => {
    const hex = DIGEST.exec(digest)?.[1];
    if (hex === undefined)
      throw new BlobError('bad_digest', `"${digest}" is not a digest: expected sha256:<64 hex digits>`);
    return join(blobsDir, hex);
  };

  const put: BlobStore['put'] = async (source, { sizeBytesMax, expected }) => {
    if (expected !== undefined) path(expected);
    const tempPath = join(tempDir, randomBytes(12).toString('hex'));
    try {
      const written = await writeVerified(source, { tempPath, sizeBytesMax, expected });
      await exclusively(async () => {
        if (sizes.has(written.digest)) return;
        await rename(tempPath, path(written.digest));
        await syncDirectory(blobsDir);
        sizes.set(written.digest, written.sizeBytes);
        changed();
      });
      return written;
    } catch (error) {
      throw isDiskFull(error)
        ? new BlobError('disk_full', `no space left in ${options.dir}: free some disk space and try again`, {
            cause: error,
          })
        : error;
    } finally {
      await rm(tempPath, { force: true });
    }
  };

  return {
    has: (digest) => sizes.has(digest),
    list: () => [...sizes.keys()].sort(),
    read: (digest) => {
      if (!sizes.has(digest)) throw new BlobError('not_held', `this node does not hold ${digest}`);
      return createReadStream(path(digest), { highWaterMark: READ_BYTES });
    },
    sizeBytes: (digest) => {
      const size = sizes.get(digest);
      if (size === undefined) throw new BlobError('not_held', `this node does not hold ${digest}`);
      return size;
    },
    put,
    remove: async (digest) => {
      const file = path(digest);
      await exclusively(async () => {
        if (!sizes.delete(digest)) return;
        await rm(file, { force: true });
        changed();
      });
    },
    onChange: (listener) => void listeners.add(listener),
  };
};

const readSizes = async (blobsDir: string): Promise<Map<Digest, number>> => {
  const sizes = new Map<Digest, number>();
  for (const name of await readdir(blobsDir)) {
    const found = await stat(join(blobsDir, name));
    if (HEX.test(name) && found.isFile()) sizes.set(asDigest(`sha256:${name}`), found.size);
  }
  return sizes;
};

/** Writes the source to tempPath, fsynced; fails when it is larger or other than promised. The caller removes the file. */
const writeVerified = async (
  source: AsyncIterable<Uint8Array>,
  want: { tempPath: string; sizeBytesMax: number; expected: Digest | undefined },
): Promise<{ digest: Digest; sizeBytes: number }> => {
  const file = await open(want.tempPath, 'wx', 0o644);
  const hash = createHash('sha256');
  let sizeBytes = 0;
  let gathered: Uint8Array[] = [];
  let gatheredBytes = 0;
  try {
    for await (const chunk of source) {
      sizeBytes += chunk.length;
      if (sizeBytes > want.sizeBytesMax) {
        throw new BlobError('too_large', `the blob is larger than the ${want.sizeBytesMax} bytes that are allowed`);
      }
      hash.update(chunk);
      gathered.push(chunk);
      gatheredBytes += chunk.length;
      if (gatheredBytes >= WRITE_BYTES_MIN) {
        await writeAll(file, gathered);
        gathered = [];
        gatheredBytes = 0;
      }
    }
    await writeAll(file, gathered);
    const digest = asDigest(`sha256:${hash.digest('hex')}`);
    if (want.expected !== undefined && digest !== want.expected) {
      throw new BlobError('corrupt', `expected ${want.expected}, received ${digest}: the copy is damaged`);
    }
    await file.sync();
    return { digest, sizeBytes };
  } finally {
    await file.close();
  }
};

const writeAll = async (file: FileHandle, chunks: Uint8Array[]): Promise<void> => {
  if (chunks.length === 0) return;
  const bytes = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
  for (let offset = 0; offset < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, offset, bytes.length - offset);
    offset += bytesWritten;
  }
};

/** A rename is durable only when its directory is on disk too. */
const syncDirectory = async (dir: string): Promise<void> => {
  const handle = await open(dir, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
};

const isDiskFull = (error: unknown): boolean => {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  return code === 'ENOSPC' || code === 'EDQUOT';
};
