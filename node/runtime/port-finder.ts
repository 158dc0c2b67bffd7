// Finds the port of an app that listens on another one than it was told: alone there, and for long enough that the one
// it was told is not to be expected any more. Asks, and remembers; opens nothing.

import type { ProbeTarget } from './health.ts';
import type { Listener } from './process-tree.ts';

/** An app may open a port for its numbers, say, some time before the one for its users. */
const ALONE_FOR_MS = 5_000;
/** Looking reads the open files of all of an instance's processes. */
const LOOK_EVERY_MS = 1_000;

export type PortFinderOptions = {
  /** What the app was told. */
  told: number;
  probe: (target: ProbeTarget) => Promise<string | undefined>;
  /** Where its processes listen. */
  look: () => Promise<readonly Listener[]>;
  /** Whether what listens on loopback is reached, as where instances share the machine's network. */
  reachesLoopback: boolean;
  /** It has run for a while already: what it listens on is what it listens on. */
  isOld: boolean;
  /** It answers at another port than so far. */
  onMoved: (port: number) => void;
  /** Milliseconds that only grow; for tests. */
  nowMs?: () => number;
};

export class PortFinder {
  readonly #options: PortFinderOptions;
  readonly #nowMs: () => number;
  /** Where it answered last. */
  #port: number;
  #lookAtMs = 0;
  /** The only port, and since when it was seen to be. */
  #alone: { port: number; sinceMs: number } | undefined;

  constructor(options: PortFinderOptions) {
    this.#options = options;
    this.#nowMs = options.nowMs ?? (() => performance.now());
    this.#port = options.told;
  }

  /** As probeOnce (health.ts); the port that the app was told comes first, always. */
  async probe(target: ProbeTarget): Promise<string | undefined> {
    const { told } = this.#options;
    const problem = await this.#ask({ ...target, port: told });
    if (problem === undefined) return undefined;
    const port = this.#port === told ? await this.#findElsewhere() : this.#port;
    if (port === undefined) return problem;
    return this.#ask({ ...target, port });
  }

  async #ask(target: ProbeTarget): Promise<string | undefined> {
    const problem = await this.#options.probe(target);
    if (problem === undefined && target.port !== this.#port) {
      this.#port = target.port;
      this.#options.onMoved(target.port);
    }
    return problem;
  }

  async #findElsewhere(): Promise<number | undefined> {
    const { isOld, look, reachesLoopback, told } = this.#options;
    const nowMs = this.#nowMs();
    if (nowMs < this.#lookAtMs) return undefined;
    this.#lookAtMs = nowMs + LOOK_EVERY_MS;
    const listeners = await look();
    // Its own port may be open and answer wrongly: then it is that one.
    if (listeners.some(({ port }) => port === told)) return this.#noneAlone();
    const reachable = new Set(
      listeners.filter(({ onLoopback }) => reachesLoopback || !onLoopback).map(({ port }) => port),
    );
    const [port] = reachable;
    if (port === undefined || reachable.size > 1) return this.#noneAlone();
    if (this.#alone?.port !== port) this.#alone = { port, sinceMs: nowMs };
    return isOld || nowMs - this.#alone.sinceMs >= ALONE_FOR_MS ? port : undefined;
  }

  #noneAlone(): undefined {
    this.#alone = undefined;
  }
}
