// Hands out unprivileged host user ids, so that no two live sandboxes of a node share one. Pure bookkeeping; creates
// no users.

import { createHash } from 'node:crypto';
import { RuntimeError } from '../errors.ts';

/**
 * systemd's table of id ranges has nothing between here and the last block, and neither have /etc/subuid's defaults.
 * Several nodes on one machine (a test cluster) get different blocks by their id.
 * @see https://systemd.io/UIDS-GIDS/
 */
const UID_BASE = 1_880_000_000;
const BLOCKS = 200_000;
/** Ids of one node: one for staging, then those of instances, then those of volumes. */
export const UIDS_PER_NODE = 1_000;
const VOLUME_UIDS_PER_NODE = 400;

/** First id of the node's block. */
export function uidBlock(node: string): number {
  const hash = createHash('sha256').update(node).digest().readUInt32BE(0);
  return UID_BASE + (hash % BLOCKS) * UIDS_PER_NODE;
}

/**
 * Users that own files of volumes, and that instances with volumes run as. Apart from those of other instances: an
 * instance that got the id of a volume by chance would own its files.
 */
export function volumeUids(node: string): { first: number; count: number } {
  return { first: uidBlock(node) + UIDS_PER_NODE - VOLUME_UIDS_PER_NODE, count: VOLUME_UIDS_PER_NODE };
}

export class UserPool {
  readonly stagingUid: number;
  readonly #first: number;
  /** The first that is no instance's. */
  readonly #end: number;
  readonly #taken = new Set<number>();

  constructor(node: string) {
    this.stagingUid = uidBlock(node);
    this.#first = this.stagingUid + 1;
    this.#end = volumeUids(node).first;
  }

  take(): number {
    for (let uid = this.#first; uid < this.#end; uid++) {
      if (this.#taken.has(uid)) continue;
      this.#taken.add(uid);
      return uid;
    }
    throw new RuntimeError('no_free_user', `all ${this.#end - this.#first} users for instances are taken on this node`);
  }

  /** Marks an id that an adopted instance holds. */
  hold(uid: number): void {
    this.#taken.add(uid);
  }

  release(uid: number): void {
    this.#taken.delete(uid);
  }
}
