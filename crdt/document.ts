// DesiredDocument: the Automerge document behind the desired state, as a value. Writing to it or receiving changes
// answers a new document and leaves the old one as it was, so that a caller can drop what it could not make durable.
// Synchronous, no I/O, no clock; where it is kept is store.ts.

import { createHash } from 'node:crypto';
import * as A from '@automerge/automerge';
import { changeOptions, describeChange, type HistoryChange, type HistoryEntry, readAuditMessage } from './audit.ts';
import type { ChangeAuthor, NamedChange } from './change.ts';
import { applyChange } from './changes.ts';
import { CHANGE_BYTES_MAX, changeHash, readChunk } from './chunk.ts';
import { type Draft, plainCopy, stored } from './draft.ts';
import { ChangeRejected, type Quarantined, RefusedChanges, reasonOf, StoreError } from './errors.ts';
import { asClusterId, type ClusterId } from './ids.ts';
import {
  byteLength,
  CLUSTER_NAME_LENGTH_MAX,
  domainProblem,
  ENV_VALUE_BYTES_MAX,
  idProblem,
  oneLine,
} from './limits.ts';
import { readView } from './read.ts';
import { field, integer, optionalText } from './read-values.ts';
import { type DesiredDoc, SCHEMA_VERSION } from './schema.ts';
import { schemaStepsOf } from './schema-steps.ts';
import { type Anchors, changeProblem, ROOT_MAPS } from './screen.ts';
import { type SecretText, secretsIn } from './secret-places.ts';
import { readSyncMessage } from './sync-message.ts';
import { validateChange } from './validate.ts';
import type { DesiredView } from './view.ts';

/** Named changes in one write. Each after the first costs a pass over the whole document. */
export const CHANGES_PER_WRITE_MAX = 50;
export const SNAPSHOT_BYTES_MAX = 64 * 1024 * 1024;
/** Changes that sync may leave waiting inside Automerge for one they depend on. */
const QUEUED_CHANGES_MAX = 2000;
const HISTORY_LIMIT_MAX = 10_000;

export type NewCluster = { clusterId: ClusterId; name: string; domain: string; author: ChangeAuthor };

export type Received = {
  /** The same document when nothing was added. */
  next: DesiredDocument;
  /** Bytes of the changes that are new, in causal order: what has to be made durable. */
  added: Uint8Array[];
  /** Sound changes that depend on one that is not here; not kept. */
  missing: Uint8Array[];
  quarantined: Quarantined[];
};

export type SyncState = A.SyncState;

export class DesiredDocument {
  readonly clusterId: ClusterId;
  /** Schema steps that were not in the bytes it was read from: they are to be made durable before anything else. */
  readonly stepsMade: readonly Uint8Array[];
  readonly #doc: A.Doc<DesiredDoc>;
  readonly #actor: string;
  readonly #anchors: Anchors;
  /** At most this many changes wait inside Automerge. */
  readonly #queued: number;
  #view: DesiredView | undefined;
  #heads: string[] | undefined;

  private constructor(
    doc: A.Doc<DesiredDoc>,
    made: { actor: string; anchors: Anchors; queued?: number; stepsMade?: readonly Uint8Array[] },
  ) {
    this.clusterId = asClusterId(optionalText(field(field(doc, 'cluster'), 'id')) ?? '');
    this.#doc = doc;
    this.#actor = made.actor;
    this.#queued = made.queued ?? 0;
    this.#anchors = made.anchors;
    this.stepsMade = made.stepsMade ?? [];
  }

