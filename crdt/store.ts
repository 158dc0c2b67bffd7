// DesiredStore: the desired state of one node, durable. Takes writes, changes and sync messages one after the other,
// makes each durable before it answers and before anyone sees it, and tells listeners. What changes mean is in
// document.ts, how they lie on disk in journal.ts.

import { randomBytes } from 'node:crypto';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { HistoryEntry } from './audit.ts';
import type { ChangeAuthor, NamedChange } from './change.ts';
import { changeHash } from './chunk.ts';
import { type Disk, realDisk } from './disk.ts';
import { DesiredDocument, type NewCluster } from './document.ts';
import { type Quarantined, reasonOf, StoreError } from './errors.ts';
import type { ClusterId } from './ids.ts';
import { corrupt, Journal, logPath } from './journal.ts';
import { Quarantine, type QuarantineEntry } from './quarantine.ts';
import type { SecretText } from './secret-places.ts';
import { type SyncSession, startSync } from './sync-session.ts';
import type { DesiredView } from './view.ts';

export type StoreLog = {
  info(event: string, fields?: object): void;
  warn(event: string, fields?: object): void;
};

export type StoreEnvironment = {
  disk?: Disk;
  log?: StoreLog;
  /** A fresh writer's id: 32 hex digits, never given before. */
  newActor?: () => string;
};

export type ReceiveResult = {
  /** Changes that are new here, those included that had waited for them. */
  applied: number;
  /** Some of the changes depend on one that is not here: run sync with whoever sent them. */
  missing: boolean;
  quarantined: { hash: string; reason: string }[];
};

/** Operations waiting; people make few, so this many mean a disk that hangs. */
const WAITING_MAX = 1000;
/** Operations made durable by one fsync. */
const BATCH_OPERATIONS_MAX = 64;
const BATCH_BYTES_MAX = 4 * 1024 * 1024;
/** Changes taken in one call of receive; what is beyond is fetched by sync, like what is missing. */
const CHANGES_PER_RECEIVE_MAX = 1000;
/** Changes kept in memory until the ones they depend on arrive. Lost at a restart; sync brings them again. */
const PENDING_CHANGES_MAX = 256;
const PENDING_BYTES_MAX = 4 * 1024 * 1024;

type Outcome = { next: DesiredDocument; added: Uint8Array[]; finish: () => void };
type Operation = { run: (document: DesiredDocument) => Outcome; fail: (error: unknown) => void };

/**
 * A writer's id must never be used for two different changes of one number, or replicas refuse each other's changes
 * for ever. A data directory may have been put back from a backup, so an id kept there could be behind what other
 * nodes have seen of it: every start takes a fresh one. It costs 16 bytes in the document for every start that writes
 * something.
 */
const randomActor = (): string => randomBytes(16).toString('hex');

export class DesiredStore {
  /** Bytes of a torn last write that were cut off when the store was opened. What they held was never acknowledged. */
  readonly tornBytes: number;
  readonly #journal: Journal;
  readonly #quarantine: Quarantine;
  readonly #log: StoreLog | undefined;
  readonly #newActor: () => string;
  readonly #listeners = new Set<() => void>();
  readonly #waiting: Operation[] = [];
  readonly #pending = new Map<string, Uint8Array>();
  /** What is on disk. The only document that anyone outside sees. */
  #document: DesiredDocument;
  /** Schema steps that are in the document and not on disk yet: what is written next depends on them. */
  #stepsMade: readonly Uint8Array[] = [];
  #drained: Promise<void> | undefined;
  #closed = false;

  private constructor(parts: {
    document: DesiredDocument;
    journal: Journal;
    quarantine: Quarantine;
    environment: StoreEnvironment;
    tornBytes: number;
  }) {
    this.#document = parts.document;
    this.#journal = parts.journal;
    this.#quarantine = parts.quarantine;
    this.#log = parts.environment.log;
    this.#newActor = parts.environment.newActor ?? randomActor;
    this.tornBytes = parts.tornBytes;
  }

