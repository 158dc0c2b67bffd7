// Twin of the connections of node/gossip: which are dialled when, how many at a time, when one is replaced, and what
// probes find. Working for a connection takes time on both sides, so none is given up for an answer that is late.

import {
  DIAL_ACCEPT_TIMEOUT_MS,
  DIAL_HEAD_START_MS,
  PROBE_OWN_DELAY_MS,
  QUIET_LOOK_INTERVAL_MS,
  REDIAL_DELAY_MAX_MS,
  REDIAL_DELAY_MIN_MS,
} from '../../node/gossip/limits.ts';
import type { DialResult } from './network.ts';
import type { SimNode } from './node.ts';
import type { Prng } from './prng.ts';

/** A host that does not accept is given up after DIAL_ACCEPT_TIMEOUT_MS, once for each of a few addresses. */
const DIAL_TIMEOUT_MS = 3 * DIAL_ACCEPT_TIMEOUT_MS;
/** A frame of the multiplexer without a body. */
const PROBE_BYTES = 12;
const WATCH_INTERVAL_MS = 5 * QUIET_LOOK_INTERVAL_MS;
/** Connections that a node works for at a time, as their dialer; and as many for probes that need one. */
const DIALS_AT_ONCE_MAX = 4;
/** What a node has to dial at the same time it spreads over this long for each. */
const SPREAD_PER_DIAL_MS = 50;
/** How long a connection may carry nothing at all, while its other side says something every few seconds. */
const CONNECTION_SILENT_MAX_MS = 15_000;

/** Lets so many go on at a time; the others wait in order. */
class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** `begin` is called when its turn has come, at once if it may be, and calls `done` when it is over. */
  take(begin: (done: () => void) => void): void {
    const go = (): void => begin(() => this.#next());
    if (this.#free === 0) {
      this.#waiting.push(go);
      return;
    }
    this.#free--;
    go();
  }

  #next(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free++;
    else next();
  }
}

export class SimConnections {
  readonly #node: SimNode;
  readonly #rng: Prng;
  /** Dials that are under way or waited for, with the failures before. */
  readonly #dialing = new Map<number, number>();
  readonly #probing = new Set<number>();
  readonly #running = new Map<number, { answer: (result: DialResult) => void; isWanted: () => boolean }[]>();
  readonly #dials = new Turns(DIALS_AT_ONCE_MAX);
  readonly #knocks = new Turns(DIALS_AT_ONCE_MAX);
  /** By node: when something last came over the connection to it. */
  readonly #heardAtMs = new Map<number, number>();
  /** When this node last found that it had been late itself. */
  #lateAtMs = Number.NEGATIVE_INFINITY;

  constructor(node: SimNode) {
    this.#node = node;
    this.#rng = node.rng.fork(`dials/${node.epoch}`);
    this.#laterKnowingLateness(WATCH_INTERVAL_MS, () => this.#watch());
  }

  /** Dials every admitted node that is not connected. */
  dialAll(): void {
    const { index, world } = this.#node;
    for (const other of this.#node.admittedOthers()) {
      if (!world.network.isConnected(index, other)) this.#dialLater(other, index < other ? 0 : DIAL_HEAD_START_MS);
    }
  }

  lost(other: number): void {
    this.#dialLater(other, REDIAL_DELAY_MIN_MS);
    const retry = this.#onBroken.get(other);
    this.#onBroken.delete(other);
    retry?.();
  }

  #dialLater(other: number, delayMs: number): void {
    if (this.#dialing.has(other)) return;
    this.#dialing.set(other, 0);
    // The more there are to dial, the further apart.
    const spreadMs = this.#rng.share() * SPREAD_PER_DIAL_MS * (this.#dialing.size - 1);
    this.#node.later(delayMs + spreadMs, () => this.#redial(other));
  }

