// The node's key under a passphrase: what lies on disk opens with it alone. Knows nothing of where it lies.

import { createCipheriv, createDecipheriv, randomBytes, scrypt } from 'node:crypto';

const MARK = 'peer locked key 1\n';
const CIPHER = 'aes-256-gcm';
const SALT_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_BYTES = 32;
/** 64 MiB and about 200 ms on a small machine: once a start, and for each guess. */
const COST = { N: 2 ** 16, r: 8, p: 1, maxmem: 96 * 1024 * 1024 };

export const isLocked = (stored: Uint8Array): boolean =>
  Buffer.from(stored.subarray(0, MARK.length)).toString('latin1') === MARK;

export async function lockedKey(key: Uint8Array, passphrase: string): Promise<Buffer> {
  const [salt, nonce] = [randomBytes(SALT_BYTES), randomBytes(NONCE_BYTES)];
  const cipher = createCipheriv(CIPHER, await derived(passphrase, salt), nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.from(MARK));
  const encrypted = Buffer.concat([cipher.update(key), cipher.final()]);
  return Buffer.concat([Buffer.from(MARK), salt, nonce, encrypted, cipher.getAuthTag()]);
}

/** Undefined when it is another passphrase, or damaged: nobody can tell which. */
export async function unlockedKey(stored: Uint8Array, passphrase: string): Promise<Buffer | undefined> {
  const data = Buffer.from(stored).subarray(MARK.length);
  const begin = SALT_BYTES + NONCE_BYTES;
  if (data.length < begin + TAG_BYTES) return undefined;
  const key = await derived(passphrase, data.subarray(0, SALT_BYTES));
  const decipher = createDecipheriv(CIPHER, key, data.subarray(SALT_BYTES, begin), { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.from(MARK));
  const end = data.length - TAG_BYTES;
  decipher.setAuthTag(data.subarray(end));
  try {
    return Buffer.concat([decipher.update(data.subarray(begin, end)), decipher.final()]);
  } catch {
    return undefined;
  }
}

const derived = (passphrase: string, salt: Buffer): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    scrypt(passphrase.normalize('NFC'), salt, KEY_BYTES, COST, (error, key) => (error ? reject(error) : resolve(key)));
  });
