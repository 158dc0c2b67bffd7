// Anti-entropy: two nodes exchange the store's own sync messages over one stream, in turns, until neither has anything
// to say. Knows nothing of the bytes; whether a change is valid is the store's to decide.

import type { Connection, Stream } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Dialer } from './dialer.ts';
import { GossipError, reasonOf } from './errors.ts';
import { decodeJsonObject, encodeJson, StreamReader, type WaitOptions, writeFrame } from './frames.ts';
import {
  SYNC_BYTES_MAX,
  SYNC_FRAME_BYTES_MAX,
  SYNC_FRAME_TIMEOUT_MS,
  SYNC_ROUNDS_MAX,
  SYNC_TIMEOUT_MS,
} from './limits.ts';

/** One side of one exchange. */
export interface SyncSession {
  /** The next message for the other side; null when there is nothing to say until it answers. */
  generate(): Uint8Array | null;
  /**
   * Takes a message of the other side; resolves when what it brought is applied and on disk. Throws on a malformed
   * one.
   */
  receive(message: Uint8Array): Promise<{ applied: boolean }>;
}

/** The desired state as anti-entropy sees it. */
export interface SyncSource {
  beginSync(): SyncSession;
  heads(): string[];
  /** Whether every one of these heads is in the local history. */
  has(heads: string[]): boolean;
}

/**
 * Frames alternate, the initiator first. The first of each side holds its heads as JSON: equal heads end the exchange
 * there. Each later one holds a sync message, or nothing; it ends when both sides said nothing in a row.
 */
export class Sync {
  readonly #source: SyncSource;
  readonly #dialer: Dialer;
  readonly #protocol: string;
  readonly #log: Log;
  readonly #running = new Map<NodeId, { current: Promise<void>; next: Promise<void> | undefined }>();

  constructor(options: { source: SyncSource; dialer: Dialer; protocol: string; log: Log }) {
    this.#source = options.source;
    this.#dialer = options.dialer;
    this.#protocol = options.protocol;
    this.#log = options.log;
  }

  /**
   * One exchange at a time per node; a call during one waits for it and then runs one more, shared by all callers
   * in the meantime, so that what was written before the call is included.
   */
  run(node: NodeId): Promise<void> {
    const running = this.#running.get(node);
    if (running === undefined) return this.#begin(node);
    running.next ??= running.current.catch(() => undefined).then(() => this.#begin(node));
    return running.next;
  }

  #begin(node: NodeId): Promise<void> {
    const entry = { current: this.#initiate(node), next: undefined as Promise<void> | undefined };
    this.#running.set(node, entry);
    const done = (): void => {
      if (this.#running.get(node) === entry && entry.next === undefined) this.#running.delete(node);
    };
    entry.current.then(done, done);
    return entry.current;
  }

  async #initiate(node: NodeId): Promise<void> {
    const signal = AbortSignal.timeout(SYNC_TIMEOUT_MS);
    let stream: Stream | undefined;
    try {
      stream = await this.#dialer.openStream(node, this.#protocol, signal);
      await this.#exchange(stream, { initiator: true, node, signal });
      await stream.close({ signal });
    } catch (error) {
      stream?.abort(error as Error);
      if (error instanceof GossipError) throw error;
      throw new GossipError(signal.aborted ? 'timeout' : 'closed', `sync with node ${node}: ${reasonOf(error)}`, {
        cause: error,
      });
    }
  }

  /** The other side opened the stream. Never throws. */
  async serve(stream: Stream, connection: Connection): Promise<void> {
    const node = connection.remotePeer.toString() as NodeId;
    const signal = AbortSignal.timeout(SYNC_TIMEOUT_MS);
    try {
      await this.#exchange(stream, { initiator: false, node, signal });
      await stream.close({ signal });
    } catch (error) {
      this.#log.debug('gossip.sync_failed', { node, initiator: false, reason: reasonOf(error) });
      stream.abort(error as Error);
    }
  }

  async #exchange(
    stream: Stream,
    { initiator, node, signal }: { initiator: boolean; node: NodeId; signal: AbortSignal },
  ): Promise<void> {
    const reader = new StreamReader(stream);
    const wait: WaitOptions = { signal, timeoutMs: SYNC_FRAME_TIMEOUT_MS };
    let bytes = 0;
    const send = async (frame: Uint8Array): Promise<void> => {
      if (frame.byteLength > SYNC_FRAME_BYTES_MAX)
        throw new GossipError(
          'too_large',
          `a sync message of ${frame.byteLength} bytes is larger than the ${SYNC_FRAME_BYTES_MAX} that may be sent`,
        );
      bytes += frame.byteLength;
      await writeFrame(stream, frame, wait);
    };
    const receive = async (): Promise<Uint8Array> => {
      const frame = await reader.frame(SYNC_FRAME_BYTES_MAX, wait);
      if (frame === undefined) throw new GossipError('closed', 'the other side ended the exchange early');
      bytes += frame.byteLength;
      return frame;
    };

    // Read once: what is written here during the exchange is for the next one.
    const heads = this.#source.heads();
    const hello = encodeJson({ heads }, SYNC_FRAME_BYTES_MAX);
    if (initiator) await send(hello);
    const theirs = headsOf(await receive());
    if (!initiator) await send(hello);
    if (sameHeads(heads, theirs)) return;

    const session = this.#source.beginSync();
    let rounds = 0;
    let applied = false;
    let quiet = 0;
    let myTurn = initiator;
    while (quiet < 2) {
      if (++rounds > 2 * SYNC_ROUNDS_MAX)
        throw new GossipError('protocol', `no agreement after ${SYNC_ROUNDS_MAX} rounds`);
      if (bytes > SYNC_BYTES_MAX) throw new GossipError('too_large', `the exchange exceeded ${SYNC_BYTES_MAX} bytes`);
      const frame = myTurn ? (session.generate() ?? new Uint8Array(0)) : await receive();
      if (myTurn) await send(frame);
      else if (frame.byteLength > 0) applied = (await session.receive(frame)).applied || applied;
      quiet = frame.byteLength === 0 ? quiet + 1 : 0;
      myTurn = !myTurn;
    }
    this.#log.debug('gossip.synced', { node, initiator, rounds, bytes, applied });
    if (!this.#source.has(theirs))
      this.#log.warn('gossip.sync_incomplete', { node, reason: 'some of its changes were not accepted here' });
  }
}

function headsOf(frame: Uint8Array): string[] {
  const { heads } = decodeJsonObject(frame);
  if (!Array.isArray(heads) || !heads.every((head) => typeof head === 'string'))
    throw new GossipError('protocol', 'the other side sent no heads');
  return heads;
}

function sameHeads(a: readonly string[], b: readonly string[]): boolean {
  const set = new Set(a);
  return a.length === b.length && b.every((head) => set.has(head));
}
