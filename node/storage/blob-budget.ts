// Holds what blobs and build caches of this node take on its disk within a budget: looks after every change, gives up
// what eviction.ts says, and tells how much room is left. Never stands in the way of what a slot of this node needs.

import { statfs } from 'node:fs/promises';
import type { AppId, Digest, NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import type { BlobUsage, Room } from '../ports/blobs.ts';
import type { ObservedView } from '../ports/node-service.ts';
import { type Eviction, type EvictionFacts, evictionOrder, firstThatFree } from './eviction.ts';
import type { Keeping, KeepQuestion } from './keep-promises.ts';

/** Of the file system that the data directory is on, unless --blobs says otherwise. */
const DISK_SHARE = 0.5;
/** Once over, so much of the budget is aimed at, so that the next small thing is not over again. */
const EVICT_TO_SHARE = 0.95;
/** What is found in use after the others were asked is looked at again; then the next change or look has to do. */
const ROUNDS_MAX = 4;
/** Candidates of one look; the next one goes on. */
const CANDIDATES_MAX = 1_000;
/** Running transfers hold up a look; a caller that asks for room does not wait longer for it. */
const LOOK_WAIT_MAX_MS = 3_000;
/** For what changes without a word: garbage ages, caches are used. Each look starts the worker, so not often. */
const LOOK_INTERVAL_MS = 10 * 60_000;
/** Others are asked again for what they would not keep after this. */
const REFUSED_MS = 60_000;

type Blob = { digest: Digest; stay: 'kept' | 'passing' };
type BudgetedBlobs = {
  list(): Digest[];
  weigh(candidates: Blob[]): Promise<{ usedBytes: number; unneededBytes: number; freesBytes: number[] }>;
  evict(blobs: readonly Blob[]): Promise<void>;
  sourcesUsedAtMs(): ReadonlyMap<Digest, number>;
};
export type CacheUse = { app: AppId; bytes: number; usedAtMs: number };

export type BlobBudgetParts = {
  self: NodeId;
  budgetBytes: number;
  blobs: BudgetedBlobs;
  caches: { list(): Promise<CacheUse[]>; remove(app: AppId): Promise<void> };
  keeping: Pick<Keeping, 'promised' | 'giveUpWhatOthersKeep'>;
  view: () => DesiredView;
  observed: () => ObservedView;
  instancesHere: () => { app: AppId; release: string }[];
  unusedSinceMs: () => ReadonlyMap<Digest, number>;
  nowMs: () => number;
  log: Log;
};

/** The budget is used up by what is needed. Nothing was stored; a retry is safe once something was given up. */
export class OverBudgetError extends Error {
  readonly code = 'over_budget';
}

export class BlobBudget {
  readonly #parts: BlobBudgetParts;
  readonly #refusedUntilMs = new Map<Digest, number>();
  readonly #timer: NodeJS.Timeout;
  /** As they are now, or were asked for; undefined once they have changed, perhaps while that was under way. */
  #caches: Promise<CacheUse[]> | undefined;
  #usedBytes = 0;
  /** What could go if it had to. */
  #freeableBytes = 0;
  #wasOver = false;
  #looking: Promise<void> | undefined;
  #again = false;
  #stopped = false;

  constructor(parts: BlobBudgetParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => {
      this.#caches = undefined;
      void this.look();
    }, LOOK_INTERVAL_MS);
    this.#timer.unref();
  }

  /** For what is pushed, and for copies that other nodes ask this one to hold: what can be given up counts as room. */
  room(): Room {
    const bytes = Math.max(0, this.#parts.budgetBytes - this.#usedBytes + this.#freeableBytes);
    return { bytes, refusal: this.#refusal() };
  }

  /** As of the last look. */
  usage(): BlobUsage {
    return { usedBytes: this.#usedBytes, budgetBytes: this.#parts.budgetBytes };
  }

  /**
   * For copies ahead of time: nothing is given up for them, nor do they bring the node so near its budget that they go
   * again.
   */
  roomAhead(): Room {
    return { bytes: Math.max(0, this.#parts.budgetBytes * EVICT_TO_SHARE - this.#usedBytes), refusal: this.#refusal() };
  }

  /** Before something new is taken in. Fails with OverBudgetError. */
  async makeRoom(): Promise<void> {
    await Promise.race([this.look(), new Promise<void>((resolve) => setTimeout(resolve, LOOK_WAIT_MAX_MS).unref())]);
    const { bytes, refusal } = this.room();
    if (bytes === 0) throw new OverBudgetError(refusal);
  }

  /** What releases of the instances here are made of. */
  isNeededHere(digest: Digest): boolean {
    return this.#runningHere().has(digest);
  }

  /** A staging has ended, or an app is gone. */
  cachesChanged(): void {
    this.#caches = undefined;
    void this.look();
  }

  /** Gives up what has to go. Resolves when that is done; a call meanwhile has it look once more. */
  look(): Promise<void> {
    this.#again = true;
    this.#looking ??= this.#lookUntilQuiet().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  async #lookUntilQuiet(): Promise<void> {
    while (this.#again && !this.#stopped) {
      this.#again = false;
      try {
        await this.#evictWhileOver();
      } catch (error) {
        if (!this.#stopped) this.#parts.log.warn('blobs.look_failed', { error });
        return;
      }
    }
  }

  async #evictWhileOver(): Promise<void> {
    const { budgetBytes, log } = this.#parts;
    const counts = { garbage: 0, cache: 0, source: 0, oldRelease: 0, ahead: 0 };
    let beforeBytes: number | undefined;
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const { order, neededBytes } = await this.#measure();
      beforeBytes ??= this.#usedBytes;
      if (this.#usedBytes <= budgetBytes) break;
      const chosen = firstThatFree(neededBytes - budgetBytes * EVICT_TO_SHARE, order);
      const gone = await this.#evict(chosen);
      for (const { kind } of gone) counts[kind] += 1;
      if (gone.length < chosen.length) continue;
      await this.#measure();
      if (this.#usedBytes <= budgetBytes || chosen.length === 0) break;
    }
    const evicted = Object.values(counts).some((count) => count > 0);
    const isOver = this.#usedBytes > budgetBytes;
    const fields = { budgetBytes, beforeBytes, usedBytes: this.#usedBytes, ...counts };
    if (isOver && !this.#wasOver) log.warn('blobs.over_budget', fields);
    else if (evicted) log.info('blobs.evicted', fields);
    this.#wasOver = isOver;
  }

  /** `neededBytes`: on disk when everything that nothing refers to is gone. */
  async #measure(): Promise<{ order: { eviction: Eviction; freesBytes: number }[]; neededBytes: number }> {
    const { blobs } = this.#parts;
    const listed = await this.#listCaches();
    const evictions = evictionOrder(this.#facts(listed)).slice(0, CANDIDATES_MAX);
    const candidates = evictions.flatMap(asBlob);
    const { usedBytes, unneededBytes, freesBytes } = await blobs.weigh(candidates);
    let at = 0;
    const order = evictions.map((eviction) => ({
      eviction,
      freesBytes: eviction.kind === 'cache' ? eviction.bytes : (freesBytes[at++] ?? 0),
    }));
    this.#usedBytes = usedBytes + listed.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#freeableBytes = order.reduce((sum, one) => sum + one.freesBytes, unneededBytes);
    return { order, neededBytes: this.#usedBytes - unneededBytes };
  }

  /** Those that went; what others would not keep stays, and is not asked about for a while. */
  async #evict(chosen: readonly Eviction[]): Promise<Eviction[]> {
    const { blobs, caches, keeping, nowMs } = this.#parts;
    const gone: Eviction[] = [];
    const questions: KeepQuestion[] = [];
    const going: Blob[] = [];
    for (const eviction of chosen) {
      if (eviction.kind === 'cache') {
        await caches.remove(eviction.app);
        this.#caches = undefined;
      } else if (eviction.kind === 'oldRelease' || eviction.kind === 'ahead') {
        questions.push(eviction);
        continue;
      } else going.push(...asBlob(eviction));
      gone.push(eviction);
    }
    if (questions.length === 0) {
      await blobs.evict(going);
      return gone;
    }
    const refused = await keeping.giveUpWhatOthersKeep(questions, (digests) =>
      // An instance may have been given to this node meanwhile.
      blobs.evict([
        ...going,
        ...digests.filter((digest) => !this.isNeededHere(digest)).map((digest): Blob => ({ digest, stay: 'kept' })),
      ]),
    );
    for (const digest of refused) this.#refusedUntilMs.set(digest, nowMs() + REFUSED_MS);
    const stayed = new Set(refused);
    return [...gone, ...chosen.filter((one) => 'othersMin' in one && !stayed.has(one.digest))];
  }

  async #listCaches(): Promise<CacheUse[]> {
    this.#caches ??= this.#parts.caches.list();
    const listing = this.#caches;
    try {
      return await listing;
    } catch (error) {
      if (this.#caches === listing) this.#caches = undefined;
      throw error;
    }
  }

  #facts(caches: CacheUse[]): EvictionFacts {
    const { self, blobs, keeping, nowMs } = this.#parts;
    const releases = new Map<Digest, { current: boolean; releasedAtMs: number }>();
    for (const app of this.#parts.view().apps.values()) {
      for (const { id, droplet, createdAtMs } of app.releases) {
        const known = releases.get(droplet.digest);
        releases.set(droplet.digest, {
          current: app.release?.id === id || known?.current === true,
          releasedAtMs: Math.max(createdAtMs, known?.releasedAtMs ?? 0),
        });
      }
    }
    const held = blobs.list();
    const others = new Map<Digest, NodeId[]>(held.map((digest) => [digest, []]));
    for (const { id, status, draining, report } of this.#parts.observed().members) {
      if (id === self || status !== 'alive' || draining) continue;
      for (const digest of report?.droplets ?? []) others.get(digest)?.push(id);
    }
    for (const [digest, untilMs] of this.#refusedUntilMs) {
      if (untilMs < nowMs()) this.#refusedUntilMs.delete(digest);
    }
    return {
      nowMs: nowMs(),
      held,
      unusedSinceMs: this.#parts.unusedSinceMs(),
      releases,
      runningHere: this.#runningHere(),
      othersHolding: (digest) => others.get(digest) ?? [],
      pinned: new Set([...keeping.promised(), ...this.#refusedUntilMs.keys()]),
      sources: [...blobs.sourcesUsedAtMs()].map(([digest, usedAtMs]) => ({ digest, usedAtMs })),
      caches,
    };
  }

  #runningHere(): Set<Digest> {
    const { apps } = this.#parts.view();
    return new Set(
      this.#parts.instancesHere().flatMap(({ app, release }) => {
        const found = apps.get(app)?.releases.find(({ id }) => id === release);
        return found === undefined ? [] : [found.droplet.digest];
      }),
    );
  }

  #refusal(): string {
    const { budgetBytes } = this.#parts;
    const neededBytes = Math.max(0, this.#usedBytes - this.#freeableBytes);
    return `it does not fit: this node may use ${mebibytes(budgetBytes)} for droplets, sources and build caches, and ${mebibytes(neededBytes)} of that are needed: start the node with a larger --blobs, delete apps, or push to another node`;
  }
}

const mebibytes = (bytes: number): string => `${(bytes / 1024 ** 2).toFixed(bytes < 10 * 1024 ** 2 ? 1 : 0)} MiB`;

function asBlob(eviction: Eviction): Blob[] {
  if (eviction.kind === 'cache') return [];
  return [{ digest: eviction.digest, stay: eviction.kind === 'source' ? 'passing' : 'kept' }];
}

export async function defaultBudgetBytes(dataDir: string): Promise<number> {
  const { blocks, bsize } = await statfs(dataDir);
  return Math.floor(blocks * bsize * DISK_SHARE);
}
