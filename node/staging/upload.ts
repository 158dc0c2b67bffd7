// Receives an uploaded archive: writes it to one file while its entries are checked as they pass. Never unpacks it, never
// holds more than a few chunks of it.

import { createWriteStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { type ArchiveLimits, createArchiveCheck } from './archive.ts';
import { StagingError } from './errors.ts';

export type UploadLimits = ArchiveLimits & {
  /** Of the compressed archive. */
  uploadBytesMax: number;
};

/** Headers, padding and long names come on top of the files' sizes in the unpacked tar. */
const TAR_OVERHEAD_FACTOR = 1.25;
const TAR_OVERHEAD_BYTES = 16 * 1024 * 1024;
const TAR_BLOCK_BYTES = 512;
const GUNZIP_CHUNK_BYTES = 64 * 1024;

const INCOMPLETE = 'the upload is incomplete or damaged: push again';

/** Resolves when the whole archive is at `path` and each of its entries is allowed. Fails with a StagingError; the file may be there then. */
export const receiveUpload = async (
  source: AsyncIterable<Uint8Array>,
  options: { path: string; limits: UploadLimits; signal: AbortSignal },
): Promise<void> => {
  const { limits, signal } = options;
  const file = createWriteStream(options.path, { flags: 'wx', mode: 0o644 });
  // Errors surface at the next write; without a listener one in between would end the process.
  let fileError: Error | undefined;
  file.on('error', (error) => {
    fileError = error;
  });

  let sourceError: unknown;
  const received = async function* (): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    const chunks = source[Symbol.asyncIterator]();
    try {
      while (true) {
        const next = await chunks.next().catch((error: unknown) => {
          sourceError = error;
          throw error;
        });
        if (next.done) break;
        bytes += next.value.length;
        if (bytes > limits.uploadBytesMax) {
          throw new StagingError(
            'too_large',
            `the upload is larger than ${Math.floor(limits.uploadBytesMax / 1024 / 1024)} MiB: leave out what the app does not need`,
          );
        }
        if (fileError) throw fileError;
        if (!file.write(next.value)) await drained(file);
        yield next.value;
      }
      if (bytes === 0) throw new StagingError('bad_archive', INCOMPLETE);
    } finally {
      await chunks.return?.().catch(() => {});
    }
  };

  try {
    await pipeline(received, createGunzip({ chunkSize: GUNZIP_CHUNK_BYTES }), (tar) => checkEntries(tar, limits), {
      signal,
    });
    await ended(file);
    if (fileError) throw fileError;
  } catch (error) {
    file.destroy();
    throw uploadError(error, { sourceError, signal });
  }
};

/** Parses the tar as it passes. Only headers are looked at: entry bodies are dropped. */
const checkEntries = async (tar: AsyncIterable<Buffer>, limits: ArchiveLimits): Promise<void> => {
  const { Parser } = await import('tar');
  const check = createArchiveCheck(limits);
  let failure: Error | undefined;
  const parser = new Parser({
    onwarn: (_code, message) => {
      failure ??= new StagingError('bad_archive', INCOMPLETE, { cause: message });
    },
    onReadEntry: (entry) => {
      try {
        if (!failure) {
          check.entry({ type: entry.type, path: entry.path, linkpath: entry.linkpath, sizeBytes: entry.size });
        }
      } catch (error) {
        failure = error as Error;
      }
      entry.resume();
    },
  });
  // Devices, sparse files, oversized names and the like, which the parser itself passes over.
  parser.on('ignoredEntry', (entry: { path: string; type: string }) => {
    failure ??= new StagingError(
      'bad_archive',
      `the upload holds ${JSON.stringify(entry.path.slice(0, 100))}: only files, folders and links are allowed, not ${entry.type}`,
    );
  });

  const tarBytesMax = limits.unpackedBytesMax * TAR_OVERHEAD_FACTOR + TAR_OVERHEAD_BYTES;
  let bytes = 0;
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of tar) {
    bytes += chunk.length;
    if (bytes > tarBytesMax) {
      throw new StagingError(
        'too_large',
        `the upload unpacks to more than ${Math.floor(limits.unpackedBytesMax / 1024 / 1024)} MiB: leave out what the app does not need`,
      );
    }
    if (head === undefined) parser.write(chunk);
    else {
      // The parser would unpack a second layer of compression by itself, past the bound above.
      head = Buffer.concat([head, chunk]);
      if (head.length >= TAR_BLOCK_BYTES) {
        if (!isTarHeader(head)) throw new StagingError('bad_archive', NOT_AN_ARCHIVE);
        parser.write(head);
        head = undefined;
      }
    }
    if (failure) throw failure;
  }
  if (head !== undefined) throw new StagingError('bad_archive', INCOMPLETE);
  parser.end();
  if (failure) throw failure;
  if (check.files() === 0) {
    throw new StagingError('empty_folder', 'the folder is empty: push from the folder that holds the app');
  }
};

const NOT_AN_ARCHIVE =
  'the upload is not a gzip-compressed tar archive: push with the peer command, or send what `tar -cz` makes';

/** An end-of-archive block of zeroes, or a header with its magic. */
const isTarHeader = (block: Buffer): boolean =>
  block.subarray(0, TAR_BLOCK_BYTES).every((byte) => byte === 0) || block.toString('latin1', 257, 262) === 'ustar';

const drained = (file: NodeJS.EventEmitter): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      file.off('drain', done).off('close', done);
      resolve();
    };
    file.on('drain', done).on('close', done);
  });

const ended = (file: ReturnType<typeof createWriteStream>): Promise<void> =>
  new Promise((resolve) => {
    file.on('close', () => resolve());
    file.end();
  });

const uploadError = (error: unknown, seen: { sourceError: unknown; signal: AbortSignal }): unknown => {
  if (error instanceof StagingError) return error;
  if (seen.signal.aborted) {
    const late = (seen.signal.reason as Error | undefined)?.name === 'TimeoutError';
    return late
      ? new StagingError(
          'time_limit',
          'the upload took too long: push again over a faster connection, or leave out what the app does not need',
        )
      : new StagingError('aborted', 'staging was stopped', { cause: error });
  }
  const { code = '' } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new StagingError(
      'disk_full',
      'no space left on this node for the upload: free some disk space, or push to another node',
      { cause: error },
    );
  }
  if (seen.sourceError !== undefined) return new StagingError('bad_archive', INCOMPLETE, { cause: error });
  if (code === 'Z_DATA_ERROR') return new StagingError('bad_archive', NOT_AN_ARCHIVE, { cause: error });
  if (code.startsWith('Z_')) return new StagingError('bad_archive', INCOMPLETE, { cause: error });
  return error;
};