  static exists(dir: string, environment: StoreEnvironment = {}): Promise<boolean> {
    return Journal.exists(environment.disk ?? realDisk, dir);
  }

  /** A new cluster. `changes` are in it from its first moment: a crash leaves either nothing or all of it. */
  static async create(
    dir: string,
    cluster: NewCluster & { changes?: readonly NamedChange[] },
    environment: StoreEnvironment = {},
  ): Promise<DesiredStore> {
    const disk = environment.disk ?? realDisk;
    let document = DesiredDocument.create(cluster, (environment.newActor ?? randomActor)());
    if (cluster.changes !== undefined && cluster.changes.length > 0) {
      document = document.write(cluster.changes, cluster.author)?.next ?? document;
    }
    const journal = await Journal.create(disk, dir, document.clusterId, document.save());
    const quarantine = await Quarantine.open(disk, dir);
    return new DesiredStore({ document, journal, quarantine, environment, tornBytes: 0 });
  }

  /**
   * Begins from another node's snapshot. Fails with StoreError `other_cluster`, `corrupt`, `newer_version`, `exists`…
   */
  static async join(
    dir: string,
    snapshot: Uint8Array,
    expectedClusterId: ClusterId,
    environment: StoreEnvironment = {},
  ): Promise<DesiredStore> {
    const disk = environment.disk ?? realDisk;
    const actor = (environment.newActor ?? randomActor)();
    const document = DesiredDocument.load(snapshot, { actor, clusterId: expectedClusterId });
    const journal = await Journal.create(disk, dir, document.clusterId, document.save());
    const quarantine = await Quarantine.open(disk, dir);
    return new DesiredStore({ document, journal, quarantine, environment, tornBytes: 0 });
  }

