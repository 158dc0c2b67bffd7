// The answer of what takes long with data: what happens, line by line, then how it ended.

import type { Log } from '../lib/log.ts';
import { failureOf, reportUnexpected } from './errors.ts';
import { eventStream } from './event-stream.ts';
import type { LifeEvent } from './stream-events.ts';

/** `signal`: whoever asked has gone. `where`: for the log, when nobody foresaw the failure. */
export function lifeStream<T extends object>(
  { log, where, requestSignal }: { log: Log; where: string; requestSignal: AbortSignal },
  work: (onLine: (text: string) => void, signal: AbortSignal) => Promise<T>,
): Response {
  return eventStream<LifeEvent<T>>(requestSignal, async (sink) => {
    try {
      const done = await work((text) => sink.send({ type: 'line', text }), sink.signal);
      sink.send({ type: 'done', ...done });
    } catch (error) {
      const failure = failureOf(error);
      const message = failure?.message ?? reportUnexpected(log, error, where);
      sink.send({ type: 'failed', code: failure?.code ?? 'internal', message });
    }
  });
}
