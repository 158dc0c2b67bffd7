// Port of logs: the lines of apps on this node. Types only; each says what it guarantees and how it fails.

import type { AppId, InstanceId, NodeId } from '../../crdt/ids.ts';

export type LogLine = {
  /** Unix ms of the node that wrote it. */
  atMs: number;
  app: AppId;
  /** APP: the app itself; STG: staging; CELL: the platform about an instance (started, crashed: why). */
  source: 'APP' | 'STG' | 'CELL';
  process?: string;
  index?: number;
  instance?: InstanceId;
  node: NodeId;
  stream: 'out' | 'err';
  /** Without the newline; a longer line is cut at LOG_LINE_BYTES_MAX. */
  text: string;
  /** Cut so: it goes on with the next one of the stream. */
  goesOn?: true;
};

export interface LogStore {
  append(line: Omit<LogLine, 'node' | 'atMs'>): void;
  /**
   * Last `lines` lines of the app held on this node, oldest first; fewer when they are so long that no reply would
   * hold them.
   */
  tail(app: AppId, lines: number): Promise<LogLine[]>;
  /** Lines of the app from now on; a reader that is too slow loses the oldest. */
  follow(app: AppId, listener: (line: LogLine) => void): () => void;
  /** Every app that has logs on this node. */
  apps(): Promise<AppId[]>;
  /** Deletes the app's logs. */
  remove(app: AppId): Promise<void>;
}
