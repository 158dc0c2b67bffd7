// Measures how full volumes are, one after the other in a process of its own, and says when one comes to be nearly
// full, full, or larger than can be let pass. Ends nothing and removes nothing: it is people's data.

import { diskUseBytes } from '../lib/disk-use.ts';
import { formatBytes } from '../lib/format-bytes.ts';

/** Of one that is mounted; the others do not change. */
export const SAMPLE_MS = 10_000;
/** A folder with many files takes long to measure; measuring may take this share of the time at most. */
const SAMPLE_SHARE = 0.02;
const FILLING_SHARE = 0.9;
const OVERFULL_SHARE = 1.1;

export type Fullness = 'room' | 'filling' | 'full' | 'overfull';
const ORDER: readonly Fullness[] = ['room', 'filling', 'full', 'overfull'];

export function fullnessOf(usedBytes: number, sizeBytes: number): Fullness {
  if (usedBytes > sizeBytes * OVERFULL_SHARE) return 'overfull';
  if (usedBytes >= sizeBytes) return 'full';
  return usedBytes >= sizeBytes * FILLING_SHARE ? 'filling' : 'room';
}

/** `its volume /data is full: 1.1 GiB of 1 GiB`. */
export function fullnessMessage(path: string, { usedBytes, sizeBytes }: { usedBytes: number; sizeBytes: number }) {
  const state = usedBytes >= sizeBytes ? 'is full' : 'is nearly full';
  return `its volume ${path} ${state}: ${formatBytes(usedBytes)} of ${formatBytes(sizeBytes)}`;
}

type Measured = {
  folder: string;
  sizeBytes: number;
  mounted: boolean;
  usedBytes: number | undefined;
  /** As it was said last. */
  said: Fullness;
  dueMs: number;
};

export type MeterOptions = {
  onFullness: (key: string, fullness: Exclude<Fullness, 'room'>, usedBytes: number) => void;
  sampleMs?: number | undefined;
};

export class Meter {
  readonly #options: MeterOptions;
  readonly #volumes = new Map<string, Measured>();
  #timer: NodeJS.Timeout | undefined;
  #measuring = false;
  #closed = false;

  constructor(options: MeterOptions) {
    this.#options = options;
  }

  usedBytes(key: string): number | undefined {
    return this.#volumes.get(key)?.usedBytes;
  }

  /** Takes note of a volume, or of what is different about one. */
  set(key: string, volume: { folder: string; sizeBytes: number; mounted: boolean }): void {
    const before = this.#volumes.get(key);
    const afterMs = volume.mounted ? this.#sampleMs : 0;
    const { usedBytes, said } = before ?? { usedBytes: undefined, said: 'room' as const };
    this.#volumes.set(key, { ...volume, usedBytes, said, dueMs: performance.now() + afterMs });
    this.#schedule();
  }

  delete(key: string): void {
    this.#volumes.delete(key);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  get #sampleMs(): number {
    return this.#options.sampleMs ?? SAMPLE_MS;
  }

  #schedule(): void {
    clearTimeout(this.#timer);
    if (this.#closed || this.#measuring) return;
    const dueMs = Math.min(...[...this.#volumes.values()].map((volume) => volume.dueMs));
    if (!Number.isFinite(dueMs)) return;
    this.#timer = setTimeout(() => void this.#measureNext(), Math.max(0, dueMs - performance.now()));
    this.#timer.unref();
  }

  async #measureNext(): Promise<void> {
    const [next] = [...this.#volumes].sort(([, a], [, b]) => a.dueMs - b.dueMs);
    if (next === undefined) return;
    const [key, volume] = next;
    this.#measuring = true;
    const startMs = performance.now();
    const usedBytes = await diskUseBytes(volume.folder);
    this.#measuring = false;
    const now = this.#volumes.get(key);
    // Changed meanwhile: it has a time of its own.
    if (now === volume && !this.#closed) {
      const tookMs = performance.now() - startMs;
      volume.usedBytes = usedBytes ?? volume.usedBytes;
      const pauseMs = Math.max(this.#sampleMs, tookMs / SAMPLE_SHARE);
      volume.dueMs = volume.mounted ? performance.now() + pauseMs : Number.POSITIVE_INFINITY;
      if (usedBytes !== undefined) this.#judge(key, volume, usedBytes);
    }
    this.#schedule();
  }

  #judge(key: string, volume: Measured, usedBytes: number): void {
    const fullness = fullnessOf(usedBytes, volume.sizeBytes);
    const isNews = ORDER.indexOf(fullness) > ORDER.indexOf(volume.said) || fullness === 'overfull';
    volume.said = fullness;
    if (isNews && volume.mounted && fullness !== 'room') this.#options.onFullness(key, fullness, usedBytes);
  }
}
