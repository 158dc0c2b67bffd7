// Sees to it that every node has the keys, that the newest is known to no removed node, and that everything is sealed
// with it. Each task is one node's: the first in order of ids of those that can do it and live. When views differ two
// may do the same, which merges.

import type { NamedChange } from '../../crdt/change.ts';
import type { NodeId } from '../../crdt/ids.ts';
import { KEYS_MAX, RESEALED_BYTES_MAX, RESEALED_MAX } from '../../crdt/limits.ts';
import { sealedParts } from '../../crdt/sealed.ts';
import type { SecretText } from '../../crdt/secret-places.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import type { Keyring } from './keyring.ts';
import { newKeyFor, wrapsFor } from './new-key.ts';
import { type ClusterKey, open, seal } from './seal.ts';

/** What is to be written next is looked for so long after something changed, and at most this often. */
const LOOK_AFTER_MS = 500;
/** Before the n-th try in a row that follows a failure: doubling, to a minute. */
const RETRY_MS_MAX = 60_000;
/** Values are sealed anew while all members are up and agree; when one stays away, after so long all the same. */
const ABSENT_WAITED_MS = 60 * 60 * 1000;
/** A key that nothing is sealed with any more goes after so long, as a value may be on its way. */
const UNUSED_KEPT_MS = 10 * 60 * 1000;
const NODES_PER_WRITE_MAX = 40;

/** As a node sees the members, itself included. `agrees`: it holds the same desired state, as far as it has said. */
export type Member = { id: NodeId; isAlive: boolean; agrees: boolean };

export type Parts = {
  keyring: Keyring;
  view: () => DesiredView;
  /** A walk over all of it. */
  secrets: () => SecretText[];
  heads: () => string[];
  members: () => Member[];
  /** Whether this node has seen what the cluster asks for. */
  isCaughtUp: () => boolean;
  write: (changes: NamedChange[], by: string) => Promise<unknown>;
  nowMs: () => number;
  log: Log;
};

export class Upkeep {
  readonly #parts: Parts;
  #timer: NodeJS.Timeout | undefined;
  #writing = false;
  #stopped = false;
  #failures = 0;
  /** Since when not all members are up and agree. */
  #absentSinceMs: number | undefined;
  /** Since when nothing is sealed with the key. */
  readonly #unusedSinceMs = new Map<string, number>();
  /** The heads, and the key, with which all was found in order. */
  #inOrder = '';

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** Called whenever something changed; looks a moment later. */
  look(afterMs: number = LOOK_AFTER_MS): void {
    if (this.#stopped || this.#writing || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#work();
    }, afterMs);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #work(): Promise<void> {
    const { view, keyring, write, log } = this.#parts;
    this.#writing = true;
    let again = false;
    try {
      const changes = this.#next();
      if (changes.length > 0) {
        log.info('secrets.upkeep', { changes: changes.map(({ change }) => change) });
        await write(changes, `node ${view().nodes.get(keyring.self)?.name ?? keyring.self}`);
        again = true;
      }
      this.#failures = 0;
    } catch (error) {
      this.#failures++;
      again = true;
      log.warn('secrets.upkeep_failed', { error });
    } finally {
      this.#writing = false;
    }
    if (again) this.look(Math.min(LOOK_AFTER_MS * 2 ** Math.min(this.#failures, 10), RETRY_MS_MAX));
  }

  /** What this node has to write now; one thing at a time. */
  #next(): NamedChange[] {
    const { keyring, isCaughtUp } = this.#parts;
    const view = this.#parts.view();
    const own = view.nodes.get(keyring.self);
    if (own === undefined || !isCaughtUp()) return [];
    if (own.sealKey !== keyring.sealKey) {
      return [{ change: 'admitNode', node: own.id, name: own.name, sealKey: keyring.sealKey }];
    }
    const members = this.#parts.members();
    const alive = new Set(members.filter(({ isAlive }) => isAlive).map(({ id }) => id));
    alive.add(keyring.self);
    const made = keyToMake(view, alive, keyring.self);
    if (made !== undefined) return [made];
    const wraps = wrapsToWrite(view, alive, keyring);
    if (wraps.length > 0) return wraps;
    return this.#order(view, alive, members);
  }

  /** Seals anew what is not sealed with the newest key, then drops keys that nothing is sealed with. */
  #order(view: DesiredView, alive: ReadonlySet<NodeId>, members: readonly Member[]): NamedChange[] {
    const { keyring, nowMs } = this.#parts;
    const newest = [...view.keys.values()].at(-1);
    const key = newest === undefined ? undefined : keyring.keyOf(newest.id, view);
    if (newest === undefined || key === undefined || firstOf(alive, newest.wraps) !== keyring.self) return [];
    const isCalm = members.every(({ id, isAlive, agrees }) => id === keyring.self || (isAlive && agrees));
    this.#absentSinceMs = isCalm ? undefined : (this.#absentSinceMs ?? nowMs());
    const isWaiting = this.#absentSinceMs !== undefined && nowMs() - this.#absentSinceMs < ABSENT_WAITED_MS;
    if (isWaiting) return [];
    const state = `${key.id} ${this.#parts.heads().join(' ')}`;
    if (state !== this.#inOrder) {
      const secrets = this.#parts.secrets();
      const texts = textsToReseal(secrets, key, (id) => keyring.keyOf(id, view));
      if (texts.length > 0) return [{ change: 'reseal', texts }];
      this.#noteUnused(view, secrets);
      this.#inOrder = state;
    }
    const dropped = isCalm ? this.#unused(newest.id) : [];
    return dropped.length === 0 ? [] : [{ change: 'dropKeys', keys: dropped }];
  }

