// Logs and events of the whole cluster, read from any node: asks every member that is alive and merges the answers by
// time.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import { FanIn } from '../lib/fan-in.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { LogLine, LogStore } from '../ports/logs.ts';
import {
  FOLLOW_EVENTS,
  FOLLOW_LOGS,
  LINES_MAX,
  type Method,
  type StreamMethod,
  TAIL_EVENTS,
  TAIL_LOGS,
} from '../ports/methods.ts';
import type { RecordedEvent } from '../ports/node-service.ts';
import type { EventLog } from './event-log.ts';

type Query = { app?: AppId; lines: number; follow: boolean; signal: AbortSignal };
type Stamped = { atMs: number; node: NodeId };
type TailRequest = { app?: AppId | undefined; lines: number };

/** One kind of thing that every node keeps a tail of. */
type Source<T extends Stamped> = {
  tailOf: Method<TailRequest, T[]>;
  followOf: StreamMethod<TailRequest, T | undefined>;
  tail(app: AppId | undefined, lines: number): Promise<T[]>;
  follow(app: AppId | undefined, listener: (item: T) => void): () => void;
};

export class ClusterReader {
  readonly #gossip: Gossip;
  readonly #others: () => NodeId[];
  readonly #logs: Source<LogLine>;
  readonly #events: Source<RecordedEvent>;

  constructor(options: { gossip: Gossip; logs: LogStore; events: EventLog; aliveOthers: () => NodeId[] }) {
    const { gossip, logs, events } = options;
    this.#gossip = gossip;
    this.#others = options.aliveOthers;
    this.#logs = {
      tailOf: TAIL_LOGS,
      followOf: FOLLOW_LOGS,
      tail: (app, lines) => (app === undefined ? Promise.resolve([]) : logs.tail(app, lines)),
      follow: (app, listener) => (app === undefined ? () => {} : logs.follow(app, listener)),
    };
    this.#events = {
      tailOf: TAIL_EVENTS,
      followOf: FOLLOW_EVENTS,
      tail: (app, lines) => Promise.resolve(events.tail(lines, app)),
      follow: (app, listener) => events.follow((event) => (app === undefined || event.app === app) && listener(event)),
    };
    this.#serve(this.#logs);
    this.#serve(this.#events);
  }

  logs(app: AppId, options: Omit<Query, 'app'>): AsyncIterable<LogLine> {
    return this.#read(this.#logs, { ...options, app });
  }

  events(options: Query): AsyncIterable<RecordedEvent> {
    return this.#read(this.#events, options);
  }

  #serve<T extends Stamped>(source: Source<T>): void {
    this.#gossip.handle(source.tailOf, ({ app, lines }) => source.tail(app, lines));
    this.#gossip.handleStream(source.followOf, ({ app }, _from, signal) => {
      const items = new FanIn<T>(signal);
      const unfollow = source.follow(app, (item) => items.push(item));
      signal.addEventListener('abort', unfollow, { once: true });
      return items.read({ open: true });
    });
  }

  async *#read<T extends Stamped>(source: Source<T>, query: Query): AsyncIterable<T> {
    const lines = Math.min(query.lines, LINES_MAX);
    const others = this.#others();
    const payload = query.app === undefined ? { lines } : { app: query.app, lines };
    const live = new FanIn<T>(query.signal);
    if (query.follow) {
      // Following begins before the tail is read, so that nothing falls between; what is in both is told apart below.
      const unfollow = source.follow(query.app, (item) => live.push(item));
      query.signal.addEventListener('abort', unfollow, { once: true });
      for (const node of others) {
        live.addStream(present(this.#gossip.requestStream(node, source.followOf, payload, { signal: query.signal })));
      }
    }
    const tails = await Promise.all([
      source.tail(query.app, lines),
      ...others.map(async (node) => {
        try {
          return await this.#gossip.request(node, source.tailOf, payload, { signal: query.signal });
        } catch {
          return [];
        }
      }),
    ]);
    const merged = tails.flat().sort((a, b) => a.atMs - b.atMs);
    const last = lines === 0 ? [] : merged.slice(-lines);
    const seen = new Set(merged.map((item) => JSON.stringify(item)));
    yield* last;
    if (!query.follow) return;
    for await (const item of live.read({ open: true })) {
      if (seen.size > 0 && seen.delete(JSON.stringify(item))) continue;
      yield item;
    }
  }
}

async function* present<T>(items: AsyncIterable<T | undefined>): AsyncIterable<T> {
  for await (const item of items) if (item !== undefined) yield item;
}
