// Whether a named change of keys or of sealed texts is allowed on top of a view. Part of validateChange; changes
// nothing.

import type { NamedChange } from './change.ts';
import { isRecord, quote } from './checks.ts';
import { ChangeRejected } from './errors.ts';
import { asNodeId } from './ids.ts';
import { clusterKeyIdProblem, KEYS_MAX, RESEALED_MAX, WRAPS_PER_KEY_MAX, wrappedKeyProblem } from './limits.ts';
import { isSealed } from './sealed.ts';
import type { DesiredView } from './view.ts';

type Of<Kind extends NamedChange['change']> = Extract<NamedChange, { change: Kind }>;

/** Nodes alone make these: what they refuse is a fault, or was overtaken by another change. */
export const keyRules = {
  addKey: (view: DesiredView, { key, wraps }: Of<'addKey'>): void => {
    checkKeyId(key);
    checkWraps(wraps);
    const stranger = Object.keys(wraps).find((node) => !view.nodes.has(asNodeId(node)));
    if (stranger !== undefined) throw nodeUnknown(stranger);
    if (view.keys.has(key)) throw new ChangeRejected('invalid_value', `key ${key}: it is there already.`);
    if (view.keys.size >= KEYS_MAX) {
      throw new ChangeRejected(
        'limit_reached',
        `The cluster holds ${KEYS_MAX} keys of secrets, the most there may be; old ones go once all nodes are up.`,
      );
    }
  },
  wrapKeys: (view: DesiredView, { node, wraps }: Of<'wrapKeys'>): void => {
    if (!view.nodes.has(node)) throw nodeUnknown(node);
    checkWraps(wraps);
    for (const key of Object.keys(wraps)) checkKnown(view, key);
  },
  dropKeys: (view: DesiredView, { keys }: Of<'dropKeys'>): void => {
    if (!Array.isArray(keys)) throw new ChangeRejected('invalid_value', 'keys: must be a list.');
    for (const key of keys) checkKnown(view, key);
    if (keys.includes([...view.keys.keys()].at(-1) ?? '')) {
      throw new ChangeRejected('invalid_value', 'keys: the newest one seals, and stays.');
    }
  },
  reseal: (_view: DesiredView, { texts }: Of<'reseal'>): void => {
    if (!Array.isArray(texts) || texts.length === 0 || texts.length > RESEALED_MAX) {
      throw new ChangeRejected('invalid_value', `texts: must be a list of 1 to ${RESEALED_MAX}.`);
    }
    // Never a value in the message: it may be secret.
    const isSound = (text: unknown): boolean =>
      isRecord(text) &&
      typeof text.context === 'string' &&
      typeof text.from === 'string' &&
      typeof text.to === 'string' &&
      isSealed(text.to);
    if (!texts.every(isSound)) throw new ChangeRejected('invalid_value', 'texts: each must be sealed, at its place.');
  },
};

const nodeUnknown = (node: string): ChangeRejected =>
  new ChangeRejected('node_unknown', `Node ${quote(node)} is not a node of this cluster, so it gets no key.`);

function checkKeyId(key: unknown): void {
  const problem = clusterKeyIdProblem(key);
  if (problem !== undefined) throw new ChangeRejected('invalid_id', `key ${quote(key)}: ${problem}.`);
}

function checkKnown(view: DesiredView, key: string): void {
  if (!view.keys.has(key)) throw new ChangeRejected('invalid_value', `key ${quote(key)}: there is none such.`);
}

function checkWraps(wraps: unknown): void {
  if (!isRecord(wraps) || Object.keys(wraps).length > WRAPS_PER_KEY_MAX) {
    throw new ChangeRejected('invalid_value', `wraps: must be at most ${WRAPS_PER_KEY_MAX} pairs.`);
  }
  for (const wrapped of Object.values(wraps)) {
    const problem = wrappedKeyProblem(wrapped);
    if (problem !== undefined) throw new ChangeRejected('invalid_value', `wraps: each ${problem}.`);
  }
}
