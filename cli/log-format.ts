// Lines of logs and events as text, tagged like Cloud Foundry's. Pure.

import type { EventShape, LogShape } from '../node/api/log-lines.ts';
import { formatTime } from './format.ts';
import { printable } from './table.ts';

/**
 * What could steer the terminal of whoever reads a hostile app's log: control characters, and escapes that are more
 * than a colour. Colours and tabs are kept.
 */
const STEERING = /\u001b(?!\[[\d;:]*m)|[\u0000-\u0008\u000a-\u001a\u001c-\u001f\u007f-\u009f]/g;

/** `2026-01-31T12:00:00.000Z [APP/web/0] OUT text` */
export function formatLogLine(line: LogShape): string {
  const slot = line.process === null ? '' : `/${line.process}/${line.index ?? 0}`;
  const text = line.text.replace(STEERING, ' ');
  return `${formatTime(line.atMs)} [${line.source}${slot}] ${line.stream === 'err' ? 'ERR' : 'OUT'} ${text}`;
}

/** `2026-01-31T12:00:00.000Z node-1 instance.ready hello/web/0 is ready on node-1` */
export function formatEvent(event: EventShape): string {
  return `${formatTime(event.atMs)} ${event.node} ${event.name} ${printable(event.message)}`;
}
