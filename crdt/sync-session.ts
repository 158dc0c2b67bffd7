// One run of Automerge's sync protocol with one other node: keeps what is known of the other side between messages.
// Applies nothing itself, and never generates from what is not durable.

import { initSyncState } from '@automerge/automerge';
import type { SyncState } from './document.ts';
import { reasonOf, StoreError } from './errors.ts';

export type SyncResult = { applied: boolean; quarantined: { hash: string; reason: string }[] };

export interface SyncSession {
  /**
   * The next message for the other node. Null when there is nothing to say now: both sides null means they agree. Also
   * null while a `receive` is under way, and for good once the other node has sent a change that is refused.
   */
  generate(): Uint8Array | null;
  /**
   * Durable when it resolves. Fails with StoreError `bad_message`, `too_large`, or as `write` does; nothing changed
   * then.
   */
  receive(message: Uint8Array): Promise<SyncResult>;
  /** The other node has sent a change that is refused, so the two cannot come to agree. */
  readonly over: boolean;
}

export type SyncStore = {
  generate(state: SyncState): { state: SyncState; message: Uint8Array | null };
  /** Calls `read` when it is the message's turn, and `commit` with the new state once what it brought is on disk. */
  receive(
    read: () => SyncState,
    message: Uint8Array,
    commit: (state: SyncState | undefined) => void,
  ): Promise<SyncResult>;
};

export function startSync(store: SyncStore): SyncSession {
  /** Undefined once the session is over. */
  let state: SyncState | undefined = initSyncState();
  let receiving = 0;
  /** Messages of one session are taken in the order they came: each builds on the state that the one before left. */
  let turn: Promise<unknown> = Promise.resolve();

  const receiveInTurn = async (message: Uint8Array): Promise<SyncResult> => {
    const current = state;
    if (current === undefined) return { applied: false, quarantined: [] };
    return store.receive(
      () => current,
      message,
      (next) => {
        state = next;
      },
    );
  };

  return {
    get over() {
      return state === undefined;
    },

    generate() {
      if (state === undefined || receiving > 0) return null;
      try {
        const generated = store.generate(state);
        state = generated.state;
        return generated.message;
      } catch (cause) {
        if (cause instanceof StoreError) throw cause;
        state = undefined;
        throw new StoreError(
          'bad_message',
          `Sync with another node cannot go on (${reasonOf(cause)}); start it anew.`,
          {
            cause,
          },
        );
      }
    },

    async receive(message) {
      receiving += 1;
      const result = turn.then(() => receiveInTurn(message));
      turn = result.catch(() => {});
      try {
        return await result;
      } finally {
        receiving -= 1;
      }
    },
  };
}
