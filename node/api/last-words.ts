// What an app said last and why it crashed, for a roll-out that fails. Best effort: the failure itself matters more.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { NodeService } from '../ports/node-service.ts';
import { oneLine } from './errors.ts';
import { type LogShape, logShape } from './log-lines.ts';

const LOG_LINES = 20;
/** Those of staging are left out after reading. */
const LOG_LINES_READ = 60;
const EVENTS_READ = 50;
const TIMEOUT_MS = 5_000;

/** The app's last log lines, without those of staging. */
export async function lastLogLines(service: NodeService, app: AppId, signal: AbortSignal): Promise<LogShape[]> {
  const names = new Map<NodeId, string>([...service.view().nodes].map(([id, node]) => [id, node.name]));
  const lines: LogShape[] = [];
  try {
    const options = { lines: LOG_LINES_READ, follow: false, signal: withTimeout(signal) };
    for await (const line of service.logs(app, options)) {
      if (line.source !== 'STG') lines.push(logShape(line, names));
    }
  } catch {
    // What was read until then is better than nothing.
  }
  return lines.slice(-LOG_LINES);
}

/**
 * Why the slot crashed last. An instance that is restarted at once takes the place of the one that crashed in its
 * node's report, and the reason with it; the node's events have it still.
 */
export async function lastCrashReason(
  service: NodeService,
  crash: { app: AppId; slot: string; node: NodeId },
  signal: AbortSignal,
): Promise<string | undefined> {
  let reason: string | undefined;
  try {
    const options = { app: crash.app, lines: EVENTS_READ, follow: false, signal: withTimeout(signal) };
    for await (const event of service.events(options)) {
      if (event.name !== 'instance.crashed' || event.node !== crash.node || !event.slot?.endsWith(crash.slot)) continue;
      // `hello/web/0 crashed on node-1: REASON`
      reason = oneLine(event.message.replace(/^\S+ crashed on [^:]*: /, ''));
    }
  } catch {
    // The crash is told without a reason.
  }
  return reason;
}

const withTimeout = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
