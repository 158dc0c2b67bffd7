// Content of one kind that several nodes hold: this node's own, what others have, and how it comes from one to
// another. What is in it, when it is made and how much of it is kept is for whoever asks (services, volumes).

import type { Digest, NodeId } from '../../crdt/ids.ts';
import { rendezvousWeights } from '../core/hash.ts';
import type { Log } from '../lib/log.ts';
import type { BlobExchange, BlobStore, Room } from '../ports/blobs.ts';
import type { Copies, CopyEntry, Held } from '../ports/copies.ts';
import type { CopyMethods } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import { CopyIndex } from './copy-index.ts';

/** Holders of each piece, the node that made it included; all that have room where those are fewer. */
const HOLDERS_WANTED = 3;

class CopyUnavailable extends Error {
  readonly code = 'unavailable';
}

export type CopyKind<Entry, Owner extends string> = {
  /** In the file `path`, at most so many of it here. */
  path: string;
  max: number;
  methods: CopyMethods<Entry, Owner>;
  ownerOf(entry: Entry): Owner;
  /** What is known of a piece by one node, with what another knows of it. Absent: what is heard last. */
  merge?(heard: Entry, known: Entry): Entry;
};

export type CopiesParts = {
  self: NodeId;
  blobs: Pick<BlobStore, 'has'>;
  exchange: BlobExchange;
  room: () => Room;
  gossip: Pick<Gossip, 'handle' | 'request'>;
  aliveOthers: () => NodeId[];
  log: Log;
};

/** Of this node. What it holds already is known when it resolves. */
export async function openCopies<Entry extends CopyEntry, Owner extends string>(
  kind: CopyKind<Entry, Owner>,
  parts: CopiesParts,
): Promise<Copies<Entry, Owner>> {
  const { path, max, methods } = kind;
  const index = new CopyIndex<Entry>({ path, max, schema: methods.entry, log: parts.log });
  await index.open();
  return new SharedCopies(kind, parts, index);
}

class SharedCopies<Entry extends CopyEntry, Owner extends string> implements Copies<Entry, Owner> {
  readonly holdersWanted = HOLDERS_WANTED;
  readonly #kind: CopyKind<Entry, Owner>;
  readonly #parts: CopiesParts;
  readonly #index: CopyIndex<Entry>;

  constructor(kind: CopyKind<Entry, Owner>, parts: CopiesParts, index: CopyIndex<Entry>) {
    this.#kind = kind;
    this.#parts = parts;
    this.#index = index;
    const { held, hold } = kind.methods;
    parts.gossip.handle(held, async ({ owner }) => this.here(owner));
    parts.gossip.handle(hold, async (entry, from, signal) => {
      await this.bring(entry, [from], signal);
      await this.keep(entry);
      return { held: true };
    });
  }

  here(owner?: Owner): Entry[] {
    const all = this.#index.list();
    return owner === undefined ? all : all.filter((entry) => this.#kind.ownerOf(entry) === owner);
  }

  async list(owner: Owner | undefined): Promise<Held<Entry>[]> {
    return (await this.ask(owner)).held;
  }

  async ask(owner: Owner | undefined): Promise<{ held: Held<Entry>[]; answered: NodeId[] }> {
    const { self, aliveOthers, gossip } = this.#parts;
    const { held } = this.#kind.methods;
    const answers = await Promise.all([
      { node: self, entries: this.here(owner) },
      ...aliveOthers().map(async (node) => ({
        node,
        entries: await gossip.request(node, held, owner === undefined ? {} : { owner }).catch(() => undefined),
      })),
    ]);
    const found = new Map<string, Held<Entry>>();
    for (const { node, entries } of answers) {
      for (const entry of entries ?? []) {
        const known = found.get(entry.id);
        const merged = known === undefined ? entry : this.#merge(entry, known);
        found.set(entry.id, { ...merged, holders: [...(known?.holders ?? []), node] });
      }
    }
    return {
      held: [...found.values()].sort((a, b) => b.takenAtMs - a.takenAtMs),
      answered: answers.filter(({ entries }) => entries !== undefined).map(({ node }) => node),
    };
  }

  isSpread(holders: readonly NodeId[]): boolean {
    return holders.length >= Math.min(HOLDERS_WANTED, this.#parts.aliveOthers().length + 1);
  }

  digests(): Set<Digest> {
    return this.#index.digests();
  }

  keep(entry: Entry): Promise<void> {
    const known = this.#index.get(entry.id);
    return this.#index.keep(known === undefined ? entry : this.#merge(entry, known));
  }

  forget(ids: readonly string[]): Promise<void> {
    return this.#index.forget(ids);
  }

  async bring(entry: Entry, holders: readonly NodeId[], signal: AbortSignal): Promise<void> {
    const { blobs, exchange, self, room } = this.#parts;
    if (blobs.has(entry.digest)) return;
    const others = holders.filter((node) => node !== self);
    if (others.length === 0) throw new CopyUnavailable(`no node that answers holds ${entry.id}: see peer nodes`);
    await exchange.fetch(entry.digest, { sizeBytesMax: entry.sizeBytes, holders: others, room: room(), signal });
  }

  async give(entry: Entry, node: NodeId, signal?: AbortSignal): Promise<void> {
    const { gossip } = this.#parts;
    await gossip.request(node, this.#kind.methods.hold, entry, signal === undefined ? {} : { signal });
  }

  async share(
    entry: Entry,
    { held = [], signal }: { held?: readonly NodeId[]; signal?: AbortSignal } = {},
  ): Promise<NodeId[]> {
    const { aliveOthers, self, log } = this.#parts;
    await this.keep(entry);
    const holders = [self, ...held.filter((node) => node !== self)];
    // The same nodes for all of one owner: they have most of the chunks already.
    const weight = rendezvousWeights(this.#kind.ownerOf(entry));
    const others = aliveOthers().filter((node) => !holders.includes(node));
    for (const node of others.sort((a, b) => weight(b) - weight(a))) {
      if (holders.length >= HOLDERS_WANTED) break;
      try {
        await this.give(entry, node, signal);
        holders.push(node);
      } catch (error) {
        log.warn('copies.not_held', { node, id: entry.id, error });
      }
    }
    return holders;
  }

  async spread(held: readonly Held<Entry>[], signal: AbortSignal): Promise<boolean> {
    let isDone = true;
    for (const { holders, ...rest } of held) {
      if (signal.aborted) return false;
      if (this.isSpread(holders)) continue;
      // Without the holders it is what it was made of.
      const entry = rest as unknown as Entry;
      try {
        await this.bring(entry, holders, signal);
        isDone = this.isSpread(await this.share(entry, { held: holders, signal })) && isDone;
      } catch (error) {
        isDone = false;
        if (!signal.aborted) this.#parts.log.warn('copies.not_spread', { id: entry.id, error });
      }
    }
    return isDone;
  }

  #merge(heard: Entry, known: Entry): Entry {
    return this.#kind.merge?.(heard, known) ?? heard;
  }
}
