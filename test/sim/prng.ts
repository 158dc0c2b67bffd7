// The only source of chance in a simulation: sfc32, seeded. The same seed gives the same numbers on every machine.
// Streams are forked by name, so that drawing more numbers in one part changes nothing in another.

/** @see PractRand, sfc32 by Chris Doty-Humphrey: 128 bits of state, public domain */
export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;
  readonly #seed: string;

  constructor(seed: string) {
    this.#seed = seed;
    this.#a = hash32(`${seed}/a`);
    this.#b = hash32(`${seed}/b`);
    this.#c = hash32(`${seed}/c`);
    // The first outputs still show the seed.
    for (let i = 0; i < 12; i++) this.u32();
  }

  fork(name: string): Prng {
    return new Prng(`${this.#seed}/${name}`);
  }

  u32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    this.#c |= 0;
    return sum >>> 0;
  }

  /** In [0, 1). */
  share(): number {
    return this.u32() / 0x1_0000_0000;
  }

  /** Whole number in [from, to]. */
  between(from: number, to: number): number {
    return from + Math.floor(this.share() * (to - from + 1));
  }

  chance(probability: number): boolean {
    return this.share() < probability;
  }

  /** The list must not be empty. */
  pick<T>(list: readonly T[]): T {
    return list[this.between(0, list.length - 1)]!;
  }

  shuffle<T>(list: readonly T[]): T[] {
    const shuffled = [...list];
    for (let i = shuffled.length - 1; i > 0; i--) {
      const j = this.between(0, i);
      [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
    }
    return shuffled;
  }

  hex(bytes: number): string {
    let text = '';
    while (text.length < 2 * bytes) text += this.u32().toString(16).padStart(8, '0');
    return text.slice(0, 2 * bytes);
  }
}

/** FNV-1a with a final avalanche. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  hash = Math.imul(hash ^ (hash >>> 15), 0x846ca68b);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** Hex text of any length that depends on the text alone: ids and digests that stay when a schedule shrinks. */
export function hexOf(text: string, bytes: number): string {
  let hex = '';
  for (let i = 0; hex.length < 2 * bytes; i++) hex += hash32(`${text}#${i}`).toString(16).padStart(8, '0');
  return hex.slice(0, 2 * bytes);
}
