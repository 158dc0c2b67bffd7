// Every bound of the blob store and of transfers between nodes, with its unit and its reason. Holds numbers only.

const KiB = 1024;
const MiB = 1024 * KiB;

// ---------------------------------------------------------------- chunks

/** Smaller ones cost more to name (52 bytes each in a manifest) than they save. */
export const CHUNK_BYTES_MIN = 16 * KiB;
/** About what a changed line costs on the way to every holder, before compression. */
export const CHUNK_BYTES_AVERAGE = 64 * KiB;
export const CHUNK_BYTES_MAX = 256 * KiB;
/** 3 is twice as slow for 5 % less, on the node_modules of a large app. */
export const CHUNK_ZSTD_LEVEL = 1;
/** A blob of 8 GiB in average chunks; its manifest has 6.8 MB. */
export const CHUNKS_PER_BLOB_MAX = 131_072;
export const MANIFEST_BYTES_MAX = 8 * MiB;

// ---------------------------------------------------------------- disk

/** Written pages are sent to the disk this often meanwhile, so that the wait at the end of a large blob is short. */
export const FLUSH_BYTES = 32 * MiB;
/** One read of a blob that is given out; the next one is under way meanwhile. */
export const READ_BYTES_MAX = 512 * KiB;
/** A pack whose needed share is below this is written anew without the rest. */
export const PACK_LIVE_SHARE_MIN = 0.7;
/** The same while the node is over its budget: nearly everything that is not needed goes. */
export const PACK_LIVE_SHARE_PRESSED = 0.95;
/** Downloads that were cut are kept for so long, and so many of them. */
export const PARTIAL_AGE_MAX_MS = 24 * 3_600_000;
export const PARTIALS_MAX = 8;

/**
 * Sources of pushes and what came of cut ones, before what they share is counted once; the oldest go. More than one
 * push may be.
 */
export const PASSING_BYTES_MAX = 4 * 1024 * MiB;
/** An upload comes in batches of 8 MiB, each one of these until it is whole. */
export const PASSING_MAX = 1_024;

// ---------------------------------------------------------------- the worker

/** Bytes on their way into the worker at which a source is paused. */
export const PUT_AHEAD_BYTES = 2 * MiB;
/** It ends when nothing was asked of it for this long, and its memory with it. */
export const WORKER_IDLE_MS = 10_000;

// ---------------------------------------------------------------- fetches

/** Holders that one blob comes from at the same time. */
export const HOLDERS_PARALLEL_MAX = 3;
export const HOLDERS_TRIED_MAX = 10;
/** One request; its answer is held in memory until its chunks are checked. */
export const BATCH_BYTES = 1 * MiB;
/** Requests sent to a holder ahead of their answers, so that it never waits. */
export const BATCHES_AHEAD = 3;
/** Ranges in one request: it stays one line of less than 32 KiB. */
export const RANGES_PER_REQUEST_MAX = 256;
/** What one connection reads at once; TLS records are smaller. */
export const SOCKET_READ_BYTES = 128 * KiB;
export const DIAL_TIMEOUT_MS = 5_000;
/** A holder that sends nothing for this long is given up. */
export const HOLDER_IDLE_TIMEOUT_MS = 15_000;
/** Rounds over the holders while some say they are busy, and the wait between them. */
export const BUSY_ROUNDS_MAX = 20;
export const BUSY_DELAY_MS = 500;
export const DOWNLOADS_MAX = 4;
export const DOWNLOADS_QUEUED_MAX = 1_000;
