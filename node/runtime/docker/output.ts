// Follows what a container writes through the engine's log, as lines, no faster than an instance may. The engine keeps
// the log within bounds of its own (container.ts), so a flood is lost there, not held here.

import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import type { Container } from 'dockerode';
import { LineSplitter } from '../../lib/lines.ts';
import type { Pace } from '../logs/fifo.ts';
import { FrameSplitter, type LogPosition, sinceOf, Unread } from './frames.ts';

const LINES_PER_TURN = 1_000;
/** How long the rest of the output may take once the container has ended. */
const REST_TIMEOUT_MS = 5_000;
const FOLLOW_AGAIN_MS = 1_000;

export type FollowOptions = {
  container: Container;
  /** What an earlier daemon handed over last. */
  after: LogPosition | undefined;
  pace: Pace;
  onLine: (stream: 'out' | 'err', text: string, goesOn: boolean) => void;
  /** A promise while the lines' sink is full. */
  ready: () => Promise<void> | undefined;
  onError: (error: Error) => void;
};

export class LogFollower {
  readonly #options: FollowOptions;
  readonly #abort = new AbortController();
  /** The container has ended: nothing more is to be followed. */
  readonly #ended = new AbortController();
  readonly #lines = { out: new LineSplitter(), err: new LineSplitter() };
  readonly #following: Promise<void>;
  #position: LogPosition | undefined;

  constructor(options: FollowOptions) {
    this.#options = options;
    this.#position = options.after;
    this.#following = this.#follow();
  }

  /** After what was handed over last; undefined before anything was. */
  get position(): LogPosition | undefined {
    return this.#position;
  }

  /** For a container that has ended: hands over all that is left, within a time. */
  async finish(): Promise<void> {
    this.#ended.abort();
    const stop = new AbortController();
    const patience = delay(REST_TIMEOUT_MS, undefined, { signal: stop.signal }).catch(() => {});
    // An engine may end the following of a log before it has sent its last lines, so what it holds beyond is asked
    // for.
    const rest = this.#following.then(() => this.#read({ follow: false })).catch(() => {});
    await Promise.race([rest, patience]);
    stop.abort();
    await this.detach();
  }

  /** Stops, and hands over a line without an end too. What comes later is left for another follower. */
  async detach(): Promise<void> {
    this.#abort.abort();
    this.#ended.abort();
    await this.#following;
    for (const name of ['out', 'err'] as const) {
      const rest = this.#lines[name].flush();
      if (rest !== undefined) this.#options.onLine(name, rest, false);
    }
  }

  /** Again when the engine went away: it may be restarting under containers that live on. */
  async #follow(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      try {
        await this.#read({ follow: true });
      } catch (error) {
        if (!this.#ended.signal.aborted) this.#options.onError(error as Error);
      }
      await delay(FOLLOW_AGAIN_MS, undefined, { signal: this.#ended.signal }).catch(() => {});
    }
  }

  async #read({ follow }: { follow: boolean }): Promise<void> {
    const { container, pace, onLine, ready } = this.#options;
    const { signal } = this.#abort;
    const after = this.#position;
    const asked = {
      stdout: true,
      stderr: true,
      timestamps: true,
      abortSignal: signal,
      ...(after === undefined ? {} : { since: sinceOf(after.at) as unknown as number }),
    };
    const chunks = follow
      ? ((await container.logs({ ...asked, follow })) as unknown as AsyncIterable<Buffer>)
      : [await container.logs({ ...asked, follow: false })];
    const frames = new FrameSplitter();
    const unread = new Unread(after);
    for await (const chunk of chunks) {
      let count = 0;
      for (const frame of frames.push(chunk)) {
        if (signal.aborted) return;
        if (!unread.isNew(frame)) continue;
        const splitter = this.#lines[frame.stream];
        for (const line of splitter.push(frame.bytes)) {
          onLine(frame.stream, line, splitter.goesOn);
          if (++count % LINES_PER_TURN === 0) await nextTurn();
        }
        this.#position = unread.position;
      }
      await pace.spend(chunk.length, count);
      await ready();
      if (signal.aborted) return;
    }
  }
}