  #noteUnused(view: DesiredView, secrets: readonly SecretText[]): void {
    const used = new Set(secrets.map(({ text }) => sealedParts(text)?.keyId));
    for (const id of this.#unusedSinceMs.keys()) {
      if (used.has(id) || !view.keys.has(id)) this.#unusedSinceMs.delete(id);
    }
    for (const id of view.keys.keys()) {
      if (!used.has(id) && !this.#unusedSinceMs.has(id)) this.#unusedSinceMs.set(id, this.#parts.nowMs());
    }
  }

  #unused(newest: string): string[] {
    const nowMs = this.#parts.nowMs();
    return [...this.#unusedSinceMs]
      .filter(([id, sinceMs]) => id !== newest && nowMs - sinceMs >= UNUSED_KEPT_MS)
      .map(([id]) => id);
  }
}

/**
 * The first key of a cluster, once every node could have it; and a new one when the newest is known to a node that was
 * removed: by itself, by an older version, or on the other side of a partition.
 */
export function keyToMake(view: DesiredView, alive: ReadonlySet<NodeId>, self: NodeId): NamedChange | undefined {
  const newest = [...view.keys.values()].at(-1);
  const nodes = [...view.nodes.values()];
  if (newest === undefined) {
    const isFirst = nodes.find(({ id }) => alive.has(id))?.id === self;
    return isFirst && nodes.every(({ sealKey }) => sealKey !== undefined) ? newKeyFor(nodes) : undefined;
  }
  // Then old ones have to go first.
  if (view.keys.size >= KEYS_MAX) return undefined;
  const isKnownOutside = Object.keys(newest.wraps).some((node) => view.removedNodes.has(node as NodeId));
  if (!isKnownOutside || nodes.find(({ id, sealKey }) => alive.has(id) && sealKey !== undefined)?.id !== self) {
    return undefined;
  }
  return newKeyFor(nodes);
}

/** Keys that an admitted node lacks, of those that this node is the first to have. */
export function wrapsToWrite(view: DesiredView, alive: ReadonlySet<NodeId>, keyring: Keyring): NamedChange[] {
  const mine = [...view.keys].filter(([, key]) => firstOf(alive, key.wraps) === keyring.self);
  const ofMine: DesiredView = { ...view, keys: new Map(mine) };
  const changes: NamedChange[] = [];
  for (const node of view.nodes.values()) {
    if (changes.length >= NODES_PER_WRITE_MAX) break;
    changes.push(...wrapsFor(node, ofMine, keyring));
  }
  return changes;
}

/** The first that lives of the nodes that the key is wrapped to, in order of ids. */
const firstOf = (alive: ReadonlySet<NodeId>, wraps: Readonly<Record<string, string>>): NodeId | undefined =>
  [...alive].filter((id) => Object.hasOwn(wraps, id)).sort()[0];

/** As many as fit in one change. What cannot be opened here stays as it is: another node may have its key. */
export function textsToReseal(
  secrets: readonly SecretText[],
  key: ClusterKey,
  keyOf: (id: string) => ClusterKey | undefined,
): { context: string; from: string; to: string }[] {
  const texts: { context: string; from: string; to: string }[] = [];
  let bytes = 0;
  for (const { context, text } of secrets) {
    const sealedWith = sealedParts(text)?.keyId;
    if (sealedWith === key.id) continue;
    const plain = sealedWith === undefined ? text : openedOrNot(keyOf, context, text);
    if (plain === undefined) continue;
    const to = seal(key, context, plain);
    bytes += to.length;
    if (texts.length >= RESEALED_MAX || (bytes > RESEALED_BYTES_MAX && texts.length > 0)) break;
    texts.push({ context, from: text, to });
  }
  return texts;
}

function openedOrNot(keyOf: (id: string) => ClusterKey | undefined, context: string, text: string): string | undefined {
  try {
    return open(keyOf, context, text);
  } catch {
    return undefined;
  }
}
