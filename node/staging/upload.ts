// Receives an uploaded archive: writes it to one file while its entries are checked as they pass. Never unpacks it,
// never holds more than a few chunks of it.

import { createWriteStream } from 'node:fs';
import { PassThrough } from 'node:stream';
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
/** Long names, long link names and pax attributes each come in a header of their own. */
const EXTRA_HEADERS_PER_ENTRY_MAX = 4;
/** After the end of an archive, up to a record of whatever size the tar that made it writes. */
const PADDING_BYTES_MAX = 1024 * 1024;
const TAR_BLOCK_BYTES = 512;
const GUNZIP_CHUNK_BYTES = 64 * 1024;

const LEAVE_OUT = 'leave out what the app does not need';
const INCOMPLETE = 'the upload is incomplete or damaged: push again';

/**
 * Resolves when the whole archive is at `path` and each of its entries is allowed. Fails with a StagingError; the file
 * may be there then.
 */
export const receiveUpload = async (
  source: AsyncIterable<Uint8Array>,
  options: { path: string; compressed: boolean; limits: UploadLimits; signal: AbortSignal },
): Promise<void> => {
  const { limits, signal } = options;
  const file = createWriteStream(options.path, { flags: 'wx', mode: 0o644 });
  // Errors surface at the next write; without a listener one in between would end the process.
  let fileError: Error | undefined;
  file.on('error', (error) => {
    fileError = error;
  });

  // A client that says nothing must not keep the staging from ending.
  const aborted = new Promise<never>((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });
  aborted.catch(() => {});
  let sourceError: unknown;
  const received = async function* (): AsyncGenerator<Uint8Array> {
    let bytes = 0;
    const chunks = source[Symbol.asyncIterator]();
    try {
      while (true) {
        const next = await Promise.race([chunks.next(), aborted]).catch((error: unknown) => {
          sourceError = error;
          throw error;
        });
        if (next.done) break;
        bytes += next.value.length;
        if (options.compressed && bytes > limits.uploadBytesMax) {
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
      // Not awaited: a source that is waiting for its client answers only when that has gone.
      chunks.return?.().catch(() => {});
    }
  };

  try {
    const unpack = options.compressed ? createGunzip({ chunkSize: GUNZIP_CHUNK_BYTES }) : new PassThrough();
    await pipeline(received, unpack, (tar) => checkEntries(tar, limits), { signal });
    await ended(file);
    if (fileError) throw fileError;
  } catch (error) {
    file.destroy();
    throw uploadError(error, { sourceError, signal });
  }
};

/** Looks at the tar as it passes. Fails with a StagingError. */
const checkEntries = async (tar: AsyncIterable<Buffer>, limits: ArchiveLimits): Promise<void> => {
  const tarBytesMax = limits.unpackedBytesMax * TAR_OVERHEAD_FACTOR + TAR_OVERHEAD_BYTES;
  const reader = await createTarReader(limits);
  let bytes = 0;
  // Held back until it is known to be a tar: the parser would unpack a second layer of compression by itself, past the
  // bound on bytes.
  let head: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of tar) {
    bytes += chunk.length;
    if (bytes > tarBytesMax) {
      const mib = Math.floor(limits.unpackedBytesMax / 1024 / 1024);
      throw new StagingError('too_large', `the upload unpacks to more than ${mib} MiB: ${LEAVE_OUT}`);
    }
    if (head === undefined) {
      reader.read(chunk);
      continue;
    }
    head = Buffer.concat([head, chunk]);
    if (head.length < TAR_BLOCK_BYTES) continue;
    if (isEndOfArchive(head)) throw new StagingError('empty_folder', EMPTY);
    if (!isTarHeader(head)) throw new StagingError('bad_archive', NOT_AN_ARCHIVE);
    reader.read(head);
    head = undefined;
  }
  if (head !== undefined) throw new StagingError('bad_archive', INCOMPLETE);
  if (reader.end().files === 0) throw new StagingError('empty_folder', EMPTY);
};

/** Parses headers and drops what is between them. Each call throws the StagingError of what it has found so far. */
const createTarReader = async (
  limits: ArchiveLimits,
): Promise<{ read(chunk: Buffer): void; end(): { files: number } }> => {
  // Loaded with the first upload: most nodes see few.
  const { Parser } = await import('tar');
  const check = createArchiveCheck(limits);
  let failure: unknown;
  let extraHeaders = 0;
  let ended = false;
  let paddingBytes = 0;
  const attempt = (step: () => void): void => {
    try {
      if (failure === undefined) step();
    } catch (error) {
      failure = error;
    }
  };
  const fail = (message: string, cause?: unknown): never => {
    throw new StagingError('bad_archive', message, { cause });
  };

  const parser = new Parser({
    onwarn: (_code, message) => attempt(() => fail(INCOMPLETE, message)),
    onReadEntry: (entry) => {
      attempt(() =>
        check.entry({ type: entry.type, path: entry.path, linkpath: entry.linkpath, sizeBytes: entry.size }),
      );
      entry.resume();
    },
  });
  // Sparse files, oversized names and the like, which the parser itself passes over.
  parser.on('ignoredEntry', ({ path, type }: { path: string; type: string }) =>
    attempt(() => check.entry({ type: `an entry of type ${type}`, path, sizeBytes: 0 })),
  );
  parser.on('meta', () =>
    attempt(() => {
      extraHeaders += 1;
      if (extraHeaders > limits.entriesMax * EXTRA_HEADERS_PER_ENTRY_MAX) fail(INCOMPLETE);
    }),
  );
  parser.on('eof', () => {
    ended = true;
  });

  return {
    read(chunk) {
      if (ended) paddingBytes += chunk.length;
      else parser.write(chunk);
      if (paddingBytes > PADDING_BYTES_MAX) fail(INCOMPLETE);
      if (failure !== undefined) throw failure;
    },
    end() {
      parser.end();
      if (failure !== undefined) throw failure;
      return { files: check.files() };
    },
  };
};

const NOT_AN_ARCHIVE =
  'the upload is not a gzip-compressed tar archive: push with the peer command, or send what `tar -cz` makes';

const EMPTY = 'the folder is empty: push from the folder that holds the app';

const isTarHeader = (block: Buffer): boolean => block.toString('latin1', 257, 262) === 'ustar';
const isEndOfArchive = (block: Buffer): boolean => block.subarray(0, TAR_BLOCK_BYTES).every((byte) => byte === 0);

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
