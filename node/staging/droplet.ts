// Packs a built app into a droplet and stores it. The bytes stream from the sandbox into the blob store; they are never
// whole in memory, and nothing is stored when packing fails.

import { PassThrough } from 'node:stream';
import type { StagedDroplet } from '../ports.ts';
import { StagingError } from './errors.ts';
import { INSIDE, type Job, runSandbox } from './job.ts';

const PACK_ERRORS_BYTES_MAX = 2_000;

export const packDroplet = async (job: Job): Promise<{ digest: StagedDroplet['digest']; sizeBytes: number }> => {
  const { blobs, limits } = job.context;
  const stopPacking = new AbortController();
  const bytes = new PassThrough();
  let complaints = '';
  const stored = blobs.put(bytes, { sizeBytesMax: limits.dropletBytesMax });
  // Without a reader the pack would wait for ever.
  stored.catch(() => stopPacking.abort());
  try {
    const result = await runSandbox(job, {
      step: 'pack',
      argv: ['pack', INSIDE.droplet],
      binds: [{ from: job.workspace.droplet, to: INSIDE.droplet, writable: false }],
      signal: stopPacking.signal,
      // One more than allowed, so that the blob store sees a droplet that is too large, and refuses it.
      outputBytesMax: limits.dropletBytesMax + PACK_ERRORS_BYTES_MAX + 1,
      onOutput: (chunk, stream) => {
        if (stream === 'err') complaints = (complaints + chunk.toString('utf8')).slice(0, PACK_ERRORS_BYTES_MAX);
        else if (!bytes.write(chunk)) return writable(bytes, stopPacking.signal);
      },
    });
    if (result.code === 0 && !result.truncated) {
      bytes.end();
      return await stored;
    }
    // The store may not have counted so far yet.
    if (result.truncated) throw tooLarge(limits.dropletBytesMax);
    throw new StagingError(
      'droplet_failed',
      `the droplet could not be packed: ${complaints.trim().split('\n').at(-1) || `exit status ${result.code}`}; push again`,
    );
  } catch (error) {
    const packing = error instanceof StagingError ? error : undefined;
    bytes.destroy(packing ?? new Error('packing ended'));
    const storing = await stored.then(
      () => undefined,
      (cause: unknown) => cause as { code?: string } & Error,
    );
    if (storing?.code === 'too_large') throw tooLarge(limits.dropletBytesMax, storing);
    if (storing?.code === 'disk_full') {
      throw new StagingError(
        'disk_full',
        'no space left on this node for the droplet: free some disk space, or push to another node',
        { cause: storing },
      );
    }
    // A failure of the store ends the pack, which then only says that it was stopped.
    throw storing && packing?.code === 'aborted' && !job.signal.aborted ? storing : error;
  }
};

const tooLarge = (bytesMax: number, cause?: Error): StagingError =>
  new StagingError(
    'too_large',
    `the droplet is larger than ${Math.floor(bytesMax / 1024 / 1024)} MiB: leave out what the app does not need`,
    { cause },
  );

const writable = (stream: PassThrough, signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    if (signal.aborted || stream.destroyed) return resolve();
    stream.once('drain', done).once('close', done);
    signal.addEventListener('abort', done, { once: true });
  });
