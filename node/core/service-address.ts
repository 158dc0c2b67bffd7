// Addresses and names that bound apps reach services by. Out of 198.18.0.0/15, which no network uses (RFC 2544 sets it
// aside for measurements); its other half is for the networks of a container engine. Pure.

import { rendezvousWeight } from './hash.ts';

/** Third octets of 198.18.0.0/16. */
const BLOCKS = 256;
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

/** What clients call it; only within the sandboxes of bound apps is it known. */
export function serviceHost(name: string): string {
  return `${name}.service.internal`;
}

/**
 * 198.18.1.2 → 127.18.1.2: where instances reach a service that share the machine's network, which has a loopback
 * address for each.
 */
export function loopbackAddress(address: string): string {
  return address.replace(/^\d+/, '127');
}

function addressAt(index: number): string {
  return `198.18.${Math.floor(index / ADDRESSES_PER_BLOCK)}.${(index % ADDRESSES_PER_BLOCK) + 1}`;
}
