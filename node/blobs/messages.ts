// What the store and its worker thread say to each other. Types only. `job` is a number that the store gives.

import type { Digest } from '../../crdt/ids.ts';
import type { BlobRange, Room } from '../ports/blobs.ts';
import type { BlobErrorCode } from './errors.ts';
import type { FetchEvent, Fetched, FetchOptions } from './fetch.ts';
import type { HolderAddress } from './holder.ts';
import type { Stay } from './layout.ts';
import type { PourOptions } from './pour.ts';
import type { Stored } from './shelf.ts';
import type { Assembled } from './take.ts';
import type { Candidate, Weights } from './weigh.ts';

/** What a job tells before its end. `opened`: a pour has its pipe open. */
export type JobEvent = FetchEvent | { type: 'opened' };

export type Jobs = {
  /** Fed with `bytes`, then `end`. */
  put: { asks: { sizeBytesMax: number; expected?: Digest; stay: Stay; room?: Room }; answers: Stored };
  pour: { asks: PourOptions; answers: { bytes: number } };
  fetch: { asks: FetchOptions; answers: Fetched };
  /** Removes what no manifest refers to. Waits until no other job runs. */
  sweep: { asks: { pressed: boolean }; answers: { freedBytes: number } };
  /** Which of the chunks, hashes one after the other, are not here: their numbers. */
  missing: { asks: { hashes: Uint8Array }; answers: { missing: number[] } };
  /** Chunks from somewhere else, fed with `bytes`: see chunk-frames.ts. They stay under a manifest of their own. */
  take: { asks: { bytesMax: number; room?: Room }; answers: Stored };
  /** A blob of chunks that are all here: hash and size (u32) of each, one after the other. */
  assemble: { asks: { chunks: Uint8Array; sizeBytesMax: number; stay: Stay }; answers: Assembled };
  /** What the store takes on disk, and what giving up each candidate, after those before it, would free. */
  weigh: { asks: { candidates: Candidate[] }; answers: Weights };
};

export type ToWorker =
  | { [J in keyof Jobs]: { job: number; type: 'begin'; what: J; asks: Jobs[J]['asks'] } }[keyof Jobs]
  | { job: number; type: 'bytes'; bytes: Uint8Array }
  /** In the place of bytes, for a put. */
  | { job: number; type: 'range'; range: BlobRange }
  | { job: number; type: 'end' }
  | { job: number; type: 'holders'; holders: HolderAddress[] }
  | { job: number; type: 'abort' };

export type FromWorker =
  /** So many bytes have been taken. */
  | { job: number; type: 'taken'; bytes: number }
  | { job: number; type: 'event'; event: JobEvent }
  | { job: number; type: 'done'; result: unknown }
  | { job: number; type: 'failed'; code: BlobErrorCode | 'failed'; message: string; errno?: string };
