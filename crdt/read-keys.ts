// What the document says of the keys that secrets are sealed with. Never throws, never writes. Part of readView.

import {
  AUTHOR_LENGTH_MAX,
  clusterKeyIdProblem,
  idProblem,
  KEYS_MAX,
  sealKeyProblem,
  TIME_MS_MAX,
  WRAPS_PER_KEY_MAX,
  wrappedKeyProblem,
} from './limits.ts';
import { MAKER_UNKNOWN } from './read-releases.ts';
import { anyText, type Entries, entriesIn, integerIn, isMap, line, record } from './read-values.ts';
import type { Place } from './record-problems.ts';
import type { KeyView } from './view.ts';

/** Oldest first by (time, id), which is the same on every node: keys that were made apart all stay, and one seals. */
export function readKeys(docs: Entries, place: Place): Map<string, KeyView> {
  const keys: KeyView[] = [];
  for (const [id, doc] of docs) {
    const at = place.in(id);
    const problem = clusterKeyIdProblem(id);
    if (problem !== undefined || !isMap(doc)) {
      at.leftOut(problem === undefined ? 'must be a map' : `its id ${problem}`);
      continue;
    }
    keys.push({
      id,
      createdAtMs: integerIn(doc, 'createdAtMs', { max: TIME_MS_MAX, default: 0 }, at),
      createdBy: line(doc, 'createdBy', { lengthMax: AUTHOR_LENGTH_MAX, default: MAKER_UNKNOWN }, at),
      wraps: readWraps(entriesIn(doc, 'wraps', at), at.in('wraps')),
    });
  }
  // Entries come in the order of ids, and sorting keeps that order among equal times.
  keys.sort((a, b) => a.createdAtMs - b.createdAtMs);
  for (const { id } of keys.splice(0, Math.max(0, keys.length - KEYS_MAX))) {
    place.in(id).leftOut(`at most ${KEYS_MAX} keys are read, the newest`);
  }
  return new Map(keys.map((key) => [key.id, key]));
}

function readWraps(docs: Entries, place: Place): Record<string, string> {
  const wraps: [string, string][] = [];
  for (const [node, value] of docs) {
    const wrapped = anyText(value);
    const problem = idProblem(node) ?? wrappedKeyProblem(wrapped) ?? tooMany(wraps.length);
    if (problem !== undefined || wrapped === undefined) place.in(node).leftOut(problem ?? '');
    else wraps.push([node, wrapped]);
  }
  return record(wraps);
}

const tooMany = (wraps: number): string | undefined =>
  wraps < WRAPS_PER_KEY_MAX ? undefined : `at most ${WRAPS_PER_KEY_MAX} nodes are read`;

export function readSealKey(value: unknown, place: Place): string | undefined {
  if (value === undefined) return undefined;
  const key = anyText(value);
  const problem = sealKeyProblem(key);
  if (problem === undefined) return key;
  place.leftOut(problem);
  return undefined;
}
