// Turns counters into what instances use now. Looks only when it is asked, at a few instances at a time, and at none
// again within a second, however many ask.

import type { InstanceUsage } from '../ports/runtime.ts';
import type { Counters } from './counters.ts';

/** Asked again within it, the answer is the same. */
const FRESH_MS = 1_000;
/** Processor time is told of at least so long; of an instance that was looked at longer ago, it is looked at twice. */
const SPAN_MIN_MS = 250;
const SPAN_MAX_MS = 60_000;
const LOOKS_AT_ONCE = 8;

export type UsageSource = {
  id: InstanceUsage['id'];
  /** What of the instance stays the same between two looks; its counters are remembered for as long as it is. */
  key: object;
  counters(): Promise<Counters>;
};

type Look = { atMs: number; counters: Counters; usage: InstanceUsage };

export type UsageClock = { nowMs(): number; pause(ms: number): Promise<void> };

const REAL: UsageClock = {
  nowMs: () => performance.now(),
  pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

export class UsageSampler {
  readonly #clock: UsageClock;
  readonly #looks = new WeakMap<object, Look>();
  /** One after the other: a caller that waited finds a fresh answer. */
  #working: Promise<unknown> = Promise.resolve();

  constructor(clock: UsageClock = REAL) {
    this.#clock = clock;
  }

  sample(sources: readonly UsageSource[]): Promise<InstanceUsage[]> {
    const sampled = this.#working.then(() => this.#sample(sources));
    this.#working = sampled.catch(() => {});
    return sampled;
  }

  async #sample(sources: readonly UsageSource[]): Promise<InstanceUsage[]> {
    const isOlder = (source: UsageSource, ms: number): boolean =>
      this.#clock.nowMs() - (this.#looks.get(source.key)?.atMs ?? Number.NEGATIVE_INFINITY) > ms;
    const first = sources.filter((source) => isOlder(source, SPAN_MAX_MS));
    await this.#lookAt(first);
    if (first.length > 0) await this.#clock.pause(SPAN_MIN_MS);
    await this.#lookAt(sources.filter((source) => first.includes(source) || isOlder(source, FRESH_MS)));
    return sources.flatMap(({ key }) => this.#looks.get(key)?.usage ?? []);
  }

  async #lookAt(sources: readonly UsageSource[]): Promise<void> {
    for (let start = 0; start < sources.length; start += LOOKS_AT_ONCE) {
      await Promise.all(sources.slice(start, start + LOOKS_AT_ONCE).map((source) => this.#look(source)));
    }
  }

  /** One that has ended meanwhile has no counters, and no usage. */
  async #look({ id, key, counters: read }: UsageSource): Promise<void> {
    const counters: Counters = await read().catch(() => ({}));
    const atMs = this.#clock.nowMs();
    const cpu = processorsBusy(this.#looks.get(key), { atMs, counters });
    const { memoryBytes, diskBytes } = counters;
    const usage: InstanceUsage = {
      id,
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(cpu === undefined ? {} : { cpu }),
      ...(diskBytes === undefined ? {} : { diskBytes }),
    };
    this.#looks.set(key, { atMs, counters, usage });
  }
}

function processorsBusy(
  before: Pick<Look, 'atMs' | 'counters'> | undefined,
  now: Pick<Look, 'atMs' | 'counters'>,
): number | undefined {
  const [from, to] = [before?.counters.cpuUs, now.counters.cpuUs];
  if (before === undefined || from === undefined || to === undefined) return undefined;
  const spanUs = (now.atMs - before.atMs) * 1_000;
  // The processes that were counted may have ended.
  return spanUs <= 0 ? undefined : Math.max(0, (to - from) / spanUs);
}
