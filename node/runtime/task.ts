// A task as an instance: what is made the same way for both. Pure.

import { createHash } from 'node:crypto';
import type { InstanceSpec } from '../core/types.ts';
import type { TaskSpec } from '../ports/commands.ts';
import type { InstanceRecord } from './instance-folder.ts';

/** Tasks have no port; apps that insist on one find this. */
export const TASK_PORT = 8080;

/** Heroku's name of a one-off run: `run.` and a number that tells those of an app apart. */
export function taskDyno({ id }: Pick<TaskSpec, 'id'>): string {
  return `run.${(createHash('sha256').update(id).digest().readUInt16BE(0) % 9_000) + 1_000}`;
}

export const taskInstance = (task: TaskSpec): InstanceSpec => ({
  ...task,
  process: 'task',
  index: 0,
  restartCount: 0,
  command: '',
  health: { kind: 'process', path: '/', timeoutMs: 0 },
});

export function taskRecord(task: TaskSpec, uid: number): InstanceRecord {
  const { id, app, release, memoryBytes, diskBytes } = task;
  const { process, index, restartCount, health } = taskInstance(task);
  const place = { port: TASK_PORT, uid, boot: '' };
  return { version: 1, id, app, process, index, release, restartCount, memoryBytes, diskBytes, health, ...place };
}
