// Waits until the node of a service says that it has made what a binding promises. Only asks: that node makes it by
// itself, and goes on when nobody waits.

import type { BindingId, ServiceId } from '../../crdt/ids.ts';
import type { NodeService } from '../ports/node-service.ts';
import { serviceState } from './data-shaping.ts';

/** Of a service that runs; some engines take seconds over each access. */
export const GRANT_WAIT_MS = 30_000;
const ASK_FIRST_MS = 100;
const ASK_MAX_MS = 2_000;

export type GrantQuestion = {
  service: ServiceId;
  binding: BindingId;
  timeoutMs: number;
  signal: AbortSignal;
  /** It was made just now: until it runs nothing of it is held against it. */
  isNew?: boolean;
};

/** Undefined once it is there; else a line that says why it is not, and what comes of it. Never rejects. */
export async function untilGranted(service: NodeService, question: GrantQuestion): Promise<string | undefined> {
  const deadlineMs = performance.now() + question.timeoutMs;
  for (let waitMs = ASK_FIRST_MS; ; waitMs = Math.min(waitMs * 2, ASK_MAX_MS)) {
    const asked = service.view().services.get(question.service);
    if (asked === undefined) return 'the service was deleted meanwhile';
    if (asked.volume === undefined) return undefined;
    const status = await service.serviceStatus(question.service).catch(() => undefined);
    if (status?.bindings.includes(question.binding)) return undefined;
    const state = serviceState(asked, { view: service.view(), observed: service.observed() });
    const isComing = state === 'ready' || state === 'starting' || (question.isNew === true && state === 'waiting');
    if (!isComing) {
      return `${asked.name} does not run (${state}), so its credentials work once it does: peer service status ${asked.name}`;
    }
    if (performance.now() + waitMs >= deadlineMs) {
      const waited = Math.round(question.timeoutMs / 1000);
      return `${asked.name} has not made the access within ${waited} s, so the app may fail to connect at first: peer service status ${asked.name}`;
    }
    await pause(waitMs, question.signal);
    if (question.signal.aborted) return 'nobody waits any more';
  }
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
  });
}
