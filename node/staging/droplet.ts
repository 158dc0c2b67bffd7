// Packs a built app into a droplet and stores it. The bytes stream from the sandbox into the blob store; they are
// never whole in memory, and nothing is stored when packing fails.

import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import type { Bind } from '../ports/sandbox.ts';
import type { StagedDroplet } from '../ports/staging.ts';
import { StagingError } from './errors.ts';
import { INSIDE, type Job, runSandbox } from './job.ts';
import type { Lent } from './lent-folders.ts';
import { createSplice } from './splice.ts';

const PACK_ERRORS_BYTES_MAX = 2_000;
/** Reads of the sandbox's output, of up to 64 KiB, on their way to the store. */
const PARTS_AHEAD_MAX = 16;
const MARK_BYTES = 16;

/**
 * `cacheBinds`: where the app's cache is, which gets back what it had lent. What the app was lent and is in its last
 * droplet as it is, is taken from there.
 */
export const packDroplet = async (
  job: Job,
  { cacheBinds, lent }: { cacheBinds: readonly Bind[]; lent: Lent | undefined },
): Promise<{ digest: StagedDroplet['digest']; sizeBytes: number }> => {
  const { blobs, limits, lentFolders } = job.context;
  const app = job.request.app.id;
  const mark = randomBytes(MARK_BYTES).toString('hex');
  const packed = lent === undefined ? undefined : lentFolders.packed(app, lent);
  const reused = packed !== undefined && blobs.has(packed.digest) ? packed : undefined;
  // If this fails, the next droplet is packed as a whole.
  lentFolders.forget(app);
  const splice = lent === undefined ? undefined : createSplice(`./app/${lent.name}/`, reused);
  const stopPacking = new AbortController();
  const parts = new PassThrough({ objectMode: true, highWaterMark: PARTS_AHEAD_MAX });
  let complaints = '';
  const stored = blobs.put(parts, { sizeBytesMax: limits.dropletBytesMax });
  // Without a reader the pack would wait for ever.
  stored.catch(() => stopPacking.abort());
  const take = (chunk: Buffer): boolean => {
    let isRoom = true;
    for (const part of splice?.parts(chunk) ?? [chunk]) isRoom = parts.write(part);
    return isRoom;
  };
  try {
    const result = await runSandbox(job, {
      step: 'pack',
      argv: ['pack', INSIDE.droplet, mark, ...(reused === undefined ? [] : [lent!.name])],
      binds: [{ from: job.workspace.droplet, to: INSIDE.droplet, writable: false }, ...cacheBinds],
      signal: stopPacking.signal,
      // One more than allowed, so that the blob store sees a droplet that is too large, and refuses it.
      outputBytesMax: limits.dropletBytesMax + PACK_ERRORS_BYTES_MAX + 1,
      onOutput: (chunk, stream) => {
        if (stream === 'err') complaints = (complaints + chunk.toString('utf8')).slice(0, PACK_ERRORS_BYTES_MAX);
        else if (!take(chunk)) return writable(parts, stopPacking.signal);
      },
    });
    if (result.code === 0 && !result.truncated) {
      const end = splice === undefined ? Buffer.alloc(0) : splice.end();
      if (end === undefined) throw notPacked(`the place of ${lent?.name} was not found`);
      parts.end(end);
      const droplet = await stored;
      const range = splice?.range();
      if (lent !== undefined && range !== undefined) {
        lentFolders.remember(app, { name: lent.name, mark }, { digest: droplet.digest, ...range });
      }
      return droplet;
    }
    // The store may not have counted so far yet.
    if (result.truncated) throw tooLarge(limits.dropletBytesMax);
    throw notPacked(complaints.trim().split('\n').at(-1) || `exit status ${result.code}`);
  } catch (error) {
    const packing = error instanceof StagingError ? error : undefined;
    parts.destroy(packing ?? new Error('packing ended'));
    const storing = await stored.then(
      () => undefined,
      (cause: unknown) => cause as { code?: string } & Error,
    );
    if (storing?.code === 'too_large') throw tooLarge(limits.dropletBytesMax, storing);
    if (storing?.code === 'over_budget') throw new StagingError('over_budget', storing.message, { cause: storing });
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

const notPacked = (why: string): StagingError =>
  new StagingError('droplet_failed', `the droplet could not be packed: ${why}; push again`);

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