  /** Fails with StoreError `missing`, `corrupt`, `newer_version`, `other_cluster` or `disk_failed`. */
  static async open(dir: string, environment: StoreEnvironment = {}): Promise<DesiredStore> {
    const disk = environment.disk ?? realDisk;
    const { journal, clusterId, snapshot, changes, tornBytes } = await Journal.open(disk, dir);
    try {
      const actor = (environment.newActor ?? randomActor)();
      const base = DesiredDocument.load(snapshot, { actor, clusterId });
      const document = replayed(base, changes, dir);
      const quarantine = await Quarantine.open(disk, dir);
      if (tornBytes > 0) environment.log?.warn('desired.torn_write_cut', { dir, tornBytes });
      const store = new DesiredStore({ document, journal, quarantine, environment, tornBytes });
      store.#stepsMade = document.stepsMade;
      // A full disk must not keep a node from starting: the next write takes them along.
      await store.#append([]).catch((error: unknown) => {
        environment.log?.warn('desired.schema_step_not_saved', { reason: reasonOf(error) });
      });
      return store;
    } catch (error) {
      await journal.close();
      throw error;
    }
  }

  get clusterId(): ClusterId {
    return this.#document.clusterId;
  }

  view(): DesiredView {
    return this.#open().view();
  }

  /** Sorted. */
  heads(): string[] {
    return this.#open().heads();
  }

  /** Whether all these points of the history are known here, and on disk. */
  has(heads: readonly string[]): boolean {
    return this.#open().has(heads);
  }

  /** Newest first; of one app or service when given. */
  history(limit: number, about?: string): HistoryEntry[] {
    return this.#open().history(limit, about);
  }

  /** The desired state at an earlier point; undefined when that is not known here. */
  viewAt(heads: readonly string[]): DesiredView | undefined {
    return this.#open().viewAt(heads);
  }

  /** Every secret that stands in it, sealed or in clear. A walk over all of it. */
  secrets(): SecretText[] {
    return this.#open().secrets();
  }

  /** For a node that joins. */
  snapshot(): Uint8Array {
    return this.#open().save();
  }

  /** Changes that were refused since the data directory exists; `dropped` counts those beyond what is kept. */
  quarantined(): { entries: QuarantineEntry[]; dropped: number } {
    return this.#quarantine.list();
  }

  /** Called after every change of the heads, once it is on disk. Answers a function that ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * All or none, durable when it resolves; answers the bytes to tell other nodes, none when nothing had to change.
   * Throws ChangeRejected, or StoreError `disk_full`, `disk_failed`, `broken`, `busy` or `closed`; nothing changed
   * then.
   */
  write(changes: readonly NamedChange[], author: ChangeAuthor): Promise<Uint8Array[]> {
    return this.#perform((document) => {
      const written = document.write(changes, author);
      const added = written === undefined ? [] : [written.added];
      return { next: written?.next ?? document, added, result: added, commit: () => {} };
    });
  }

  /** Changes of other nodes. What was applied is durable when it resolves. Fails only for the disk, or when closed. */
  async receive(changes: readonly Uint8Array[]): Promise<ReceiveResult> {
    const result = await this.#perform((document) => {
      const given = new Set(changes.slice(0, CHANGES_PER_RECEIVE_MAX));
      const received = document.receive([...this.#pending.values(), ...given]);
      // A change that had been waiting before is known under its older copy; either way it is still missing something.
      const missing = given.size < changes.length || received.missing.some((change) => given.has(change));
      const outcome = { applied: received.added.length, missing, quarantined: received.quarantined };
      return { ...received, result: outcome, commit: () => this.#keepPending(received.missing) };
    });
    return { ...result, quarantined: await this.#report(result.quarantined) };
  }

  /**
   * Takes what another node's snapshot holds beyond this one. Fails as `join` and `receive` do; nothing is lost then.
   */
  async merge(snapshot: Uint8Array): Promise<void> {
    const other = DesiredDocument.load(snapshot, { actor: this.#newActor(), clusterId: this.clusterId });
    try {
      // In causal order, so that no part waits for a later one.
      const changes = other.changesSince([]);
      for (let from = 0; from < changes.length; from += CHANGES_PER_RECEIVE_MAX) {
        await this.receive(changes.slice(from, from + CHANGES_PER_RECEIVE_MAX));
      }
    } finally {
      other.free();
    }
  }

  /** Anti-entropy with one other node. Sessions of different nodes may run at once. */
  beginSync(): SyncSession {
    return startSync({
      generate: (state) => this.#open().generateSync(state),
      receive: async (read, message, commit) => {
        const result = await this.#perform((document) => {
          const received = document.receiveSync(read(), message);
          const rest = this.#pending.size > 0 ? received.next.receive([...this.#pending.values()]) : undefined;
          if (rest !== undefined && rest.next !== received.next && received.next !== document) received.next.free();
          return {
            next: rest?.next ?? received.next,
            added: [...received.added, ...(rest?.added ?? [])],
            result: { applied: received.added.length > 0, quarantined: received.quarantined },
            commit: () => {
              commit(received.state);
              if (rest !== undefined) this.#keepPending(rest.missing);
            },
          };
        });
        return { applied: result.applied, quarantined: await this.#report(result.quarantined) };
      },
    });
  }

  /**
   * Finishes what is waiting, then lets go of the files. Everything else fails with StoreError `closed` from then on.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    while (this.#drained !== undefined) await this.#drained;
    await this.#journal.close();
    this.#document.free();
  }

  #open(): DesiredDocument {
    if (this.#closed) throw new StoreError('closed', 'The desired state is closed: this node is stopping.');
    return this.#document;
  }

  /** Queues an operation; `commit` runs once what it added is on disk, just before its result is given. */
  #perform<R>(
    run: (document: DesiredDocument) => { next: DesiredDocument; added: Uint8Array[]; result: R; commit: () => void },
  ): Promise<R> {
    return new Promise<R>((resolve, reject) => {
      this.#open();
      if (this.#waiting.length >= WAITING_MAX) {
        throw new StoreError('busy', 'Too many changes are waiting for the disk of this node; try again in a moment.');
      }
      this.#waiting.push({
        run: (document) => {
          const { next, added, result, commit } = run(document);
          const finish = () => {
            commit();
            resolve(result);
          };
          return { next, added, finish };
        },
        fail: reject,
      });
      this.#drained ??= this.#drain();
    });
  }

  async #drain(): Promise<void> {
    try {
      // What is asked for in this turn shares an fsync.
      await nextTurn();
      while (this.#waiting.length > 0) {
        await this.#commitBatch();
        await this.#foldIfDue();
      }
    } finally {
      // In the same step as the last look at the queue: what is queued after it starts another drain.
      this.#drained = undefined;
    }
  }

  async #commitBatch(): Promise<void> {
    const before = this.#document;
    let working = before;
    const done: { operation: Operation; outcome: Outcome }[] = [];
    const added: Uint8Array[] = [];
    let addedBytes = 0;
    for (let count = 0; count < BATCH_OPERATIONS_MAX && addedBytes < BATCH_BYTES_MAX; count++) {
      const operation = this.#waiting.shift();
      if (operation === undefined) break;
      try {
        const outcome = operation.run(working);
        if (outcome.next !== working && working !== before) working.free();
        working = outcome.next;
        done.push({ operation, outcome });
        added.push(...outcome.added);
        addedBytes += outcome.added.reduce((sum, change) => sum + change.length, 0);
      } catch (error) {
        operation.fail(error);
      }
      if (this.#waiting.length > 0) await nextTurn();
    }
    try {
      if (added.length > 0) await this.#append(added);
    } catch (error) {
      if (working !== before) working.free();
      // The id has been used for what failed. Should a copy of it turn up after all, it must not clash with the next
      // write.
      this.#document = before.withActor(this.#newActor());
      before.free();
      for (const { operation } of done) operation.fail(error);
      return;
    }
    this.#document = working;
    const changed = working.heads().join() !== before.heads().join();
    if (working !== before) before.free();
    for (const { outcome } of done) outcome.finish();
    if (changed) this.#tell();
  }

  /** Makes changes durable, behind what they depend on. */
  async #append(added: readonly Uint8Array[]): Promise<void> {
    const changes = [...this.#stepsMade, ...added];
    if (changes.length > 0) await this.#journal.append(changes);
    this.#stepsMade = [];
  }

  async #foldIfDue(): Promise<void> {
    if (!this.#journal.shouldFold) return;
    try {
      await this.#journal.fold(this.#document.save());
    } catch (error) {
      this.#log?.warn('desired.fold_failed', { reason: reasonOf(error) });
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) {
      try {
        listener();
      } catch (error) {
        this.#log?.warn('desired.listener_failed', { reason: reasonOf(error) });
      }
    }
  }

  #keepPending(missing: readonly Uint8Array[]): void {
    this.#pending.clear();
    let keptBytes = 0;
    // The newest are kept: the older ones have been waited for longest, and sync knows them all.
    for (const change of missing.toReversed()) {
      keptBytes += change.length;
      if (this.#pending.size >= PENDING_CHANGES_MAX || keptBytes > PENDING_BYTES_MAX) break;
      this.#pending.set(changeHash(change), change);
    }
  }

  async #report(refused: readonly Quarantined[]): Promise<{ hash: string; reason: string }[]> {
    for (const { hash, reason } of this.#quarantine.add(refused)) {
      this.#log?.warn('desired.change_quarantined', { hash, reason });
    }
    await this.#quarantine.save().catch((error: unknown) => {
      this.#log?.warn('desired.quarantine_not_saved', { reason: reasonOf(error) });
    });
    return refused.map(({ hash, reason }) => ({ hash, reason }));
  }
}

function replayed(base: DesiredDocument, changes: readonly Uint8Array[], dir: string): DesiredDocument {
  if (changes.length === 0) return base;
  try {
    return base.replay(changes);
  } catch (error) {
    throw corrupt(dir, logPath(dir), error);
  }
}
