// Gathers what this node has to say of whom it cannot reach, and of what is wrong with itself: for its report, its
// events and its log. Judges nobody: placement and membership do not read it.

import type { NodeId } from '../../crdt/ids.ts';
import type { ClusterEvent, Event, Unreachable } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { RouterHandle } from '../ports/router.ts';

const LOOK_INTERVAL_MS = 2_000;
/** A node that was unreachable for less may just be starting, or have died. */
const GOSSIP_TOLD_AFTER_MS = 5_000;
/** Entries of a report; the rest is in the log. */
export const UNREACHABLE_TOLD_MAX = 16;
const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
/** For how long, in steps: each one is news, and travels. */
const SINCE_STEPS_MS = [
  0,
  10 * SECOND_MS,
  30 * SECOND_MS,
  MINUTE_MS,
  5 * MINUTE_MS,
  15 * MINUTE_MS,
  HOUR_MS,
  6 * HOUR_MS,
  24 * HOUR_MS,
  7 * 24 * HOUR_MS,
];

export type TroubleParts = {
  /** Name of this node. */
  self: string;
  gossip: Pick<Gossip, 'unreachable'>;
  router: Pick<RouterHandle, 'onUnreachable'>;
  warnings(): string[];
  /** A node that is known to be dead cannot be reached anyway: it is left out. */
  isAlive(node: NodeId): boolean;
  nameOf(node: NodeId): string;
  post(event: Extract<Event, { type: 'troubleSeen' }>): void;
  record(event: ClusterEvent): void;
  nowMs(): number;
  log: Log;
};

type Link = { node: NodeId; why: string; sinceAtMs: number };

export class Trouble {
  readonly #parts: TroubleParts;
  #links: Link[] = [];
  #told = '[[],[]]';
  #unreachable = new Map<string, Unreachable>();
  #warnings: string[] = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: TroubleParts) {
    this.#parts = parts;
  }

  start(): void {
    const { router, nowMs } = this.#parts;
    router.onUnreachable((links) => {
      this.#links = links.map(({ node, link, why, sinceMs }) => ({
        node,
        why: `${link}: ${why}`,
        sinceAtMs: nowMs() - sinceMs,
      }));
      this.look();
    });
    this.#timer = setInterval(() => this.look(), LOOK_INTERVAL_MS).unref();
    this.look();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Says what has changed since the last look. */
  look(): void {
    const { gossip, isAlive, nowMs, post } = this.#parts;
    const links = this.#links.map(
      ({ node, why, sinceAtMs }): Unreachable => ({ node, by: 'link', why, sinceMs: nowMs() - sinceAtMs }),
    );
    const neighbours = gossip
      .unreachable()
      .filter(({ sinceMs }) => sinceMs >= GOSSIP_TOLD_AFTER_MS)
      .map((one): Unreachable => ({ ...one, by: 'gossip' }));
    const unreachable = [...links, ...neighbours]
      .filter(({ node }) => isAlive(node))
      .map((one) => ({ ...one, sinceMs: SINCE_STEPS_MS.findLast((step) => step <= one.sinceMs) ?? 0 }))
      .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
      .slice(0, UNREACHABLE_TOLD_MAX);
    const warnings = this.#parts.warnings();
    const told = JSON.stringify([unreachable, warnings]);
    if (told === this.#told) return;
    this.#told = told;
    this.#record(unreachable, warnings);
    post({ type: 'troubleSeen', unreachable, warnings });
  }

  #record(unreachable: readonly Unreachable[], warnings: readonly string[]): void {
    const { self, isAlive, nameOf, record, log } = this.#parts;
    const before = this.#unreachable;
    this.#unreachable = new Map(unreachable.map((one) => [keyOf(one), one]));
    for (const [key, { node, by, why }] of this.#unreachable) {
      if (before.has(key)) continue;
      record({ name: 'node.unreachable', node, message: `${self} cannot reach ${nameOf(node)} (${by} ${why})` });
      log.warn('node.unreachable', { node, name: nameOf(node), by, why });
    }
    for (const [key, { node, by }] of before) {
      if (this.#unreachable.has(key) || !isAlive(node)) continue;
      record({ name: 'node.reachable', node, message: `${self} can reach ${nameOf(node)} again (${by})` });
      log.info('node.reachable', { node, name: nameOf(node), by });
    }
    for (const message of warnings) if (!this.#warnings.includes(message)) log.warn('node.warning', { message });
    this.#warnings = [...warnings];
  }
}

const keyOf = ({ node, by }: Unreachable): string => `${node} ${by}`;
