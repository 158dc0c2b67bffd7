// Remembers how other nodes can be reached, in memory and in `<dataDir>/peers.json`, so that a restarted node finds
// its cluster again without being told. Bounded; decides which addresses are kept and in which order they are tried.

import { open } from 'node:fs/promises';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import { dialableAddress } from './addresses.ts';
import { reasonOf } from './errors.ts';
import {
  ADDRESS_BOOK_BYTES_MAX,
  ADDRESS_BOOK_NODES_MAX,
  ADDRESS_BOOK_SAVE_DELAY_MS,
  ADDRESSES_DISCOVERED_MAX,
  ADDRESSES_PER_NODE_MAX,
} from './limits.ts';

/** `told`: by the node itself or an invite. `discovered`: announced on the local network by anyone. */
export type AddressSource = 'told' | 'discovered';

/** `proven`: the node answered there when it was dialled last. */
type Entry = { address: string; source: AddressSource; proven?: boolean };

export class AddressBook {
  readonly #path: string;
  readonly #log: Log;
  /** Per node, the best address first. Nodes in the order they were last heard of, the oldest first. */
  readonly #entries = new Map<NodeId, Entry[]>();
  #timer: NodeJS.Timeout | undefined;
  #saving: Promise<void> = Promise.resolve();

  constructor(dataDir: string, log: Log) {
    this.#path = join(dataDir, 'peers.json');
    this.#log = log;
  }

  /** A missing or damaged file means an empty book: reports and invites fill it again. */
  async load(): Promise<void> {
    try {
      const stored: unknown = JSON.parse(await readBounded(this.#path));
      const nodes = (stored as { nodes?: unknown } | null)?.nodes;
      if (typeof nodes !== 'object' || nodes === null) return;
      for (const [node, addresses] of Object.entries(nodes).slice(0, ADDRESS_BOOK_NODES_MAX)) {
        if (!Array.isArray(addresses)) continue;
        this.#merge(
          node as NodeId,
          addresses.filter((a) => typeof a === 'string'),
          'told',
        );
        // The first one of the file was the best one when it was written.
        const [first] = this.#entries.get(node as NodeId) ?? [];
        if (first !== undefined) first.proven = true;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      this.#log.warn('gossip.address_book_unreadable', { path: this.#path, reason: reasonOf(error) });
    }
  }

  /** Best first. */
  addresses(node: NodeId): string[] {
    return (this.#entries.get(node) ?? []).map((entry) => entry.address);
  }

  /** True when an address was new. */
  learn(node: NodeId, addresses: readonly string[], source: AddressSource): boolean {
    const changed = this.#merge(node, addresses, source);
    if (changed) this.#saveSoon();
    return changed;
  }

  /** The node answered there with its own identity: tried first from now on. */
  confirm(node: NodeId, address: string): void {
    const bare = dialableAddress(address, node);
    const entries = this.#entries.get(node);
    if (bare === undefined || entries === undefined) return;
    const others = entries.filter((entry) => entry.address !== bare);
    if (others.length === entries.length) return;
    const wasFirst = entries[0]?.address === bare;
    for (const other of others) delete other.proven;
    this.#entries.set(node, [
      { address: bare, source: wasFirst ? entries[0]!.source : 'told', proven: true },
      ...others,
    ]);
    if (!wasFirst) this.#saveSoon();
  }

  /**
   * No address of the node answered in time: the one that was tried first is tried last from now on, and what is
   * newest first.
   */
  failed(node: NodeId): void {
    const [first, ...others] = this.#entries.get(node) ?? [];
    if (first === undefined) return;
    delete first.proven;
    this.#entries.set(node, [...others, first]);
  }

  forget(node: NodeId): void {
    if (this.#entries.delete(node)) this.#saveSoon();
  }

  /** Writes what is not written yet. */
  async flush(): Promise<void> {
    if (this.#timer !== undefined) {
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#save();
    }
    await this.#saving;
  }

  #merge(node: NodeId, addresses: readonly string[], source: AddressSource): boolean {
    const known = this.#entries.get(node) ?? [];
    const fresh: Entry[] = [];
    for (const address of addresses.slice(0, 4 * ADDRESSES_PER_NODE_MAX)) {
      // Most are known: every report repeats them.
      const stripped = address.split('/p2p/')[0];
      if (known.some((entry) => entry.address === stripped && entry.source === 'told')) continue;
      const bare = dialableAddress(address, node);
      if (bare === undefined || fresh.some((entry) => entry.address === bare)) continue;
      const existing = known.find((entry) => entry.address === bare);
      if (existing === undefined) fresh.push({ address: bare, source });
      else if (source === 'told') existing.source = 'told';
    }
    if (fresh.length === 0) return false;
    // The proven one stays first while it answers, then what is newest: a node that moved says so in its next report.
    const proven = known.filter((entry) => entry.proven);
    const order = [...proven, ...fresh, ...known.filter((entry) => !entry.proven)];
    const told = order.filter((entry) => entry.source === 'told');
    const discovered = order.filter((entry) => entry.source === 'discovered').slice(0, ADDRESSES_DISCOVERED_MAX);
    const kept = [...told.slice(0, ADDRESSES_PER_NODE_MAX - discovered.length), ...discovered];
    this.#entries.delete(node);
    this.#entries.set(node, kept);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= ADDRESS_BOOK_NODES_MAX) break;
      this.#entries.delete(oldest);
    }
    return kept.some((entry) => fresh.includes(entry));
  }

  #saveSoon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#save();
    }, ADDRESS_BOOK_SAVE_DELAY_MS).unref();
  }

  #save(): void {
    const nodes = Object.fromEntries([...this.#entries.keys()].map((node) => [node, this.addresses(node)]));
    const text = `${JSON.stringify({ nodes }, null, 2)}\n`;
    this.#saving = this.#saving
      .then(() => writeFileAtomic(this.#path, text, { mode: 0o600 }))
      .catch((error: unknown) =>
        this.#log.warn('gossip.address_book_not_saved', { path: this.#path, reason: reasonOf(error) }),
      );
  }
}

async function readBounded(path: string): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size > ADDRESS_BOOK_BYTES_MAX) throw new Error(`larger than ${ADDRESS_BOOK_BYTES_MAX} bytes`);
    return await file.readFile('utf8');
  } finally {
    await file.close();
  }
}
