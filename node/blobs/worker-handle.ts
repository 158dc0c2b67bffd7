// The store's side of its worker thread: starts it with the first job, ends it when nothing was asked for a while, and
// turns its messages into promises. Does no work of its own.

import { Worker } from 'node:worker_threads';
import type { BlobRange } from '../ports/blobs.ts';
import { BlobError } from './errors.ts';
import type { HolderAddress } from './holder.ts';
import { PUT_AHEAD_BYTES, WORKER_IDLE_MS } from './limits.ts';
import type { FromWorker, JobEvent, Jobs, ToWorker } from './messages.ts';

export type Job<J extends keyof Jobs> = {
  readonly result: Promise<Jobs[J]['answers']>;
  /** Resolves when more may be fed; at once when the job has ended. */
  feed(bytes: Uint8Array): Promise<void>;
  reuse(range: BlobRange): void;
  end(): void;
  addHolders(holders: HolderAddress[]): void;
  abort(): void;
};

type Open = {
  resolve(result: unknown): void;
  reject(error: Error): void;
  taken(bytes: number): void;
  event(event: JobEvent): void;
};

/** Young garbage is all there is: a small nursery keeps it small. The rest holds the manifests of all blobs. */
const RESOURCE_LIMITS = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 512 };

export class WorkerHandle {
  readonly #dir: string;
  readonly #open = new Map<number, Open>();
  #worker: Worker | undefined;
  #idleTimer: NodeJS.Timeout | undefined;
  #lastJob = 0;
  #closed = false;

  constructor(dir: string) {
    this.#dir = dir;
  }

  begin<J extends keyof Jobs>(what: J, asks: Jobs[J]['asks'], onEvent: (event: JobEvent) => void = () => {}): Job<J> {
    const job = ++this.#lastJob;
    const { promise: result, resolve, reject } = Promise.withResolvers<Jobs[J]['answers']>();
    let aheadBytes = 0;
    let ended = false;
    let wake: (() => void) | undefined;
    const end = (): void => {
      ended = true;
      wake?.();
    };
    result.then(end, end);
    this.#open.set(job, {
      resolve: resolve as (result: unknown) => void,
      reject,
      event: onEvent,
      taken: (bytes) => {
        aheadBytes -= bytes;
        if (aheadBytes < PUT_AHEAD_BYTES) wake?.();
      },
    });
    this.#post({ job, type: 'begin', what, asks } as ToWorker);
    return {
      result,
      feed: async (bytes) => {
        if (ended) return;
        aheadBytes += bytes.length;
        // A copy, because what is given away is gone, and a source may share its memory.
        const own = new Uint8Array(bytes);
        this.#post({ job, type: 'bytes', bytes: own }, [own.buffer]);
        while (aheadBytes >= PUT_AHEAD_BYTES && !ended) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      },
      reuse: (range) => this.#post({ job, type: 'range', range }),
      end: () => this.#post({ job, type: 'end' }),
      addHolders: (holders) => this.#post({ job, type: 'holders', holders }),
      abort: () => this.#post({ job, type: 'abort' }),
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#idleTimer);
    this.#failAll(new BlobError('aborted', 'this node is stopping'));
    await this.#worker?.terminate();
  }

  #post(message: ToWorker, transfer: ArrayBuffer[] = []): void {
    if (!this.#open.has(message.job)) return;
    if (this.#closed) {
      this.#failAll(new BlobError('aborted', 'this node is stopping'));
      return;
    }
    clearTimeout(this.#idleTimer);
    this.#worker ??= this.#start();
    this.#worker.ref();
    this.#worker.postMessage(message, transfer);
  }

  #start(): Worker {
    const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
    const worker = new Worker(new URL(`./worker${extension}`, import.meta.url), {
      workerData: { dir: this.#dir },
      name: 'peer-blobs',
      resourceLimits: RESOURCE_LIMITS,
      // A pour's descriptor is closed by its socket. Node would close the number once more when the thread ends,
      // whoever has it by then. The thread ends when it has no job, and so no file open, or with the daemon.
      trackUnmanagedFds: false,
    });
    worker.on('message', (message: FromWorker) => this.#take(message));
    const lost = (why: string, cause?: unknown): void => {
      if (this.#worker !== worker) return;
      this.#worker = undefined;
      this.#failAll(new Error(`the blob store's thread ended (${why}): try again`, { cause }));
    };
    worker.on('error', (error: Error) => lost(error.message, error));
    worker.on('exit', (code) => lost(`status ${code}`));
    return worker;
  }

  #take(message: FromWorker): void {
    const open = this.#open.get(message.job);
    if (open === undefined) return;
    switch (message.type) {
      case 'taken':
        open.taken(message.bytes);
        return;
      case 'event':
        open.event(message.event);
        return;
      case 'done':
        this.#open.delete(message.job);
        open.resolve(message.result);
        break;
      case 'failed':
        this.#open.delete(message.job);
        open.reject(
          message.code === 'failed' ? new Error(message.message) : new BlobError(message.code, message.message),
        );
        break;
    }
    if (this.#open.size === 0) this.#rest();
  }

  #rest(): void {
    this.#worker?.unref();
    this.#idleTimer = setTimeout(() => {
      const worker = this.#worker;
      this.#worker = undefined;
      void worker?.terminate();
    }, WORKER_IDLE_MS);
    this.#idleTimer.unref();
  }

  #failAll(error: Error): void {
    const all = [...this.#open.values()];
    this.#open.clear();
    for (const { reject } of all) reject(error);
  }
}
