// Gossip of a wide cluster: the overlay of connections of node/gossip/neighbours.ts, and on it, topic by topic, the
// mesh that gossipsub keeps, with every copy of a message counted in bytes at both its ends. Models what is sent and
// when it arrives, on a network that loses nothing; knows nothing of what a message says.

import type { NodeId } from '../../../crdt/ids.ts';
import { GOSSIP_HEARTBEAT_MS, GOSSIP_LAZY_NEIGHBOURS, GOSSIP_MESH } from '../../../node/gossip/limits.ts';
import { neighboursOf } from '../../../node/gossip/neighbours.ts';
import type { Clock } from '../clock.ts';
import type { Prng } from '../prng.ts';

/** yamux header; noise tag and length; length of the RPC; tags and lengths inside it. */
const FRAME_BYTES = 12 + 18 + 2 + 14;
/** What gossipsub adds to a message that is signed: author, sequence number, signature, topic. */
const ENVELOPE_BYTES = 38 + 8 + 64 + '/peer/01234567/membership/1'.length;
/** A message's id (node/gossip/host.ts) in IHAVE and IWANT, with its tag and length. */
const ID_BYTES = 18;
const CONTROL_BYTES = 64;
/** Heartbeats of gossip for which a message is told of to others (gossipsub's mcacheGossip in node/gossip/host.ts). */
const TOLD_HEARTBEATS = 2;
const DELAY_MIN_MS = 1;
const DELAY_MAX_MS = 20;

export const TOPICS = ['reports', 'membership'] as const;
export type Topic = (typeof TOPICS)[number];

type Message = { topic: number; bytes: number; author: number; seen: Uint8Array; take: (to: number) => void };

export class Mesh {
  /** Bytes since the counts were last taken, by node. */
  received: Float64Array;
  sent: Float64Array;
  messages = 0;
  readonly neighbours: readonly (readonly number[])[];
  readonly #clock: Clock;
  readonly #rng: Prng;
  readonly #isUp: (node: number) => boolean;
  /** By topic, by node. */
  readonly #mesh: Set<number>[][];
  /** By topic, by node: what it heard in each of the last heartbeats, newest last. */
  readonly #heard: Message[][][][];

  constructor(options: { clock: Clock; rng: Prng; ids: readonly NodeId[]; isUp: (node: number) => boolean }) {
    const { clock, rng, ids, isUp } = options;
    this.#clock = clock;
    this.#rng = rng;
    this.#isUp = isUp;
    this.received = new Float64Array(ids.length);
    this.sent = new Float64Array(ids.length);
    this.neighbours = overlayOf(ids);
    this.#mesh = TOPICS.map(() => ids.map(() => new Set<number>()));
    this.#heard = TOPICS.map(() => ids.map(() => [[]]));
    for (const [topic] of TOPICS.entries()) for (const node of ids.keys()) this.#graft(topic, node);
    for (const node of ids.keys()) this.#clock.in(rng.share() * GOSSIP_HEARTBEAT_MS, () => this.#heartbeat(node));
  }

  delayMs(): number {
    return DELAY_MIN_MS + (DELAY_MAX_MS - DELAY_MIN_MS) * this.#rng.share() ** 3;
  }

  /** Counts bytes that pass between two nodes besides gossip. */
  count(from: number, to: number, bytes: number): void {
    this.sent[from]! += bytes;
    this.received[to]! += bytes;
  }

  /** To every neighbour at once; they pass it on over the mesh. `take` is called once for each node that hears it. */
  publish(author: number, topic: Topic, payloadBytes: number, take: (to: number) => void): void {
    const message: Message = {
      topic: TOPICS.indexOf(topic),
      bytes: FRAME_BYTES + ENVELOPE_BYTES + payloadBytes,
      author,
      seen: new Uint8Array(this.neighbours.length),
      take,
    };
    this.messages++;
    message.seen[author] = 1;
    this.#remember(author, message);
    for (const to of this.neighbours[author]!) this.#send(author, to, message);
  }

