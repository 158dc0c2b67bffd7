// A roll-out as a stream of events: followed to its end, with failures that nobody foresaw as events too.

import type { AppId } from '../../crdt/ids.ts';
import type { ApiContext } from './context.ts';
import { failureOf, reportUnexpected } from './errors.ts';
import { eventStream } from './event-stream.ts';
import { followRollout } from './rollout.ts';
import type { RolloutTarget } from './rollout-progress.ts';
import type { ProgressEvent } from './stream-events.ts';

/** @param app its id, or the service's. */
export function rolloutStream(
  { service, log }: Pick<ApiContext, 'service' | 'log'>,
  app: AppId,
  target: RolloutTarget,
  signal: AbortSignal,
): Response {
  return eventStream<ProgressEvent>(signal, async (sink) => {
    try {
      await followRollout(service, app, target, sink);
    } catch (error) {
      const failure = failureOf(error);
      const message = failure?.message ?? reportUnexpected(log, error, 'rollout');
      sink.send({ type: 'failed', code: failure?.code ?? 'internal', message });
    }
  });
}