  /** The document with every schema step that it lacks; takes `doc` over. */
  static #stepped(doc: A.Doc<DesiredDoc>, actor: string): DesiredDocument {
    const clusterObject = A.getObjectId(doc, 'cluster') ?? '';
    const steps = schemaStepsOf(A.getChangesMetaSince(doc, []), clusterObject);
    const lacking = steps.filter((step) => A.getMissingDeps(doc, [step.hash]).length > 0).map((step) => step.bytes);
    const [stepped] = lacking.length === 0 ? [doc] : A.applyChanges(doc, lacking);
    const anchors = { clusterObject, steps: new Set(steps.map((step) => step.hash)) };
    return new DesiredDocument(stepped, { actor, anchors, stepsMade: lacking });
  }

  /** What a change to this document leaves: of the same writer. */
  #with(doc: A.Doc<DesiredDoc>, queued = 0): DesiredDocument {
    return new DesiredDocument(doc, { actor: this.#actor, anchors: this.#anchors, queued });
  }

  /** The first change of a new cluster. Everyone else begins with a snapshot of it. */
  static create(cluster: NewCluster, actor: string): DesiredDocument {
    const { clusterId, name, domain, author } = cluster;
    const problem = domainProblem(domain);
    if (problem !== undefined) throw new ChangeRejected('invalid_name', `domain: ${problem}.`);
    if (idProblem(clusterId)) throw new ChangeRejected('invalid_id', 'cluster id: must be 16 bytes in hex.');
    const described = { change: 'createCluster', name: oneLine(name, CLUSTER_NAME_LENGTH_MAX) };
    const options = changeOptions(author, [described]);
    const doc = A.change(A.init<DesiredDoc>({ actor }), options, (draft) => {
      const root = draft as unknown as Record<string, unknown>;
      root.schemaVersion = SCHEMA_VERSION;
      for (const key of ROOT_MAPS) root[key] = {};
      root.cluster = stored({ id: clusterId, name: described.name, domain, createdAtMs: author.atMs });
    });
    return DesiredDocument.#stepped(doc, actor);
  }

  /** Fails with StoreError `corrupt`, `other_cluster`, `newer_version` or `too_large`. */
  static load(bytes: Uint8Array, options: { actor: string; clusterId?: ClusterId }): DesiredDocument {
    if (bytes.length > SNAPSHOT_BYTES_MAX) {
      throw new StoreError('too_large', `The snapshot of the desired state is beyond ${SNAPSHOT_BYTES_MAX} bytes.`);
    }
    let doc: A.Doc<DesiredDoc>;
    try {
      for (let at = 0; at < bytes.length; ) at += readChunk(bytes.subarray(at)).length;
      doc = A.load<DesiredDoc>(bytes, { actor: options.actor });
    } catch (cause) {
      throw new StoreError('corrupt', `The snapshot of the desired state cannot be read (${reasonOf(cause)}).`, {
        cause,
      });
    }
    const loaded = DesiredDocument.#stepped(doc, options.actor);
    if (loaded.clusterId === '') {
      throw new StoreError('corrupt', 'The snapshot is not a desired state: it names no cluster.');
    }
    if (options.clusterId !== undefined && loaded.clusterId !== options.clusterId) {
      throw new StoreError(
        'other_cluster',
        `The snapshot is of cluster ${loaded.clusterId}, not of ${options.clusterId}; use an invite of the right cluster.`,
      );
    }
    if (integer(field(doc, 'schemaVersion'), { default: 0 }) > SCHEMA_VERSION) {
      throw new StoreError(
        'newer_version',
        'The desired state was written by a newer version; install that version on this node.',
      );
    }
    return loaded;
  }

  /**
   * The document with changes that were in it before, as the log holds them. Fails with RangeError when they do not
   * fit.
   */
  replay(changes: readonly Uint8Array[]): DesiredDocument {
    const [doc] = A.applyChanges(A.clone(this.#doc, { actor: this.#actor }), [...changes]);
    if (A.getMissingDeps(doc, []).length > 0) throw new RangeError('a change before those in the log is missing');
    const replayed = new Set(changes.map((change) => changeHash(change)));
    const stepsMade = this.stepsMade.filter((step) => !replayed.has(changeHash(step)));
    return new DesiredDocument(doc, { actor: this.#actor, anchors: this.#anchors, stepsMade });
  }

  /** The same document; its next write is made under another writer's id. */
  withActor(actor: string): DesiredDocument {
    return new DesiredDocument(A.clone(this.#doc, { actor }), { actor, anchors: this.#anchors, queued: this.#queued });
  }

  view(): DesiredView {
    this.#view ??= readView(this.#doc);
    return this.#view;
  }

  /** Sorted. */
  heads(): string[] {
    this.#heads ??= A.getHeads(this.#doc).toSorted();
    return this.#heads;
  }

  has(heads: readonly string[]): boolean {
    if (!heads.every((head) => /^[0-9a-f]{64}$/.test(head))) return false;
    // hasHeads hands out every change it finds. The other question is cheaper, but takes what only waits in the queue
    // for known.
    return this.#queued > 0 ? A.hasHeads(this.#doc, [...heads]) : A.getMissingDeps(this.#doc, [...heads]).length === 0;
  }

  /** Bytes of every change that these points of the history do not hold, in causal order. The points must be known. */
  changesSince(heads: readonly string[]): Uint8Array[] {
    return A.getChangesSince(this.#doc, [...heads]);
  }

  /** Every secret that stands in it, sealed or in clear, also what is not in force; each once for its place. */
  secrets(): SecretText[] {
    return secretsIn(this.#doc);
  }

  save(): Uint8Array {
    return A.save(this.#doc);
  }

  /** Gives the memory back at once. The document and what came from it by sync must not be used again; views may. */
  free(): void {
    A.free(this.#doc);
  }

  /** Newest first; of one app or service when given. */
  history(limit: number, about?: string): HistoryEntry[] {
    const found: HistoryEntry[] = [];
    for (const meta of A.getChangesMetaSince(this.#doc, []).toReversed()) {
      if (found.length >= Math.min(limit, HISTORY_LIMIT_MAX)) break;
      // Nobody asked for a schema step.
      if (this.#anchors.steps.has(meta.hash)) continue;
      const entry = readAuditMessage(meta);
      const isAbout = ({ app, service }: HistoryChange): boolean => app === about || service === about;
      if (about === undefined || entry.changes.some(isAbout)) found.push(entry);
    }
    return found;
  }

  /** What the desired state was at a point of the history; undefined when the point is not known here. */
  viewAt(heads: readonly string[]): DesiredView | undefined {
    return this.has(heads) ? readView(A.view(this.#doc, [...heads])) : undefined;
  }

  /**
   * All changes as one Automerge change; undefined when they change nothing. Throws ChangeRejected for the first one
   * that is not allowed on top of those before it.
   */
  write(
    changes: readonly NamedChange[],
    author: ChangeAuthor,
  ): { next: DesiredDocument; added: Uint8Array } | undefined {
    const steps = this.#plan(changes, author);
    const options = changeOptions(
      author,
      steps.map((step) => step.described),
    );
    let doc = A.clone(this.#doc, { actor: this.#actor });
    try {
      doc = A.change(doc, options, (draft) => {
        for (const { change, view } of steps) applyChange(draft as Draft, change, author, view);
      });
    } catch (error) {
      A.free(doc);
      throw error;
    }
    const next = this.#with(doc, this.#queued);
    const [added] = A.getChangesSince(doc, this.heads());
    if (added === undefined) {
      next.free();
      return undefined;
    }
    if (added.length > CHANGE_BYTES_MAX) {
      next.free();
      throw new ChangeRejected(
        'too_large',
        `The change is ${added.length} bytes; at most ${CHANGE_BYTES_MAX} are allowed. Make it smaller, or split it.`,
      );
    }
    return { next, added };
  }

  /** Each change with the view it is allowed on, which holds the effects of those before it. */
  #plan(changes: readonly NamedChange[], author: ChangeAuthor) {
    if (changes.length === 0 || changes.length > CHANGES_PER_WRITE_MAX) {
      throw new ChangeRejected('limit_reached', `A write must hold 1 to ${CHANGES_PER_WRITE_MAX} changes.`);
    }
    const authorIsSound =
      typeof author.by === 'string' && author.by !== '' && byteLength(author.by) < ENV_VALUE_BYTES_MAX;
    if (!authorIsSound || !Number.isSafeInteger(author.atMs) || author.atMs < 0) {
      throw new ChangeRejected('invalid_change', 'A write must say who makes it, and when (ms since 1970).');
    }
    const steps: { change: NamedChange; view: DesiredView; described: HistoryChange }[] = [];
    let view = this.view();
    let draft: Draft | undefined;
    for (const [index, change] of changes.entries()) {
      validateChange(view, change, author);
      steps.push({ change, view, described: describeChange(change, view) });
      if (index === changes.length - 1) break;
      draft ??= plainCopy(this.#doc) as Draft;
      applyChange(draft, change, author, view);
      view = readView(draft);
    }
    return steps;
  }

  /** Changes of other nodes, in any order; how many is for the caller to bound. Never throws for what they hold. */
  receive(changes: readonly Uint8Array[]): Received {
    const quarantined: Quarantined[] = [];
    const sound = this.#sound(changes, quarantined);
    const { ready, missing } = this.#ordered(sound);
    let next: DesiredDocument = this;
    try {
      next = this.#applied(ready) ?? this;
    } catch {
      // One of them does not fit (it claims a place in its writer's sequence that is taken): find out which.
      next = this.#withoutQueue();
      const refused = new Set<string>();
      for (const change of ready) {
        if (change.deps.some((dep) => refused.has(dep))) {
          refused.add(change.hash);
          missing.push(change.bytes);
          continue;
        }
        const before = next;
        try {
          next = before.#applied([change]) ?? before;
        } catch (error) {
          refused.add(change.hash);
          quarantined.push({ hash: change.hash, reason: reasonOf(error), bytes: change.bytes });
        }
        if (next !== before) before.free();
      }
    }
    const added = A.getChangesSince(next.#doc, this.heads());
    if (added.length === 0 && next !== this) {
      next.free();
      next = this;
    }
    return { next, added, missing, quarantined };
  }

  generateSync(state: SyncState): { state: SyncState; message: Uint8Array | null } {
    const [nextState, message] = A.generateSyncMessage(this.#doc, state);
    return { state: nextState, message };
  }

  /** Throws StoreError `bad_message` or `too_large`. The state is undefined when the session cannot go on. */
  receiveSync(state: SyncState, message: Uint8Array): Received & { state: SyncState | undefined } {
    const changes = readSyncMessage(message);
    const quarantined: Quarantined[] = [];
    this.#sound(changes, quarantined);
    if (quarantined.length > 0) return { ...this.receive(changes), state: undefined };
    let nextState = state;
    let next: DesiredDocument | undefined;
    try {
      next = this.#extended((doc) => {
        const [received, after] = A.receiveSyncMessage(doc, state, message);
        nextState = after;
        return received;
      }, changes.length);
    } catch (error) {
      if (!(error instanceof RefusedChanges)) {
        throw new StoreError(
          'bad_message',
          `Another node sent a sync message that cannot be read (${reasonOf(error)}).`,
          {
            cause: error,
          },
        );
      }
      const rest = this.#withoutQueue().receive(error.sound);
      return { ...rest, quarantined: [...rest.quarantined, ...error.refused], state: undefined };
    }
    if (next === undefined) return { next: this, added: [], missing: [], quarantined: [], state: nextState };
    const added = A.getChangesSince(next.#doc, this.heads());
    return { next, added, missing: [], quarantined: [], state: nextState };
  }

  /** The changes that are new, whole and allowed, by hash; the others are added to `quarantined`. */
  #sound(changes: readonly Uint8Array[], quarantined: Quarantined[]): Map<string, SoundChange> {
    const sound = new Map<string, SoundChange>();
    for (const bytes of changes) {
      let hash: string | undefined;
      try {
        hash = changeHash(bytes);
        if (sound.has(hash) || A.hasHeads(this.#doc, [hash])) continue;
        const decoded = A.decodeChange(bytes);
        const problem = changeProblem(decoded, this.#anchors);
        if (problem === undefined) sound.set(hash, { hash, bytes, deps: decoded.deps });
        else quarantined.push({ hash, reason: problem, bytes });
      } catch (error) {
        quarantined.push({ hash: hash ?? sha256(bytes), reason: reasonOf(error), bytes });
      }
    }
    return sound;
  }

  /** In causal order, without those that wait for a change that is neither here nor among them. */
  #ordered(sound: ReadonlyMap<string, SoundChange>): { ready: SoundChange[]; missing: Uint8Array[] } {
    const ready = new Map<string, SoundChange>();
    let waiting = [...sound.values()];
    for (let progress = true; progress; ) {
      const rest: SoundChange[] = [];
      for (const change of waiting) {
        const fits = change.deps.every((dep) => ready.has(dep) || (!sound.has(dep) && A.hasHeads(this.#doc, [dep])));
        if (fits) ready.set(change.hash, change);
        else rest.push(change);
      }
      progress = rest.length < waiting.length;
      waiting = rest;
    }
    return { ready: [...ready.values()], missing: waiting.map((change) => change.bytes) };
  }

  #applied(changes: readonly SoundChange[]): DesiredDocument | undefined {
    if (changes.length === 0) return undefined;
    return this.#extended(
      (doc) =>
        A.applyChanges(
          doc,
          [...changes].map((change) => change.bytes),
        )[0],
    );
  }

  /**
   * A copy with something done to it; undefined when that left the document as it is. Throws what it threw, or
   * RefusedChanges when it brought in a change that is not allowed (from inside a saved document, or one that had
   * waited in Automerge's queue); the copy is gone then.
   */
  #extended(extend: (doc: A.Doc<DesiredDoc>) => A.Doc<DesiredDoc>, arriving = 0): DesiredDocument | undefined {
    let doc = A.clone(this.#doc, { actor: this.#actor });
    try {
      doc = extend(doc);
      const added = A.getChangesSince(doc, this.heads());
      const waits = A.getMissingDeps(doc, []).length > 0;
      // What came within a whole document is not counted in `arriving`.
      const queued = waits ? Math.max(this.#queued + Math.max(arriving - added.length, 0), 1) : 0;
      const refused: Quarantined[] = [];
      const sound = this.#sound(added, refused);
      if (refused.length > 0) {
        throw new RefusedChanges(
          [...sound.values()].map((change) => change.bytes),
          refused,
        );
      }
      const next = this.#with(doc, queued);
      if (queued <= QUEUED_CHANGES_MAX) {
        if (added.length > 0 || queued !== this.#queued) return next;
        A.free(doc);
        return undefined;
      }
      const shorter = next.#withoutQueue();
      next.free();
      return shorter;
    } catch (error) {
      A.free(doc);
      throw error;
    }
  }

  /** The same document, without the changes that wait inside Automerge: they come again by sync. */
  #withoutQueue(): DesiredDocument {
    const [doc] = A.applyChanges(A.init<DesiredDoc>({ actor: this.#actor }), A.getAllChanges(this.#doc));
    return this.#with(doc);
  }
}

type SoundChange = { hash: string; bytes: Uint8Array; deps: string[] };

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
