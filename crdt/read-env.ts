// What the document says of an environment, of an app or of a release. Never throws, never writes. Part of readView.

import {
  byteLength,
  ENV_KEYS_MAX,
  ENV_TOTAL_BYTES_MAX,
  envKeyProblem,
  envValueBytes,
  envValueProblem,
} from './limits.ts';
import { anyText, type Entries, record } from './read-values.ts';
import type { Place } from './record-problems.ts';

/**
 * In the order of names. Two sides of a partition may have filled it beyond its bound together: what does not fit is
 * left out, and said, until somebody unsets some.
 */
export function readEnv(docs: Entries, place: Place): Record<string, string> {
  const env: [string, string][] = [];
  let totalBytes = 0;
  for (const [key, value] of docs) {
    const text = anyText(value);
    const problem = envKeyProblem(key) ?? envValueProblem(text);
    if (problem !== undefined || text === undefined) {
      place.in(key).leftOut(problem ?? '');
      continue;
    }
    const bytes = byteLength(key) + envValueBytes(text);
    if (env.length >= ENV_KEYS_MAX || totalBytes + bytes > ENV_TOTAL_BYTES_MAX) {
      place
        .in(key)
        .leftOut(`at most ${ENV_KEYS_MAX} variables of ${ENV_TOTAL_BYTES_MAX / 1024} KiB together are allowed`);
      continue;
    }
    totalBytes += bytes;
    env.push([key, text]);
  }
  return record(env);
}
