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
  const encoder = new TextEncoder();
  const gone = new AbortController();
  const queue: Uint8Array[] = [];
  let queuedBytes = 0;
  let dropped = 0;
  let ended = false;
  let wakeReader: (() => void) | undefined;
  let wakeWriters: (() => void)[] = [];

  const wakeAllWriters = () => {
    const waiting = wakeWriters;
    wakeWriters = [];
    for (const wake of waiting) wake();
  };
  const leave = () => {
    clearInterval(heartbeat);
    gone.abort();
    queue.length = 0;
    queuedBytes = 0;
    wakeAllWriters();
    wakeReader?.();
  };
  const enqueue = (text: string) => {
    const bytes = encoder.encode(text);
    queue.push(bytes);
    queuedBytes += bytes.length;
    wakeReader?.();
  };
  const heartbeat = setInterval(() => {
    if (queuedBytes === 0) enqueue(': still here\n\n');
  }, HEARTBEAT_INTERVAL_MS);
  heartbeat.unref();
  if (requestSignal.aborted) leave();
  else requestSignal.addEventListener('abort', leave, { once: true });

  const sink: EventSink<E> = {
    signal: gone.signal,
    send(event, { droppable = false } = {}) {
      if (gone.signal.aborted || ended) return;
      if (queuedBytes > BUFFER_BYTES_MAX) {
        if (droppable) {
          dropped++;
          return;
        }
        // Not even the few events that matter are read.
        if (queuedBytes > 2 * BUFFER_BYTES_MAX) return leave();
      }
      if (dropped > 0 && queuedBytes <= BUFFER_BYTES_MAX) {
        enqueue(`event: dropped\ndata: {"count":${dropped}}\n\n`);
        dropped = 0;
      }
      const { type, ...data } = event;
      enqueue(`event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
    },
    room() {
      if (queuedBytes <= BUFFER_BYTES_MAX / 2 || gone.signal.aborted) return Promise.resolve();
      return new Promise((resolve) => wakeWriters.push(resolve));
    },
  };

  const body = new ReadableStream<Uint8Array>(
    {
      start() {
        void produce(sink).finally(() => {
          ended = true;
          clearInterval(heartbeat);
          requestSignal.removeEventListener('abort', leave);
          wakeReader?.();
        });
      },
      async pull(controller) {
        while (queue.length === 0 && !ended && !gone.signal.aborted) {
          await new Promise<void>((resolve) => {
            wakeReader = resolve;
          });
        }
        const next = queue.shift();
        if (next === undefined) {
          controller.close();
          return;
        }
        queuedBytes -= next.length;
        if (queuedBytes <= BUFFER_BYTES_MAX / 2) wakeAllWriters();
        controller.enqueue(next);
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
