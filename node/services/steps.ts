// Long work on one node, followed from another: what is said on the way, then how it ended.

import { oneLine } from '../../crdt/limits.ts';
import type { Backup } from '../ports/backups.ts';
import type { ServiceStep } from '../ports/data-methods.ts';
import { BackupError } from './backup-error.ts';

const REASON_LENGTH_MAX = 250;

/** Runs the work. Its lines are few: what is not read yet waits. */
export async function* steps(work: (onLine: (text: string) => void) => Promise<Backup>): AsyncIterable<ServiceStep> {
  const waiting: ServiceStep[] = [];
  let wake = Promise.withResolvers<void>();
  let over = false;
  const say = (step: ServiceStep): void => {
    waiting.push(step);
    wake.resolve();
  };
  void work((line) => say({ line: oneLine(line, REASON_LENGTH_MAX) }))
    .then(
      (backup) => say({ backup }),
      (error: Error & { code?: unknown }) =>
        say({
          failed: {
            code: typeof error.code === 'string' ? error.code : 'service_failed',
            message: oneLine(error.message, REASON_LENGTH_MAX),
          },
        }),
    )
    .finally(() => {
      over = true;
      wake.resolve();
    });
  for (;;) {
    yield* waiting.splice(0);
    if (over && waiting.length === 0) return;
    await wake.promise;
    wake = Promise.withResolvers();
  }
}

export async function lastOf(items: AsyncIterable<ServiceStep>, onLine: (text: string) => void): Promise<Backup> {
  for await (const item of items) {
    if ('line' in item) onLine(item.line);
    else if ('failed' in item) throw new BackupError(item.failed.code, item.failed.message);
    else return item.backup;
  }
  throw new BackupError(
    'unavailable',
    'the node that runs the service went away meanwhile: see peer services, then try again',
  );
}
