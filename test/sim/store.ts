// Twin of crdt/store.ts: the real document on the disk twin. One operation at a time; what it changed is seen by
// anyone only once it is durable. The bytes on disk are the real ones (crdt/frames.ts), so a torn write is recovered
// by the real reader.

import { initSyncState } from '@automerge/automerge';
import type { ChangeAuthor, NamedChange } from '../../crdt/change.ts';
import { changeHash } from '../../crdt/chunk.ts';
import { DesiredDocument, type SyncState } from '../../crdt/document.ts';
import { encodeFrame, encodeSnapshot, readFrames, readSnapshot } from '../../crdt/frames.ts';
import type { ClusterId } from '../../crdt/ids.ts';
import type { SimDisk } from './disk.ts';

const SNAPSHOT = 'desired.snapshot';
const LOG = 'desired.log';
const KIND = 'PEERSNAP';
/** Changes kept that wait for one they depend on. */
const PENDING_MAX = 200;

type Outcome = { next: DesiredDocument; added: Uint8Array[]; done: () => void };
type Operation = { run: (document: DesiredDocument) => Outcome; fail: (error: unknown) => void };

export type StoreHost = {
  disk: SimDisk;
  /** Calls back after the time that an fsync takes now; never when the daemon has ended meanwhile. */
  synced: (then: () => void) => void;
  newActor: () => string;
  /** Heads have changed, durably. */
  changed: () => void;
};

export class SimStore {
  #document: DesiredDocument;
  readonly #host: StoreHost;
  #end: number;
  readonly #waiting: Operation[] = [];
  #busy = false;
  readonly #pending = new Map<string, Uint8Array>();

  private constructor(document: DesiredDocument, host: StoreHost, end: number) {
    this.#document = document;
    this.#host = host;
    this.#end = end;
  }

  static install(disk: SimDisk, clusterId: ClusterId, snapshot: Uint8Array): void {
    disk.writeSynced(SNAPSHOT, encodeSnapshot(KIND, clusterId, snapshot));
    disk.writeSynced(LOG, new Uint8Array(0));
  }

  /** Recovers from what the disk holds. */
  static open(host: StoreHost): SimStore {
    const { document: snapshot } = readSnapshot(KIND, host.disk.read(SNAPSHOT)!);
    const { changes, end } = readFrames(host.disk.read(LOG)!, 0);
    host.disk.truncate(LOG, end);
    const base = DesiredDocument.load(snapshot, { actor: host.newActor() });
    const document = changes.length === 0 ? base : base.replay(changes);
    if (document !== base) base.free();
    return new SimStore(document, host, end);
  }

  get document(): DesiredDocument {
    return this.#document;
  }

  /** `done` gets the bytes of the new change, with its hash; none when nothing had to change. */
  write(
    changes: NamedChange[],
    author: ChangeAuthor,
    done: (written: { hash: string; bytes: Uint8Array } | undefined) => void,
    fail: (error: unknown) => void,
  ): void {
    this.#perform({
      fail,
      run: (document) => {
        const written = document.write(changes, author);
        if (written === undefined) return { next: document, added: [], done: () => done(undefined) };
        const { next, added } = written;
        return { next, added: [added], done: () => done({ hash: changeHash(added), bytes: added }) };
      },
    });
  }

  receive(changes: readonly Uint8Array[], done: (result: { missing: boolean }) => void, fail: () => void): void {
    this.#perform({
      fail,
      run: (document) => {
        const given = new Set(changes);
        const received = document.receive([...this.#pending.values(), ...given]);
        const missing = received.missing.some((change) => given.has(change));
        return {
          next: received.next,
          added: received.added,
          done: () => {
            this.#keepPending(received.missing);
            done({ missing });
          },
        };
      },
    });
  }

  /** One side of an anti-entropy exchange. */
  beginSync() {
    let state: SyncState | undefined = initSyncState();
    return {
      generate: (): Uint8Array | null => {
        if (state === undefined) return null;
        const generated = this.#document.generateSync(state);
        state = generated.state;
        return generated.message;
      },
      receive: (message: Uint8Array, done: () => void, fail: () => void): void => {
        const current = state;
        if (current === undefined) {
          done();
          return;
        }
        this.#perform({
          fail,
          run: (document) => {
            const received = document.receiveSync(current, message);
            return {
              next: received.next,
              added: received.added,
              done: () => {
                state = received.state;
                done();
              },
            };
          },
        });
      },
    };
  }

  close(): void {
    this.#waiting.length = 0;
    this.#document.free();
  }

  #perform(operation: Operation): void {
    this.#waiting.push(operation);
    if (!this.#busy) this.#next();
  }

  #next(): void {
    const operation = this.#waiting.shift();
    this.#busy = operation !== undefined;
    if (operation === undefined) return;
    let outcome: Outcome;
    try {
      outcome = operation.run(this.#document);
    } catch (error) {
      operation.fail(error);
      this.#next();
      return;
    }
    if (outcome.added.length === 0) {
      this.#commit(outcome);
      return;
    }
    const frame = encodeFrame(outcome.added);
    this.#host.disk.beginAppend(LOG, frame, this.#end);
    this.#host.synced(() => {
      try {
        this.#host.disk.endAppend();
      } catch (error) {
        this.#host.disk.truncate(LOG, this.#end);
        this.#undo(outcome, operation, error);
        return;
      }
      this.#end += frame.length;
      this.#commit(outcome);
    });
  }

  #commit(outcome: Outcome): void {
    const before = this.#document;
    this.#document = outcome.next;
    const changed = outcome.added.length > 0;
    if (outcome.next !== before) before.free();
    outcome.done();
    if (changed) this.#host.changed();
    this.#next();
  }

  /** The writer's id has been used for what failed: the next write needs another. */
  #undo(outcome: Outcome, operation: Operation, error: unknown): void {
    const before = this.#document;
    if (outcome.next !== before) outcome.next.free();
    this.#document = before.withActor(this.#host.newActor());
    before.free();
    operation.fail(error);
    this.#next();
  }

  #keepPending(missing: readonly Uint8Array[]): void {
    this.#pending.clear();
    for (const change of missing.slice(-PENDING_MAX)) this.#pending.set(changeHash(change), change);
  }
}