  #redial(other: number): void {
    const { network } = this.#node.world;
    if (network.isConnected(this.#node.index, other) || !this.#node.admits(other)) {
      this.#dialing.delete(other);
      return;
    }
    this.#dials.take((done) => {
      let answered = false;
      const end = (): boolean => {
        if (answered) return false;
        answered = true;
        done();
        return true;
      };
      const again = (): void => {
        if (!end()) return;
        const failures = (this.#dialing.get(other) ?? 0) + 1;
        this.#dialing.set(other, failures);
        const delayMs = Math.min(REDIAL_DELAY_MAX_MS, REDIAL_DELAY_MIN_MS * 2 ** Math.min(failures, 10));
        this.#node.later(delayMs * (0.75 + this.#rng.share() / 2), () => this.#redial(other));
      };
      const epoch = this.#node.epoch;
      const isWanted = (): boolean => this.#node.epoch === epoch && !answered;
      const take = (result: DialResult): void => {
        if (!isWanted()) return;
        if (result !== 'ok') again();
        else if (end()) this.#dialing.delete(other);
      };
      this.#dial(other, take, isWanted);
      this.#node.later(DIAL_TIMEOUT_MS, again);
    });
  }

  /** One dial at a time to a node, whoever waits for it. */
  #dial(other: number, answer: (result: DialResult) => void, isWanted: () => boolean): void {
    const running = this.#running.get(other);
    if (running?.some((one) => one.isWanted())) {
      running.push({ answer, isWanted });
      return;
    }
    const waiting = [{ answer, isWanted }];
    this.#running.set(other, waiting);
    const take = (result: DialResult): void => {
      if (this.#running.get(other) === waiting) this.#running.delete(other);
      for (const one of waiting) one.answer(result);
    };
    const isWaitedFor = (): boolean => waiting.some((one) => one.isWanted());
    this.#node.world.network.dial(this.#node.index, other, take, isWaitedFor);
  }

  /** Replaces connections that have carried nothing for long: a machine without power closes none. */
  #watch(): void {
    const { network } = this.#node.world;
    const nowMs = this.#node.localMs();
    for (const other of network.connectedTo(this.#node.index)) {
      const silentMs = nowMs - Math.max(this.#heardAtMs.get(other) ?? nowMs, this.#lateAtMs);
      if (silentMs >= CONNECTION_SILENT_MAX_MS) network.close(this.#node.index, other);
    }
    this.#laterKnowingLateness(WATCH_INTERVAL_MS, () => this.#watch());
  }

  /** A node that is late itself has not yet read what would have told it more. */
  #laterKnowingLateness(delayMs: number, run: (lateMs: number) => void): void {
    const dueMs = this.#node.localMs() + delayMs;
    this.#node.later(delayMs, () => {
      const lateMs = Math.max(0, this.#node.localMs() - dueMs);
      if (lateMs >= PROBE_OWN_DELAY_MS) this.#lateAtMs = this.#node.localMs();
      run(lateMs);
    });
  }

  heard(other: number): void {
    this.#heardAtMs.set(other, this.#node.localMs());
  }

  // ---------------------------------------------------------------- probes

  /**
   * Whatever it finds, a probe only tells: a connection whose other side answers late is not better for being opened
   * anew.
   */
  probe(other: number, timeoutMs: number): void {
    if (this.#probing.has(other)) return;
    this.#probing.add(other);
    if (this.#node.world.network.isConnected(this.#node.index, other)) this.#echo(other, timeoutMs);
    else this.#knock(other, timeoutMs);
  }

  #echo(other: number, timeoutMs: number): void {
    const node = this.#node;
    const { network } = node.world;
    const epoch = node.epoch;
    let over = false;
    const end = (result: DialResult): void => {
      if (over) return;
      over = true;
      this.#onBroken.delete(other);
      this.#probed(other, result);
    };
    const dueMs = node.localMs() + timeoutMs;
    node.work('frame');
    network.sendInOrder(node.index, other, PROBE_BYTES, () => {
      node.world.nodes[other]!.work('frame');
      network.sendInOrder(other, node.index, PROBE_BYTES, () => {
        if (node.epoch !== epoch) return;
        this.heard(other);
        end('ok');
      });
    });
    const expire = (): void => end('timeout');
    this.#laterKnowingLateness(timeoutMs, (lateMs) => {
      if (lateMs < PROBE_OWN_DELAY_MS) expire();
      else node.later(Math.min(lateMs, timeoutMs), expire);
    });
    this.#onBroken.set(other, () => {
      if (over) return;
      over = true;
      this.#knock(other, Math.max(1, dueMs - node.localMs()));
    });
  }

  /** Without a connection, accepting one is the answer. Its time runs from when its turn has come. */
  #knock(other: number, timeoutMs: number): void {
    this.#knocks.take((done) => {
      const node = this.#node;
      const epoch = node.epoch;
      let over = false;
      const isWanted = (): boolean => node.epoch === epoch && !over;
      const end = (result: DialResult): void => {
        if (!isWanted()) return;
        over = true;
        done();
        this.#probed(other, result);
      };
      this.#dial(other, end, isWanted);
      this.#laterKnowingLateness(timeoutMs, (lateMs) => {
        if (lateMs < PROBE_OWN_DELAY_MS) end('timeout');
        else node.later(Math.min(lateMs, timeoutMs), () => end('timeout'));
      });
    });
  }

  #probed(other: number, result: DialResult): void {
    this.#probing.delete(other);
    const node = this.#node.world.idOf(other);
    this.#node.post(result === 'ok' ? { type: 'probeSucceeded', node } : { type: 'probeFailed', node, reason: result });
  }

  /** Probes over a connection, to be taken up again when it breaks. */
  readonly #onBroken = new Map<number, () => void>();
}
