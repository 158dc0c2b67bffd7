// Twin of the network between hosts and of the connections over it: delay, loss, reordering, duplication, one-way cuts
// and slow links by plan; dials that are accepted, refused or unanswered; connections whose end is seen, or is
// silence. Knows nothing of what it carries but how many bytes.

import { INBOUND_UPGRADE_TIMEOUT_MS } from '../../node/gossip/limits.ts';
import type { Clock } from './clock.ts';
import type { Prng } from './prng.ts';

/** A host as the network sees it. */
export interface Endpoint {
  readonly index: number;
  /** The kernel answers: it refuses connections to a port where nobody listens. */
  readonly machineUp: boolean;
  readonly daemonUp: boolean;
  readonly frozen: boolean;
  /** Runs it in the daemon as it is now: later when it is busy or frozen, never when it has ended meanwhile. */
  deliver(run: () => void): void;
  /** What runs now takes time. Returns when it will be done, in ms from now. */
  work(kind: 'handshake'): number;
  admits(index: number): boolean;
  connected(index: number): void;
  disconnected(index: number): void;
}

type Connection = {
  a: number;
  b: number;
  openA: boolean;
  openB: boolean;
  /** Sent while its way was cut: arrives when the cut heals and the connection is still there. */
  parked: { from: number; run: () => void }[];
  /** Earliest arrival of the next ordered message, per direction. */
  orderedAtMs: [number, number];
};

export type Conditions = {
  delayMinMs: number;
  delayMaxMs: number;
  loss: number;
  duplication: number;
};

/** What TCP waits before it sends again; doubles. */
const RETRANSMIT_MS = 200;
const RETRANSMITS_MAX = 5;
const PARKED_MAX = 10_000;

export type DialResult = 'ok' | 'refused' | 'timeout';

export class Network {
  conditions: Conditions;
  sent = { messages: 0, bytes: 0 };
  readonly #clock: Clock;
  readonly #rng: Prng;
  readonly #hosts: Endpoint[] = [];
  readonly #connections = new Map<number, Connection>();
  /** How many faults cut the way from → to now. */
  readonly #cuts = new Map<number, number>();
  /** Added to the delay of the way from → to. */
  readonly #slow = new Map<number, number>();

  constructor(options: { clock: Clock; rng: Prng; conditions: Conditions }) {
    this.#clock = options.clock;
    this.#rng = options.rng;
    this.conditions = options.conditions;
  }

  add(host: Endpoint): void {
    this.#hosts.push(host);
  }

  cut(from: number, to: number): void {
    this.#cuts.set(way(from, to), (this.#cuts.get(way(from, to)) ?? 0) + 1);
  }

