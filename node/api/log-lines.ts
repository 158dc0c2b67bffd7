// Lines of logs and events as the API answers them. Pure.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { LogLine } from '../ports/logs.ts';
import type { RecordedEvent } from '../ports/node-service.ts';

export type LogShape = {
  atMs: number;
  source: LogLine['source'];
  process: string | null;
  index: number | null;
  instance: string | null;
  /** Name of the node that wrote it. */
  node: string;
  stream: 'out' | 'err';
  text: string;
  /** A piece of a long line, which goes on with the next one of its instance and stream. */
  goesOn: boolean;
};

export type EventShape = {
  atMs: number;
  name: string;
  /** Name of the app; of a deleted one its id. */
  app: string | null;
  /** `web/0` */
  slot: string | null;
  /** Name of the node that recorded it. */
  node: string;
  /** Name of the node that it is about, if it is about one. */
  subject: string | null;
  message: string;
};

export function logShape(line: LogLine, nodeNames: ReadonlyMap<NodeId, string>): LogShape {
  return {
    atMs: line.atMs,
    source: line.source,
    process: line.process ?? null,
    index: line.index ?? null,
    instance: line.instance ?? null,
    node: nodeNames.get(line.node) ?? line.node,
    stream: line.stream,
    text: line.text,
    goesOn: line.goesOn === true,
  };
}

export function eventShape(
  event: RecordedEvent,
  names: { nodes: ReadonlyMap<NodeId, string>; apps: ReadonlyMap<AppId, string> },
): EventShape {
  const slot = event.slot?.split('/').slice(-2).join('/');
  return {
    atMs: event.atMs,
    name: event.name,
    app: event.app === undefined ? null : (names.apps.get(event.app) ?? event.app),
    slot: slot ?? null,
    node: names.nodes.get(event.node) ?? event.node,
    subject: event.subject === undefined ? null : (names.nodes.get(event.subject) ?? event.subject),
    message: event.message,
  };
}
