// Schema steps: maps of the root that came after the first version. Two maps that were made apart under one key do not
// merge, so every node makes them by a change that is the same to the byte on all: whoever makes it, and however
// often, it is one change. Decides nothing about what stands in the maps.

import { createHash } from 'node:crypto';
import { type ChangeMetadata, encodeChange } from '@automerge/automerge';
import { changeHash } from './chunk.ts';

/**
 * Maps by step, in the order in which they were invented. What stands here never changes: a further map needs a
 * further step.
 */
const STEPS = [['bindings', 'keys', 'services', 'volumes']] as const;

/** No other change may make one of these: it would hide the map with all it holds. */
export const STEP_MAPS: readonly string[] = STEPS.flat();

export type SchemaStep = { hash: string; bytes: Uint8Array };

const ROOT = '_root';
const ACTOR_BYTES = 16;

/**
 * Of the document with this history, whose map `cluster` was made by its first change. They depend on that change
 * alone, so that a node with any part of the history makes the same ones. None where it cannot be told which change
 * was the first: readers take a missing map for empty.
 */
export function schemaStepsOf(history: readonly ChangeMetadata[], clusterObject: string): SchemaStep[] {
  const first = history.find(({ deps, actor }) => deps.length === 0 && clusterObject.endsWith(`@${actor}`));
  if (first === undefined) return [];
  return STEPS.map((maps, index) => {
    const bytes = encodeChange({
      actor: actorOf(first.hash, index + 1),
      author: null,
      seq: 1,
      startOp: first.maxOp + 1,
      time: 0,
      message: null,
      deps: [first.hash],
      ops: maps.map((key) => ({ action: 'makeMap', obj: ROOT, key, pred: [] })),
    });
    return { hash: changeHash(bytes), bytes };
  });
}

/** A writer that writes this one change, and in this one document. */
const actorOf = (firstHash: string, step: number): string =>
  createHash('sha256')
    .update(`peer schema step ${step} of ${firstHash}`)
    .digest('hex')
    .slice(0, 2 * ACTOR_BYTES);
