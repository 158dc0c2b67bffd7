// What tests of services are given in the place of engines: two kinds, and the engines that nodes say they have.

import type { KindInfo } from '../../node/ports/services-desk.ts';

const MIB = 1024 ** 2;
const GIB = 1024 * MIB;

const plan = (memoryBytes: number, connections: number) => ({ memoryBytes, storageBytes: GIB, connections });

export const KINDS: readonly KindInfo[] = [
  {
    name: 'postgres',
    hasLog: true,
    tags: ['postgres', 'sql'],
    plans: { small: plan(128 * MIB, 40), medium: plan(256 * MIB, 80), large: plan(2 * GIB, 200) },
    least: { memoryBytes: 64 * MIB, storageBytes: 128 * MIB },
    debianPackage: 'postgresql',
    keepsData: true,
  },
  {
    name: 'redis',
    tags: ['redis'],
    plans: { small: plan(64 * MIB, 100), medium: plan(128 * MIB, 200), large: plan(512 * MIB, 500) },
    least: { memoryBytes: 16 * MIB, storageBytes: 16 * MIB },
    debianPackage: 'redis-server',
    keepsData: true,
  },
];

/** Of a node where a test says nothing else. */
export const ENGINES = ['postgres 15', 'redis 7.0'];
