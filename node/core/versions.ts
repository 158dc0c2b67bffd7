// Versions of engines as nodes report them: which is the newer one. Pure.

import { compareText } from './text.ts';

/** 9.6 before 15: numbers by their value. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(/[.-]/)) as [string[], string[]];
  for (let at = 0; at < Math.max(left.length, right.length); at++) {
    const [one = '', other = ''] = [left[at], right[at]];
    const difference = Number(one) - Number(other);
    const order = Number.isFinite(difference) && one !== '' && other !== '' ? difference : compareText(one, other);
    if (order !== 0) return order;
  }
  return 0;
}

/** What was written by a newer engine is not for an older one. */
export const reads = (engine: string, written: string): boolean => compareVersions(written, engine) <= 0;
