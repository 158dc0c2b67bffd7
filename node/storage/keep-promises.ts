// Asks other nodes to keep their copies of droplets before this one gives up its own, and keeps what it promised to
// others. Two nodes that give up the same droplet at the same time refuse each other: never does each rely on the
// other.

import type { Digest, NodeId } from '../../crdt/ids.ts';
import type { Gossip } from '../ports/gossip.ts';
import { KEEP_BLOBS, KEEP_DIGESTS_MAX } from '../ports/methods.ts';

/** A promise is kept this long: whoever asked has given up its copy by then, or has not done so at all. */
const PROMISE_MS = 60_000;
/** Answers that are older than this are not acted on. */
const ANSWER_AGE_MAX_MS = 10_000;

export type KeepQuestion = { digest: Digest; others: readonly NodeId[]; othersMin: number };

export class Keeping {
  readonly #gossip: Gossip;
  readonly #nowMs: () => number;
  readonly #promisedUntilMs = new Map<Digest, number>();
  readonly #givingUp = new Set<Digest>();

  constructor(options: { gossip: Gossip; holds: (digest: Digest) => boolean; nowMs: () => number }) {
    this.#gossip = options.gossip;
    this.#nowMs = options.nowMs;
    this.#gossip.handle(KEEP_BLOBS, async ({ digests }) => {
      const untilMs = this.#nowMs() + PROMISE_MS;
      const kept = digests.filter((digest) => options.holds(digest) && !this.#givingUp.has(digest));
      for (const digest of kept) this.#promisedUntilMs.set(digest, untilMs);
      return { digests: kept };
    });
  }

  promised(): Digest[] {
    const nowMs = this.#nowMs();
    for (const [digest, untilMs] of this.#promisedUntilMs) if (untilMs < nowMs) this.#promisedUntilMs.delete(digest);
    return [...this.#promisedUntilMs.keys()];
  }

  /** Calls `giveUp` with those of them that enough others keep, and resolves with the rest. */
  async giveUpWhatOthersKeep(
    questions: KeepQuestion[],
    giveUp: (digests: Digest[]) => Promise<void>,
  ): Promise<Digest[]> {
    const before = new Set(this.promised());
    // More wait for the next look.
    const asked = questions.slice(0, KEEP_DIGESTS_MAX).filter(({ digest }) => !before.has(digest));
    for (const { digest } of asked) this.#givingUp.add(digest);
    try {
      const askedAtMs = this.#nowMs();
      const keepers = await this.#keepersOf(asked);
      // Given after the questions went out, it counts all the same.
      const promised = new Set(this.promised());
      const late = this.#nowMs() - askedAtMs > ANSWER_AGE_MAX_MS;
      const kept = asked.filter(
        ({ digest, othersMin }) => !late && !promised.has(digest) && (keepers.get(digest) ?? 0) >= othersMin,
      );
      await giveUp(kept.map(({ digest }) => digest));
      return questions.filter((question) => !kept.includes(question)).map(({ digest }) => digest);
    } finally {
      for (const { digest } of asked) this.#givingUp.delete(digest);
    }
  }

  /** How many say that they keep each. */
  async #keepersOf(questions: readonly KeepQuestion[]): Promise<Map<Digest, number>> {
    const byNode = new Map<NodeId, Digest[]>();
    for (const { digest, others } of questions) {
      for (const node of others) byNode.set(node, [...(byNode.get(node) ?? []), digest]);
    }
    const keepers = new Map<Digest, number>();
    await Promise.all(
      [...byNode].map(async ([node, digests]) => {
        const answer = await this.#gossip.request(node, KEEP_BLOBS, { digests }).catch(() => ({ digests: [] }));
        for (const digest of new Set(answer.digests)) {
          if (digests.includes(digest)) keepers.set(digest, (keepers.get(digest) ?? 0) + 1);
        }
      }),
    );
    return keepers;
  }
}
