// What the API's event streams say; the CLI reads these types. No behaviour.

import type { BackupShape } from './data-shapes.ts';
import type { LogShape } from './log-lines.ts';
import type { RolloutShape } from './shapes.ts';

export type PushStep = 'uploading' | 'staging' | 'replicating' | 'binding' | 'releasing' | 'starting';

/** `mayHold`: what was asked for may have taken effect all the same, or do so later. */
export type FailedEvent = { type: 'failed'; code: string; message: string; mayHold?: true };

/** A roll-out. Ends with exactly one `done` or `failed`. */
export type ProgressEvent =
  | { type: 'progress'; ready: number; total: number }
  /** `crashes` counts those since the roll-out began. */
  | { type: 'crash'; slot: string; node: string; crashes: number; reason: string }
  /** Last lines of the app's log, before `failed`. */
  | ({ type: 'log' } & LogShape)
  | ({ type: 'done' } & RolloutShape)
  | FailedEvent;

/** A push: steps in order, then the roll-out of what it released. */
export type PushEvent =
  | { type: 'step'; step: PushStep; detail?: string }
  /** One line of staging output. */
  | { type: 'line'; text: string }
  | ProgressEvent;

/** Whether a service has made what a binding promises. Ends with exactly one `done` or `failed`. */
export type AccessEvent =
  /** `warning`: why it has not yet, and what to do; one line. */
  { type: 'done'; granted: boolean; warning: string | null } | FailedEvent;

/** A backup that is taken, put back or taken in: what happens, then exactly one `done` or `failed`. */
export type BackupEvent = { type: 'line'; text: string } | ({ type: 'done' } & BackupShape) | FailedEvent;

/** Lines of logs or events; with `follow` it goes on until the client leaves. `end`: nothing more will come. */
export type LinesEvent<T> = ({ type: 'line' } & T) | { type: 'end' } | FailedEvent;
