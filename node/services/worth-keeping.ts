// Which backups of a service are kept. Pure.

import type { Backup } from '../ports/backups.ts';

/**
 * Of backups of one service, newest first, those that are to be kept: the newest `kept`, and whatever their number the
 * newest proven one. @param kept at least 1
 */
export function worthKeeping(backups: readonly Backup[], kept: number): Backup[] {
  const sound = backups.filter(({ proof }) => proof?.state !== 'failed');
  const newest = sound.slice(0, kept);
  const proven = sound.find(({ proof }) => proof?.state === 'proven');
  return proven === undefined || newest.includes(proven) ? newest : [...newest, proven];
}
