// Lines of logs and events as text, tagged like Cloud Foundry's. Pure.

import type { EventShape, LogShape } from '../node/api/log-lines.ts';
import { formatTime } from './format.ts';
import { printable } from './table.ts';

/** `2026-01-31T12:00:00.000Z [APP/web/0] OUT text` */
export function formatLogLine(line: LogShape): string {
  const slot = line.process === null ? '' : `/${line.process}/${line.index ?? 0}`;
  // Colours and tabs of the app's own are kept; what moves the cursor elsewhere is not.
  const text = line.text.replace(/[\u0000-\u0008\u000b-\u001a\u001c-\u001f\u007f]/g, ' ');
  return `${formatTime(line.atMs)} [${line.source}${slot}] ${line.stream === 'err' ? 'ERR' : 'OUT'} ${text}`;
}

/** `2026-01-31T12:00:00.000Z node-1 instance.ready hello/web/0 is ready on node-1` */
export function formatEvent(event: EventShape): string {
  return `${formatTime(event.atMs)} ${event.node} ${event.name} ${printable(event.message)}`;
}
