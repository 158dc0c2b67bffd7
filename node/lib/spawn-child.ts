// Starts a child process as Node does, but for one thing: where there are no descriptors left for its pipes, it
// throws.

import { spawn } from 'node:child_process';

/**
 * Node answers such a child without any pipes, and tells the failure by an `error` event a moment later. Whoever
 * attached to the pipes first failed with a TypeError, and the event, which nobody listened to by then, ended the
 * daemon.
 */
export const spawnChild = ((...options: Parameters<typeof spawn>) => {
  const child = spawn(...options);
  if ((child.stdio as unknown) !== undefined) return child;
  child.once('error', () => {});
  throw Object.assign(new Error(`${options[0]} cannot be run: too many open files`), { code: 'EMFILE' });
}) as typeof spawn;
