// One server-sent event stream to one client: heartbeats, a bounded buffer, and an end when the client goes away.
// Knows nothing of what the events mean.

/** Keeps proxies and clients from taking a quiet stream for a dead one. */
const HEARTBEAT_INTERVAL_MS = 10_000;
/**
 * What a slow client may leave unread. Beyond it, droppable events are dropped, and the stream ends if that is not
 * enough.
 */
const BUFFER_BYTES_MAX = 1024 * 1024;

export type EventSink<E extends { type: string }> = {
  /**
   * Never blocks. A droppable event is left out while the client is too slow; a `dropped` event then says how many.
   */
  send(event: E, options?: { droppable?: boolean }): void;
  /** Resolves once there is room for more, or the client has gone. */
  room(): Promise<void>;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
};

/**
 * Answers with a stream of what `produce` sends, one SSE event each: its type as `event`, the rest as JSON `data`.
 * `produce` must not reject: it sends failures as events.
 */
export function eventStream<E extends { type: string }>(
  requestSignal: AbortSignal,
  produce: (sink: EventSink<E>) => Promise<void>,
): Response {
  const queue = new EventQueue<E>();
  const leave = (): void => queue.leave();
  if (requestSignal.aborted) leave();
  else requestSignal.addEventListener('abort', leave, { once: true });
  const body = new ReadableStream<Uint8Array>(
    {
      start() {
        void produce(queue).finally(() => {
          queue.end();
          requestSignal.removeEventListener('abort', leave);
        });
      },
      async pull(controller) {
        const next = await queue.next();
        if (next === undefined) controller.close();
        else controller.enqueue(next);
      },
      cancel: leave,
    },
    { highWaterMark: 0 },
  );
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    },
  });
}

/** Between who writes events and the client, which reads at its own pace. */
class EventQueue<E extends { type: string }> implements EventSink<E> {
  readonly #encoder = new TextEncoder();
  readonly #gone = new AbortController();
  readonly #queue: Uint8Array[] = [];
  readonly #heartbeat: NodeJS.Timeout;
  #queuedBytes = 0;
  #dropped = 0;
  #ended = false;
  #wakeReader: (() => void) | undefined;
  #wakeWriters: (() => void)[] = [];

  constructor() {
    this.#heartbeat = setInterval(() => {
      if (this.#queuedBytes === 0) this.#enqueue(': still here\n\n');
    }, HEARTBEAT_INTERVAL_MS);
    this.#heartbeat.unref();
  }

  get signal(): AbortSignal {
    return this.#gone.signal;
  }

  send(event: E, { droppable = false } = {}): void {
    if (this.signal.aborted || this.#ended) return;
    if (this.#queuedBytes > BUFFER_BYTES_MAX) {
      if (droppable) {
        this.#dropped++;
        return;
      }
      // Not even the few events that matter are read.
      if (this.#queuedBytes > 2 * BUFFER_BYTES_MAX) {
        this.leave();
        return;
      }
    }
    if (this.#dropped > 0 && this.#queuedBytes <= BUFFER_BYTES_MAX) {
      this.#enqueue(`event: dropped\ndata: {"count":${this.#dropped}}\n\n`);
      this.#dropped = 0;
    }
    const { type, ...data } = event;
    this.#enqueue(`event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  room(): Promise<void> {
    if (this.#queuedBytes <= BUFFER_BYTES_MAX / 2 || this.signal.aborted) return Promise.resolve();
    return new Promise((resolve) => this.#wakeWriters.push(resolve));
  }

  /** What the client reads next; undefined at the end, or when it has gone. */
  async next(): Promise<Uint8Array | undefined> {
    while (this.#queue.length === 0 && !this.#ended && !this.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve;
      });
    }
    const next = this.#queue.shift();
    if (next === undefined) return undefined;
    this.#queuedBytes -= next.length;
    if (this.#queuedBytes <= BUFFER_BYTES_MAX / 2) this.#wakeAllWriters();
    return next;
  }

  /** No more events come. */
  end(): void {
    this.#ended = true;
    clearInterval(this.#heartbeat);
    this.#wakeReader?.();
  }

  /** The client has gone. */
  leave(): void {
    clearInterval(this.#heartbeat);
    this.#gone.abort();
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#wakeAllWriters();
    this.#wakeReader?.();
  }

  #enqueue(text: string): void {
    const bytes = this.#encoder.encode(text);
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    this.#wakeReader?.();
  }

  #wakeAllWriters(): void {
    const waiting = this.#wakeWriters;
    this.#wakeWriters = [];
    for (const wake of waiting) wake();
  }
}
