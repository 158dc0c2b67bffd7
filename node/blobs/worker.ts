// The thread in which everything that grows with content happens: cutting, hashing, compressing, checking, and
// receiving from other nodes. Several jobs run in turn; a sweep runs alone. Decides nothing about what is kept.

import { flushCompileCache } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import type { BlobRange } from '../ports/blobs.ts';
import { BlobError, isDiskFull } from './errors.ts';
import { Fetch } from './fetch.ts';
import { layoutOf } from './layout.ts';
import { HASH_BYTES } from './manifest.ts';
import type { FromWorker, ToWorker } from './messages.ts';
import { Pour } from './pour.ts';
import { Put } from './put.ts';
import { Shelf } from './shelf.ts';
import { sweep } from './sweep.ts';
import { assemble, Take } from './take.ts';
import { weigh } from './weigh.ts';

type Begin = Extract<ToWorker, { type: 'begin' }>;
/** What a running job takes further messages with. */
type Running = {
  bytes?(bytes: Uint8Array): void;
  reuse?(range: BlobRange): void;
  end?(): void;
  holders?(message: Extract<ToWorker, { type: 'holders' }>): void;
  abort(): void;
};

const port = parentPort!;
const { dir } = workerData as { dir: string };
const shelf = new Shelf(layoutOf(dir));
const running = new Map<number, Running>();
/** Sweeps that wait until nothing runs, and what came while one runs. */
const sweeps: { job: number; pressed: boolean }[] = [];
let sweeping = false;
const waiting: ToWorker[] = [];

// The thread is ended when it is idle: the next one finds its code compiled.
setImmediate(flushCompileCache);

const tell = (message: FromWorker): void => port.postMessage(message);

port.on('message', (message: ToWorker) => {
  if (sweeping) waiting.push(message);
  else handle(message);
});

function handle(message: ToWorker): void {
  const job = running.get(message.job);
  switch (message.type) {
    case 'begin':
      begin(message);
      break;
    case 'bytes':
      job?.bytes?.(message.bytes);
      break;
    case 'range':
      job?.reuse?.(message.range);
      break;
    case 'end':
      job?.end?.();
      break;
    case 'holders':
      job?.holders?.(message);
      break;
    case 'abort':
      job?.abort();
  }
}

function begin(message: Begin): void {
  const { job } = message;
  if (message.what === 'sweep') {
    sweeps.push({ job, pressed: message.asks.pressed });
    void sweepIfIdle();
    return;
  }
  try {
    shelf.refresh();
    switch (message.what) {
      case 'put':
        fed(job, new Put(shelf, message.asks));
        break;
      case 'take':
        fed(job, new Take(shelf, message.asks));
        break;
      case 'fetch': {
        const fetch = new Fetch(shelf, message.asks, (event) => tell({ job, type: 'event', event }));
        running.set(job, { holders: ({ holders }) => fetch.addHolders(holders), abort: () => fetch.abort() });
        settle(job, fetch.run());
        break;
      }
      case 'pour': {
        const pour = new Pour(shelf, message.asks);
        running.set(job, { abort: () => pour.abort() });
        const open = (): void => tell({ job, type: 'event', event: { type: 'opened' } });
        settle(job, pour.run(open));
        break;
      }
      case 'missing': {
        const hashes = Buffer.from(message.asks.hashes);
        const missing: number[] = [];
        for (let at = 0; at + HASH_BYTES <= hashes.length; at += HASH_BYTES) {
          if (shelf.find(hashes.toString('latin1', at, at + HASH_BYTES)) === undefined) missing.push(at / HASH_BYTES);
        }
        tell({ job, type: 'done', result: { missing } });
        break;
      }
      case 'weigh':
        tell({ job, type: 'done', result: weigh(shelf, message.asks.candidates) });
        break;
      case 'assemble':
        running.set(job, { abort: () => {} });
        settle(job, assemble(shelf, message.asks));
    }
  } catch (error) {
    fail(job, error);
  }
}

/** A job that takes content: it ends at the first thing that goes wrong, and nothing of it is left then. */
type Sink = {
  write(bytes: Uint8Array): void;
  reuse?(range: BlobRange): void;
  end(): Promise<unknown>;
  discard(): void;
};
function fed(job: number, sink: Sink): void {
  const stop = (error: unknown): void => {
    running.delete(job);
    sink.discard();
    fail(job, error);
    void sweepIfIdle();
  };
  running.set(job, {
    bytes(bytes) {
      try {
        sink.write(bytes);
        tell({ job, type: 'taken', bytes: bytes.length });
      } catch (error) {
        stop(error);
      }
    },
    reuse(range) {
      try {
        sink.reuse?.(range);
      } catch (error) {
        stop(error);
      }
    },
    end() {
      const ended = new Promise((resolve) => resolve(sink.end()));
      ended.catch(() => sink.discard());
      settle(job, ended);
    },
    abort: () => stop(new BlobError('aborted', 'the content was cut off')),
  });
}

function settle(job: number, result: Promise<unknown>): void {
  result
    .then(
      (value) => tell({ job, type: 'done', result: value }),
      (error: unknown) => fail(job, error),
    )
    .finally(() => {
      running.delete(job);
      void sweepIfIdle();
    });
}

async function sweepIfIdle(): Promise<void> {
  if (sweeping || running.size > 0 || sweeps.length === 0) return;
  sweeping = true;
  const jobs = sweeps.splice(0);
  try {
    const result = await sweep(shelf, { pressed: jobs.some(({ pressed }) => pressed) });
    for (const { job } of jobs) tell({ job, type: 'done', result });
  } catch (error) {
    for (const { job } of jobs) fail(job, error);
  }
  sweeping = false;
  for (const message of waiting.splice(0)) handle(message);
}

function fail(job: number, error: unknown): void {
  const { message } = error as Error;
  if (isDiskFull(error)) {
    const text = `no space left in ${dir}: free some disk space and try again`;
    tell({ job, type: 'failed', code: 'disk_full', message: text });
  } else tell({ job, type: 'failed', code: error instanceof BlobError ? error.code : 'failed', message });
}
