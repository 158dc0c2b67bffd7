// Logs and events of the whole cluster, read from any node: asks every member that is alive and merges the answers by
// time.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import { FanIn } from '../lib/fan-in.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { LogLine, LogStore } from '../ports/logs.ts';
import type { RecordedEvent } from '../ports/node-service.ts';
import type { EventLog } from './event-log.ts';

/** A tail is up to some MiB from a machine that may be busy; a node that does not answer is left out. */
const TAIL_TIMEOUT_MS = 10_000;
/** More than this nobody reads; it also bounds the answer of one node. */
export const LINES_MAX = 2_000;

type Query = { app?: AppId; lines: number; follow: boolean; signal: AbortSignal };
type Stamped = { atMs: number; node: NodeId };

/** One kind of thing that every node keeps a tail of. */
type Source<T extends Stamped> = {
  method: string;
  /** The field with its words. */
  words: 'text' | 'message';
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
      method: 'logs',
      words: 'text',
      tail: (app, lines) => (app === undefined ? Promise.resolve([]) : logs.tail(app, lines)),
      follow: (app, listener) => (app === undefined ? () => {} : logs.follow(app, listener)),
    };
    this.#events = {
      method: 'events',
      words: 'message',
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
    this.#gossip.handle(`${source.method}.tail`, async (payload) => {
      const { app, lines } = parseQuery(payload);
      return source.tail(app, lines);
    });
    this.#gossip.handleStream(`${source.method}.follow`, (payload, _from, signal) => {
      const { app } = parseQuery(payload);
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
        const stream = this.#gossip.requestStream(node, `${source.method}.follow`, payload, { signal: query.signal });
        live.addStream(itemsOf<T>(stream, source.words));
      }
    }
    const tails = await Promise.all([
      source.tail(query.app, lines),
      ...others.map(async (node) => {
        try {
          const options = { timeoutMs: TAIL_TIMEOUT_MS, signal: query.signal };
          const reply = await this.#gossip.request(node, `${source.method}.tail`, payload, options);
          return Array.isArray(reply) ? reply.filter((item): item is T => isItem(item, source.words)) : [];
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

/** What another node sent may be anything: only what can be sorted and shown is passed on. */
function isItem(item: unknown, words: Source<Stamped>['words']): item is Stamped {
  const { atMs, node, [words]: said } = (item ?? {}) as Record<string, unknown>;
  return Number.isFinite(atMs) && typeof node === 'string' && typeof said === 'string';
}

async function* itemsOf<T extends Stamped>(
  stream: AsyncIterable<unknown>,
  words: Source<T>['words'],
): AsyncIterable<T> {
  for await (const item of stream) if (isItem(item, words)) yield item as T;
}

function parseQuery(payload: unknown): { app: AppId | undefined; lines: number } {
  const { app, lines } = (payload ?? {}) as { app?: unknown; lines?: unknown };
  if (app !== undefined && typeof app !== 'string') throw new Error('app should be text');
  if (typeof lines !== 'number' || !(lines >= 0)) throw new Error('lines should be a number');
  return { app: app as AppId | undefined, lines: Math.min(Math.floor(lines), LINES_MAX) };
}
