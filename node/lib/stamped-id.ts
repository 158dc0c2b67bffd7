// Ids that people can read: the second in which something was made, and a mark that tells those of one second apart.

import { createHash } from 'node:crypto';

const MARK_DIGITS = 6;

/** `20260131235959-1a2b3c`; the same for the same words. */
export function stampedId(atMs: number, ...words: readonly string[]): string {
  const time = new Date(atMs).toISOString().replace(/\D/g, '').slice(0, 14);
  const mark = createHash('sha256')
    .update(`${atMs} ${words.join(' ')}`)
    .digest('hex')
    .slice(0, MARK_DIGITS);
  return `${time}-${mark}`;
}
