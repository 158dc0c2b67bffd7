// Port of copies: content that several nodes hold, and what is known of each piece beside it. Backups and snapshots
// are kept so; nothing of it is desired state. Types only; each says what it guarantees and how it fails.

import type { Digest, NodeId } from '../../crdt/ids.ts';

/** What every piece says of itself. */
export type CopyEntry = {
  /** For people to name it by. */
  id: string;
  digest: Digest;
  sizeBytes: number;
  /** By the clock of the node that made it. */
  takenAtMs: number;
};

export type Held<Entry> = Entry & { holders: NodeId[] };

/** `Owner`: whose they are, the service's or the volume's id. */
export interface Copies<Entry extends CopyEntry, Owner extends string> {
  /** Of this node, newest first. */
  here(owner?: Owner): Entry[];
  /** From every node that answers, newest first. */
  list(owner: Owner | undefined): Promise<Held<Entry>[]>;
  /** The same, and who answered, this node included: what another holds is not known otherwise. */
  ask(owner: Owner | undefined): Promise<{ held: Held<Entry>[]; answered: NodeId[] }>;
  /** By how many nodes each piece is to be held, where there are so many. */
  readonly holdersWanted: number;
  /** Whether so many hold it as are to, as far as can be now. */
  isSpread(holders: readonly NodeId[]): boolean;
  /** Content that this node is to keep. */
  digests(): Set<Digest>;
  /** Its content is here. On disk when it resolves. */
  keep(entry: Entry): Promise<void>;
  /** Content goes as garbage later. */
  forget(ids: readonly string[]): Promise<void>;
  /** Makes sure that the content is here. Fails with the code `unavailable` when nobody is known to hold it. */
  bring(entry: Entry, holders: readonly NodeId[], signal: AbortSignal): Promise<void>;
  /** Has the node hold it, too; it fetches the content from here. */
  give(entry: Entry, node: NodeId, signal?: AbortSignal): Promise<void>;
  /**
   * Keeps it here, and asks other nodes to, beside those that are known to hold it, until three do, or all that can;
   * answers who does.
   */
  share(entry: Entry, options?: { held?: readonly NodeId[]; signal?: AbortSignal }): Promise<NodeId[]>;
  /**
   * Has those that too few nodes hold, as some may have died since, held by more. Never fails: answers whether all are
   * held by as many as are to, as far as can be now.
   */
  spread(held: readonly Held<Entry>[], signal: AbortSignal): Promise<boolean>;
}
