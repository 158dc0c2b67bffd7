// Whether a change that another node made may enter the document. Looks at the change alone, never at what has been
// merged so far: so every node decides alike, in any order of arrival. Values inside are not judged; readers tolerate
// them.

import type { DecodedChange } from '@automerge/automerge';
import { SCHEMA_VERSION } from './schema.ts';
import { STEP_MAPS } from './schema-steps.ts';

/** What identifies the document, taken from its first change. */
export type Anchors = {
  /** Automerge's id of the map `cluster`. */
  clusterObject: string;
  /** Hashes of its schema steps, which alone may make the maps that came later. */
  steps: ReadonlySet<string>;
};

/** Every one of these exists from the first change on; a second one would hide the first with all it holds. */
export const ROOT_MAPS = ['cluster', 'nodes', 'removedNodes', 'users', 'invites', 'apps', 'routes'] as const;

const ROOT = '_root';

/** Why the change is refused, one clause; undefined when it is fine. */
export function changeProblem(change: DecodedChange, anchors: Anchors): string | undefined {
  // Only the first change of a document depends on nothing, and ours is in every replica from the start.
  if (change.deps.length === 0) return 'it begins another document, so it belongs to another cluster';
  if (anchors.steps.has(change.hash)) return undefined;
  for (const op of change.ops) {
    if (op.obj === anchors.clusterObject && op.key === 'id') return 'it gives the cluster another id';
    if (op.obj !== ROOT) continue;
    if ([...ROOT_MAPS, ...STEP_MAPS].includes(op.key)) return `it replaces all of "${op.key}"`;
    if (op.key !== 'schemaVersion') continue;
    if (typeof op.value === 'number' && op.value <= SCHEMA_VERSION) continue;
    return 'it raises the schema to a version that this node does not know; upgrade this node';
  }
  return undefined;
}
