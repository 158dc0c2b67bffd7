// Rendezvous weight: a fixed pseudo-random number for a (slot, node) pair, the total tie-break of every ranking.

/**
 * 53-bit weight of the pair; the highest weight among nodes wins. Two 32-bit multiplicative mixes over UTF-16 units,
 * so that it needs no library and is the same on every machine and version.
 * @see Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996 (highest random weight)
 */
export function rendezvousWeight(key: string, node: string): number {
  return rendezvousWeights(key)(node);
}

/** The weights of one key with any node: what the key contributes is worked out once. */
export function rendezvousWeights(key: string): (node: string) => number {
  const [high, low] = mix(0x9e3779b1, 0x85ebca77, `${key}\u0000`);
  return (node) => weightAfter(high, low, node);
}

function mix(high: number, low: number, text: string): [number, number] {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    high = Math.imul(high ^ unit, 0x01000193);
    low = Math.imul(low ^ unit, 0x5bd1e995);
    low ^= high >>> 15;
  }
  return [high, low];
}

function weightAfter(keyHigh: number, keyLow: number, node: string): number {
  let [high, low] = mix(keyHigh, keyLow, node);
  high = finish(high ^ (low >>> 7));
  low = finish(low ^ (high >>> 9));
  return (high & 0x1fffff) * 0x100000000 + low;
}

/** Weights are whole numbers from 0 to less than this. */
export const RENDEZVOUS_WEIGHTS = 2 ** 53;

/** Avalanche: every input bit reaches every output bit. Returns an unsigned 32-bit number. */
function finish(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x7feb352d);
  mixed ^= mixed >>> 15;
  mixed = Math.imul(mixed, 0x846ca68b);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
