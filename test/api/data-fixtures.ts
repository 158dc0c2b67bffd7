// What tests of services are given in the place of engines and keys: two kinds, the engines that nodes say they have,
// and a keeper with real encryption under a key of its own.

import { createCipheriv, createDecipheriv, createHmac } from 'node:crypto';
import type { SecretKeeper } from '../../node/ports/secrets.ts';
import type { KindInfo } from '../../node/ports/services-desk.ts';

const MIB = 1024 ** 2;
const GIB = 1024 * MIB;

const plan = (memoryBytes: number, connections: number) => ({ memoryBytes, storageBytes: GIB, connections });

export const KINDS: readonly KindInfo[] = [
  {
    name: 'postgres',
    tags: ['postgres', 'sql'],
    plans: { small: plan(128 * MIB, 40), medium: plan(256 * MIB, 80), large: plan(2 * GIB, 200) },
    debianPackage: 'postgresql',
  },
  {
    name: 'redis',
    tags: ['redis'],
    plans: { small: plan(64 * MIB, 100), medium: plan(128 * MIB, 200), large: plan(512 * MIB, 500) },
    debianPackage: 'redis-server',
  },
];

/** Of a node where a test says nothing else. */
export const ENGINES = ['postgres 15', 'redis 7.0'];

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** The same text for the same context is the same, and opens for no other. */
export function testKeeper(): SecretKeeper {
  const key = Buffer.alloc(32, 7);
  return {
    seal(context, plain) {
      const nonce = createHmac('sha256', key).update(`${context}\0${plain}`).digest().subarray(0, NONCE_BYTES);
      const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context));
      const sealed = Buffer.concat([nonce, cipher.update(plain, 'utf8'), cipher.final(), cipher.getAuthTag()]);
      return `sealed:1:test:${sealed.toString('base64url')}`;
    },
    open(context, sealed) {
      const bytes = Buffer.from(sealed.split(':').at(-1)!, 'base64url');
      const nonce = bytes.subarray(0, NONCE_BYTES);
      const cipher = createDecipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.from(context));
      cipher.setAuthTag(bytes.subarray(-TAG_BYTES));
      return Buffer.concat([cipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), cipher.final()]).toString('utf8');
    },
  };
}
