// Addresses of services: free ones, all of them reachable by counting, and never one that is in use.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loopbackAddress, serviceAddress, serviceHost } from '../../node/core/service-address.ts';

describe('the address of a service', () => {
  it('is in 198.18.0.0/16 and ends in neither 0 nor 255, whatever the seed', () => {
    fc.assert(
      fc.property(fc.string(), (seed) => {
        const [first, second, third, last] = serviceAddress(new Set(), seed).split('.').map(Number);
        expect([first, second]).toEqual([198, 18]);
        expect(third).toBeLessThanOrEqual(255);
        expect(last).toBeGreaterThan(0);
        expect(last).toBeLessThan(255);
      }),
    );
  });

  it('is the same for the same seed, and another one when that is taken', () => {
    const address = serviceAddress(new Set(), 'seed');
    expect(serviceAddress(new Set(), 'seed')).toBe(address);
    expect(serviceAddress(new Set([address]), 'seed')).not.toBe(address);
    expect(serviceAddress(new Set(), 'another seed')).not.toBe(address);
  });

  it('is the last one that is free, and there is none when all are taken', () => {
    const taken = new Set<string>();
    for (let third = 0; third < 256; third++) {
      for (let last = 1; last < 255; last++) taken.add(`198.18.${third}.${last}`);
    }
    taken.delete('198.18.77.7');
    expect(serviceAddress(taken, 'seed')).toBe('198.18.77.7');
    taken.add('198.18.77.7');
    expect(() => serviceAddress(taken, 'seed')).toThrow('every address for services is taken');
  });

  it('has a name, and a loopback address of its own', () => {
    expect(serviceHost('orders-db')).toBe('orders-db.service.internal');
    expect(loopbackAddress('198.18.3.9')).toBe('127.18.3.9');
  });
});
