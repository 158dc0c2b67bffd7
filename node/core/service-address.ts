// Addresses of services: out of 198.18.0.0/15, which no network uses (RFC 2544 keeps it for measurements). Pure.

import { rendezvousWeight } from './hash.ts';

const FIRST_OCTETS = [198, 18] as const;
/** Third octets, of 198.18 and 198.19 together. */
const BLOCKS = 512;
/** .0 and .255 of each are left out: some programs take them for a network and for everyone in it. */
const ADDRESSES_PER_BLOCK = 254;
const ADDRESSES = BLOCKS * ADDRESSES_PER_BLOCK;

/** One that is not taken; with another seed most likely another one. Fails when all are. */
export function serviceAddress(taken: ReadonlySet<string>, seed: string): string {
  const first = rendezvousWeight('address', seed) % ADDRESSES;
  for (let offset = 0; offset < ADDRESSES; offset++) {
    const address = addressAt((first + offset) % ADDRESSES);
    if (!taken.has(address)) return address;
  }
  throw new Error('every address for services is taken');
}

function addressAt(index: number): string {
  const block = Math.floor(index / ADDRESSES_PER_BLOCK);
  const [first, second] = FIRST_OCTETS;
  return [first, second + Math.floor(block / 256), block % 256, (index % ADDRESSES_PER_BLOCK) + 1].join('.');
}
