// Seals texts with a cluster key, and opens them. Pure but for the making of a new key; knows nothing of where keys or
// sealed texts are kept.
//
// AES-256-GCM with a synthetic nonce: it follows from the text and its place by HMAC, under a key of its own. So equal
// texts in one place are sealed alike, which lets what is sealed be compared, and no nonce comes twice with two texts.

import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { NONCE_BYTES, PADDED_TO_BYTES, SEALED_MARK, sealedParts, TAG_BYTES } from '../../crdt/sealed.ts';

/** `secret_unreadable`: not opened. `no_cluster_key`: not sealed. */
export class SecretError extends Error {
  override readonly name = 'SecretError';
  readonly code: 'secret_unreadable' | 'no_cluster_key';
  constructor(code: SecretError['code'], message: string) {
    super(message);
    this.code = code;
  }
}

const unreadable = (context: string, why: string): SecretError =>
  new SecretError('secret_unreadable', `the secret ${context} cannot be opened: ${why}`);

export const CLUSTER_KEY_BYTES = 32;
const KEY_ID_BYTES = 8;
const CIPHER = 'aes-256-gcm';
const PAD_BEGIN = 0x80;

/** The parts that follow from the 32 bytes of a cluster key; secret, but for the id. */
export type ClusterKey = {
  /** Follows from the key, so that a wrong one is known as such. */
  readonly id: string;
  readonly bytes: Buffer;
  readonly sealing: Buffer;
  readonly nonces: Buffer;
};

export const newClusterKey = (): ClusterKey => clusterKeyOf(randomBytes(CLUSTER_KEY_BYTES));

export function clusterKeyOf(bytes: Buffer): ClusterKey {
  if (bytes.length !== CLUSTER_KEY_BYTES) throw new RangeError(`a cluster key has ${CLUSTER_KEY_BYTES} bytes`);
  const part = (use: string, length: number): Buffer =>
    Buffer.from(hkdfSync('sha256', bytes, '', `peer cluster key 1: ${use}`, length));
  return {
    id: part('id', KEY_ID_BYTES).toString('hex'),
    bytes,
    sealing: part('sealing', 32),
    nonces: part('nonces', 32),
  };
}

/** The same key, context and text always give the same result. */
export function seal(key: ClusterKey, context: string, plain: string): string {
  const padded = pad(Buffer.from(plain));
  const nonce = nonceOf(key, context, padded);
  const cipher = createCipheriv(CIPHER, key.sealing, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(boundTo(key.id, context));
  const encrypted = Buffer.concat([cipher.update(padded), cipher.final()]);
  const data = Buffer.concat([nonce, encrypted, cipher.getAuthTag()]);
  return `${SEALED_MARK}${key.id}:${data.toString('base64url')}`;
}

/**
 * `keyOf` finds a key by its id. Fails with SecretError `secret_unreadable`, whose message holds nothing of the text.
 */
export function open(keyOf: (id: string) => ClusterKey | undefined, context: string, sealed: string): string {
  const parts = sealedParts(sealed);
  if (parts === undefined) throw unreadable(context, 'it is not sealed, or damaged');
  const key = keyOf(parts.keyId);
  if (key === undefined) {
    throw unreadable(
      context,
      `this node does not have the cluster key ${parts.keyId}; other nodes give it to this one`,
    );
  }
  const data = Buffer.from(parts.data, 'base64url');
  const nonce = data.subarray(0, NONCE_BYTES);
  const padded = decrypted(key, context, data);
  const plain = padded === undefined ? undefined : unpad(padded);
  if (padded === undefined || plain === undefined || !timingSafeEqual(nonce, nonceOf(key, context, padded))) {
    throw unreadable(context, 'it was changed, or sealed for another place');
  }
  return plain;
}

function decrypted(key: ClusterKey, context: string, data: Buffer): Buffer | undefined {
  const end = data.length - TAG_BYTES;
  const decipher = createDecipheriv(CIPHER, key.sealing, data.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES });
  decipher.setAAD(boundTo(key.id, context));
  decipher.setAuthTag(data.subarray(end));
  try {
    return Buffer.concat([decipher.update(data.subarray(NONCE_BYTES, end)), decipher.final()]);
  } catch {
    return undefined;
  }
}

const boundTo = (keyId: string, context: string): Buffer => Buffer.from(`peer sealed 1\0${keyId}\0${context}`);

/** A context holds no NUL: it is made of ids and names. */
const nonceOf = (key: ClusterKey, context: string, padded: Buffer): Buffer =>
  createHmac('sha256', key.nonces).update(context).update('\0').update(padded).digest().subarray(0, NONCE_BYTES);

function pad(plain: Buffer): Buffer {
  const padded = Buffer.alloc((Math.floor(plain.length / PADDED_TO_BYTES) + 1) * PADDED_TO_BYTES);
  plain.copy(padded);
  padded[plain.length] = PAD_BEGIN;
  return padded;
}

function unpad(padded: Buffer): string | undefined {
  let end = padded.length - 1;
  while (end >= 0 && padded[end] === 0) end--;
  return padded[end] === PAD_BEGIN ? padded.toString('utf8', 0, end) : undefined;
}
