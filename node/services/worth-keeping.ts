// Which backups of a service are kept. Pure.

import type { Backup } from '../ports/backups.ts';

/** Made of an earlier moment when somebody asked: to be restored soon. */
const MADE_KEPT = 3;

/**
 * Of backups of one service, newest first, those that are to be kept: the newest `kept`, and whatever their number the
 * newest proven one; and of those that were made of an earlier moment the last few. @param kept at least 1
 */
export function worthKeeping<B extends Backup>(backups: readonly B[], kept: number): B[] {
  const sound = backups.filter(({ proof, madeAtMs }) => proof?.state !== 'failed' && madeAtMs === undefined);
  const newest = sound.slice(0, kept);
  const proven = sound.find(({ proof }) => proof?.state === 'proven');
  const made = backups
    .filter(({ madeAtMs }) => madeAtMs !== undefined)
    .sort((a, b) => (b.madeAtMs ?? 0) - (a.madeAtMs ?? 0))
    .slice(0, MADE_KEPT);
  return [...newest, ...(proven === undefined || newest.includes(proven) ? [] : [proven]), ...made];
}