  /** Both counts, and begins to count anew. */
  takeCounts(): { received: Float64Array; sent: Float64Array } {
    const counts = { received: this.received, sent: this.sent };
    this.received = new Float64Array(counts.received.length);
    this.sent = new Float64Array(counts.sent.length);
    return counts;
  }

  #send(from: number, to: number, message: Message): void {
    // The connection to a dead node is seen closed.
    if (!this.#isUp(to)) return;
    this.count(from, to, message.bytes);
    this.#clock.in(this.delayMs(), () => this.#arrive(from, to, message));
  }

  #arrive(from: number, to: number, message: Message): void {
    if (message.seen[to] === 1 || !this.#isUp(to)) return;
    message.seen[to] = 1;
    this.#remember(to, message);
    message.take(to);
    for (const next of this.#mesh[message.topic]![to]!) {
      if (next !== from && next !== message.author) this.#send(to, next, message);
    }
  }

  #remember(node: number, message: Message): void {
    this.#heard[message.topic]![node]!.at(-1)!.push(message);
  }

  #heartbeat(node: number): void {
    if (!this.#isUp(node)) return;
    for (const [topic] of TOPICS.entries()) {
      this.#graft(topic, node);
      this.#prune(topic, node);
      const heard = this.#heard[topic]![node]!;
      this.#tellWhatWasHeard(topic, node, heard.flat());
      heard.push([]);
      if (heard.length > TOLD_HEARTBEATS) heard.shift();
    }
    this.#clock.in(GOSSIP_HEARTBEAT_MS, () => this.#heartbeat(node));
  }

  #graft(topic: number, node: number): void {
    const own = this.#mesh[topic]![node]!;
    for (const other of own) if (!this.#isUp(other)) own.delete(other);
    if (own.size >= GOSSIP_MESH.min) return;
    for (const other of this.#rng.shuffle(this.neighbours[node]!)) {
      if (own.size >= GOSSIP_MESH.aim) break;
      if (own.has(other) || !this.#isUp(other)) continue;
      own.add(other);
      this.#mesh[topic]![other]!.add(node);
      this.count(node, other, CONTROL_BYTES);
    }
  }

  #prune(topic: number, node: number): void {
    const own = this.#mesh[topic]![node]!;
    if (own.size <= GOSSIP_MESH.max) return;
    for (const other of this.#rng.shuffle([...own]).slice(GOSSIP_MESH.aim)) {
      own.delete(other);
      this.#mesh[topic]![other]!.delete(node);
      this.count(node, other, CONTROL_BYTES);
    }
  }

  /** A few neighbours outside of the mesh hear the ids, and ask for what they lack. */
  #tellWhatWasHeard(topic: number, node: number, messages: readonly Message[]): void {
    if (messages.length === 0) return;
    const own = this.#mesh[topic]![node]!;
    const others = this.neighbours[node]!.filter((other) => !own.has(other) && this.#isUp(other));
    for (const other of this.#rng.shuffle(others).slice(0, GOSSIP_LAZY_NEIGHBOURS)) {
      this.count(node, other, FRAME_BYTES + CONTROL_BYTES + ID_BYTES * messages.length);
      this.#clock.in(this.delayMs(), () => {
        const missed = this.#isUp(other) ? messages.filter((message) => message.seen[other] === 0) : [];
        if (missed.length === 0) return;
        this.count(other, node, FRAME_BYTES + CONTROL_BYTES + ID_BYTES * missed.length);
        this.#clock.in(this.delayMs(), () => {
          if (this.#isUp(node)) for (const message of missed) this.#send(node, other, message);
        });
      });
    }
  }
}

/** Who is connected to whom: a connection exists when either end chose it. */
function overlayOf(ids: readonly NodeId[]): number[][] {
  const indexes = new Map(ids.map((id, index) => [id, index]));
  const links = ids.map(() => new Set<number>());
  for (const [index, id] of ids.entries()) {
    const others = ids.filter((other) => other !== id);
    for (const chosen of neighboursOf(id, others)) {
      const other = indexes.get(chosen)!;
      links[index]!.add(other);
      links[other]!.add(index);
    }
  }
  return links.map((link) => [...link].sort((a, b) => a - b));
}
