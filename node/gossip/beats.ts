// Reports straight to the neighbours they are for, over one stream to each that stays open: nobody passes them on,
// nobody signs them (the connection knows who speaks), and none waits behind another. What they say is judged
// elsewhere (topics.ts).

import type { Connection, Stream } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Connections } from './connections.ts';
import type { Dialer } from './dialer.ts';
import { GossipError, reasonOf } from './errors.ts';
import { frameOf, StreamReader } from './frames.ts';
import { BEAT_BYTES_MAX, BEAT_SILENCE_MAX_MS, BEATS_WAITING_MAX, STREAM_OPEN_TIMEOUT_MS } from './limits.ts';

export class Beats {
  readonly #connections: Connections;
  readonly #dialer: Dialer;
  readonly #protocol: string;
  readonly #log: Log;
  readonly #received: (frame: Uint8Array, from: NodeId) => void;
  readonly #streams = new Map<NodeId, Stream>();
  /** While a stream is being opened: what goes first over it, at most BEATS_WAITING_MAX. */
  readonly #opening = new Map<NodeId, Uint8Array[]>();

  constructor(options: {
    connections: Connections;
    dialer: Dialer;
    protocol: string;
    log: Log;
    /** A frame of an admitted node, at most BEAT_BYTES_MAX; may not throw. */
    received: (frame: Uint8Array, from: NodeId) => void;
  }) {
    this.#connections = options.connections;
    this.#dialer = options.dialer;
    this.#protocol = options.protocol;
    this.#log = options.log;
    this.#received = options.received;
  }

  /** To a node whose connection is new: what it has to know before anything else is said. */
  greet(node: NodeId, greeting: Uint8Array): void {
    this.#streams.delete(node);
    void this.#open(node, [greeting]);
  }

  /** To nodes that are connected. A stream that is full is passed over: the next report says it, too. */
  send(frame: Uint8Array, nodes: readonly NodeId[]): void {
    for (const node of nodes) {
      const stream = this.#streams.get(node);
      const opening = this.#opening.get(node);
      if (opening !== undefined) {
        // The first is the greeting; of what follows the newest says most.
        if (opening.length >= BEATS_WAITING_MAX) opening.splice(1, 1);
        opening.push(frame);
      } else if (stream === undefined) void this.#open(node, [frame]);
      else if (stream.writableNeedsDrain !== true) this.#write(node, stream, [frame]);
    }
  }

  /** The other side opened the stream. Never throws. */
  async serve(stream: Stream, connection: Connection): Promise<void> {
    const from = connection.remotePeer.toString() as NodeId;
    try {
      const reader = new StreamReader(stream);
      for (;;) {
        const frame = await reader.frame(BEAT_BYTES_MAX, { timeoutMs: BEAT_SILENCE_MAX_MS });
        if (frame === undefined) break;
        this.#received(frame, from);
      }
      await stream.close();
    } catch (error) {
      this.#log.debug('gossip.beats_ended', { node: from, reason: reasonOf(error) });
      stream.abort(error as Error);
    }
  }

  async #open(node: NodeId, frames: Uint8Array[]): Promise<void> {
    const waiting = this.#opening.get(node);
    if (waiting !== undefined) {
      waiting.splice(0, waiting.length, ...frames);
      return;
    }
    if (this.#connections.of(node) === undefined) return;
    this.#opening.set(node, frames);
    try {
      const stream = await this.#dialer.openStream(node, this.#protocol, AbortSignal.timeout(STREAM_OPEN_TIMEOUT_MS));
      this.#streams.set(node, stream);
      const forget = (): void => {
        if (this.#streams.get(node) === stream) this.#streams.delete(node);
      };
      stream.addEventListener('close', forget, { once: true });
      this.#write(node, stream, frames);
    } catch (error) {
      // The next report opens it.
      this.#log.debug('gossip.beats_not_opened', { node, reason: reasonOf(error) });
    } finally {
      this.#opening.delete(node);
    }
  }

  #write(node: NodeId, stream: Stream, frames: readonly Uint8Array[]): void {
    try {
      for (const frame of frames) stream.send(frameOf(frame));
    } catch (error) {
      this.#streams.delete(node);
      stream.abort(new GossipError('closed', reasonOf(error)));
    }
  }
}