  heal(from: number, to: number): void {
    const left = (this.#cuts.get(way(from, to)) ?? 0) - 1;
    if (left > 0) this.#cuts.set(way(from, to), left);
    else this.#cuts.delete(way(from, to));
    const connection = this.#connections.get(pair(from, to));
    if (left > 0 || connection === undefined) return;
    const parked = connection.parked;
    connection.parked = parked.filter((one) => one.from !== from);
    for (const one of parked) if (one.from === from) this.#clock.in(this.#delayMs(from, to), one.run);
  }

  slowDown(from: number, to: number, addedMs: number): void {
    this.#slow.set(way(from, to), addedMs);
  }

  healAll(): void {
    for (const key of [...this.#cuts.keys()].sort((a, b) => a - b)) {
      this.#cuts.set(key, 1);
      this.heal(key >> 12, key & 0xfff);
    }
    this.#slow.clear();
    this.conditions = { ...this.conditions, loss: 0, duplication: 0 };
  }

  isCut(from: number, to: number): boolean {
    return this.#cuts.has(way(from, to));
  }

  reaches(a: number, b: number): boolean {
    return !this.isCut(a, b) && !this.isCut(b, a);
  }

  isConnected(self: number, other: number): boolean {
    const connection = this.#connections.get(pair(self, other));
    return connection !== undefined && (self === connection.a ? connection.openA : connection.openB);
  }

  connectedTo(self: number): number[] {
    return this.#hosts.map((host) => host.index).filter((other) => other !== self && this.isConnected(self, other));
  }

  /** A gossip message: may be lost, doubled, or overtaken. Nothing happens without a connection. */
  sendLoosely(from: number, to: number, bytes: number, arrive: () => void): void {
    const connection = this.#open(from, to);
    if (connection === undefined) return;
    this.#count(bytes);
    if (this.#rng.chance(this.conditions.loss)) return;
    const copies = this.#rng.chance(this.conditions.duplication) ? 2 : 1;
    for (let copy = 0; copy < copies; copy++) this.#carry(connection, from, to, this.#delayMs(from, to), arrive);
  }

  /** On a stream: in order, and lost only with the connection. */
  sendInOrder(from: number, to: number, bytes: number, arrive: () => void): boolean {
    const connection = this.#open(from, to);
    if (connection === undefined) return false;
    this.#count(bytes);
    let delayMs = this.#delayMs(from, to);
    for (let again = 0; again < RETRANSMITS_MAX && this.#rng.chance(this.conditions.loss); again++) {
      delayMs += RETRANSMIT_MS * 2 ** again;
    }
    const direction = from === connection.a ? 0 : 1;
    const atMs = Math.max(connection.orderedAtMs[direction], this.#clock.nowMs + delayMs);
    connection.orderedAtMs[direction] = atMs;
    this.#carry(connection, from, to, atMs - this.#clock.nowMs, arrive);
    return true;
  }

  /**
   * Answers at the dialer, unless that has ended. The dialer gives up by itself, and says so by `isWanted`: no answer
   * is an answer too. Both sides have worked for a connection, also when it comes too late.
   */
  dial(from: number, to: number, answer: (result: DialResult) => void, isWanted: () => boolean = () => true): void {
    const dialer = this.#hosts[from]!;
    const listener = this.#hosts[to]!;
    const back = (result: DialResult): void => {
      this.#clock.in(this.#delayMs(to, from), () => {
        if (!this.isCut(to, from)) dialer.deliver(() => answer(result));
      });
    };
    this.#clock.in(this.#delayMs(from, to), () => {
      if (this.isCut(from, to) || !listener.machineUp) return;
      if (!listener.daemonUp) {
        back('refused');
        return;
      }
      // The kernel accepts for a frozen process, but nobody shakes hands.
      const acceptedAtMs = this.#clock.nowMs;
      listener.deliver(() => {
        if (!this.reaches(from, to)) return;
        if (!listener.admits(from)) {
          back('refused');
          return;
        }
        // Closed meanwhile, by one side or the other.
        if (!isWanted() || this.#clock.nowMs - acceptedAtMs > INBOUND_UPGRADE_TIMEOUT_MS) return;
        const workMs = listener.work('handshake');
        this.#clock.in(workMs + this.#delayMs(to, from), () => {
          if (!this.reaches(from, to) || !dialer.daemonUp || !listener.daemonUp) return;
          dialer.deliver(() => {
            if (!isWanted()) return;
            dialer.work('handshake');
            this.#connect(from, to);
            answer('ok');
          });
        });
      });
    });
  }

  /** Ends the connection here; the other side hears of it when the way is open. */
  close(self: number, other: number): void {
    const connection = this.#connections.get(pair(self, other));
    if (connection !== undefined) this.#closeEnd(connection, self, true);
  }

  /** The process has ended. Its kernel, when it still runs, closes what was open. */
  ended(self: number, kernelRuns: boolean): void {
    for (const connection of [...this.#connections.values()]) {
      if (connection.a !== self && connection.b !== self) continue;
      if (self === connection.a) connection.openA = false;
      else connection.openB = false;
      if (kernelRuns) this.#tellEnd(connection, self);
      this.#forgetIfClosed(connection);
    }
  }

  #connect(dialer: number, listener: number): void {
    const key = pair(dialer, listener);
    const [a, b] = dialer < listener ? [dialer, listener] : [listener, dialer];
    if (this.isConnected(a, b) && this.isConnected(b, a)) return;
    this.#connections.set(key, { a, b, openA: true, openB: true, parked: [], orderedAtMs: [0, 0] });
    for (const [self, other] of [
      [dialer, listener],
      [listener, dialer],
    ] as const) {
      this.#hosts[self]!.deliver(() => {
        if (this.isConnected(self, other)) this.#hosts[self]!.connected(other);
      });
    }
  }

  #open(from: number, to: number): Connection | undefined {
    const connection = this.#connections.get(pair(from, to));
    if (connection === undefined) return undefined;
    return (from === connection.a ? connection.openA : connection.openB) ? connection : undefined;
  }

  #carry(connection: Connection, from: number, to: number, delayMs: number, arrive: () => void): void {
    const run = (): void => {
      if (this.isCut(from, to)) {
        if (connection.parked.length < PARKED_MAX) connection.parked.push({ from, run });
        return;
      }
      const host = this.#hosts[to]!;
      if (!host.machineUp) return;
      const open = to === connection.a ? connection.openA : connection.openB;
      if (!open) {
        // Nobody knows this connection here: the kernel says so.
        this.#tellEnd(connection, to);
        return;
      }
      host.deliver(() => {
        if (to === connection.a ? connection.openA : connection.openB) arrive();
      });
    };
    this.#clock.in(delayMs, run);
  }

  #closeEnd(connection: Connection, self: number, tell: boolean): void {
    const wasOpen = self === connection.a ? connection.openA : connection.openB;
    if (!wasOpen) return;
    if (self === connection.a) connection.openA = false;
    else connection.openB = false;
    const other = self === connection.a ? connection.b : connection.a;
    const isCurrent = this.#connections.get(pair(self, other)) === connection;
    if (tell) this.#tellEnd(connection, self);
    this.#forgetIfClosed(connection);
    if (isCurrent) this.#hosts[self]!.deliver(() => this.#hosts[self]!.disconnected(other));
  }

  #tellEnd(connection: Connection, self: number): void {
    const other = self === connection.a ? connection.b : connection.a;
    const run = (): void => {
      if (this.isCut(self, other)) {
        if (connection.parked.length < PARKED_MAX) connection.parked.push({ from: self, run });
        return;
      }
      this.#closeEnd(connection, other, false);
    };
    this.#clock.in(this.#delayMs(self, other), run);
  }

  #forgetIfClosed(connection: Connection): void {
    const key = pair(connection.a, connection.b);
    if (!connection.openA && !connection.openB && this.#connections.get(key) === connection) {
      this.#connections.delete(key);
    }
  }

  #delayMs(from: number, to: number): number {
    const { delayMinMs, delayMaxMs } = this.conditions;
    const delayMs = delayMinMs + (delayMaxMs - delayMinMs) * this.#rng.share() ** 3;
    return delayMs + (this.#slow.get(way(from, to)) ?? 0);
  }

  #count(bytes: number): void {
    this.sent.messages++;
    this.sent.bytes += bytes;
  }
}

/** Up to 4,096 hosts. */
const way = (from: number, to: number): number => (from << 12) | to;
const pair = (a: number, b: number): number => (a < b ? way(a, b) : way(b, a));
