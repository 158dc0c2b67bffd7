// Encrypts a cluster key for one node, and opens what is for this one. A node's own key (X25519) follows from its
// identity, so there is nothing more to keep, and its public half stands in the desired state.

import {
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  hkdfSync,
  type KeyObject,
} from 'node:crypto';
import type { NodeId } from '../../crdt/ids.ts';
import { NONCE_BYTES, SEAL_KEY_PATTERN, TAG_BYTES, WRAPPED_KEY_PATTERN } from '../../crdt/sealed.ts';
import { CLUSTER_KEY_BYTES, type ClusterKey, clusterKeyOf } from './seal.ts';

/** PKCS #8 and SPKI headers of X25519; the 32 bytes of the key follow. @see RFC 8410, sections 4 and 7 */
const PKCS8_X25519_PREFIX = Buffer.from('302e020100300506032b656e04220420', 'hex');
const SPKI_X25519_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');
const X25519_BYTES = 32;
const CIPHER = 'aes-256-gcm';
const WRAPPED_MARK = 'wrapped:1:';

/** What a node opens cluster keys with. `sealKey` is public, in base64url. */
export type NodeKey = { readonly sealKey: string; readonly private: KeyObject };

/** `seed`: the private key of the node's identity (Ed25519), 32 bytes. Always the same for the same. */
export function nodeKeyOf(seed: Uint8Array): NodeKey {
  const bytes = Buffer.from(hkdfSync('sha256', seed, '', 'peer node key for secrets 1', X25519_BYTES));
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_X25519_PREFIX, bytes]), format: 'der', type: 'pkcs8' });
  return { private: key, sealKey: rawOf(createPublicKey(key)).toString('base64url') };
}

/** The cluster key for the node alone: a new key pair, agreed with the node's key. Never twice the same. */
export function wrapKey(key: ClusterKey, node: NodeId, sealKey: string): string {
  const ephemeral = generateKeyPairSync('x25519');
  const point = rawOf(ephemeral.publicKey);
  const shared = diffieHellman({ privateKey: ephemeral.privateKey, publicKey: publicKeyOf(sealKey) });
  const { secret, nonce } = agreed(shared, point, sealKey);
  const cipher = createCipheriv(CIPHER, secret, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(boundTo(key.id, node));
  const encrypted = Buffer.concat([cipher.update(key.bytes), cipher.final()]);
  return WRAPPED_MARK + Buffer.concat([point, encrypted, cipher.getAuthTag()]).toString('base64url');
}

/** Undefined when it is not for this node, damaged, or another key than it says. */
export function unwrapKey(wrapped: string, keyId: string, node: NodeId, own: NodeKey): ClusterKey | undefined {
  if (!WRAPPED_KEY_PATTERN.test(wrapped)) return undefined;
  const data = Buffer.from(wrapped.slice(WRAPPED_MARK.length), 'base64url');
  const point = data.subarray(0, X25519_BYTES);
  try {
    const publicKey = publicKeyOf(point.toString('base64url'));
    const { secret, nonce } = agreed(diffieHellman({ privateKey: own.private, publicKey }), point, own.sealKey);
    const decipher = createDecipheriv(CIPHER, secret, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(boundTo(keyId, node));
    const end = X25519_BYTES + CLUSTER_KEY_BYTES;
    decipher.setAuthTag(data.subarray(end));
    const key = clusterKeyOf(Buffer.concat([decipher.update(data.subarray(X25519_BYTES, end)), decipher.final()]));
    return key.id === keyId ? key : undefined;
  } catch {
    return undefined;
  }
}

/** Both follow from what only the two sides know; as the key pair is new each time, so is the nonce. */
function agreed(shared: Buffer, point: Buffer, sealKey: string): { secret: Buffer; nonce: Buffer } {
  const salt = Buffer.concat([point, Buffer.from(sealKey, 'base64url')]);
  const bytes = Buffer.from(hkdfSync('sha256', shared, salt, 'peer wrapped key 1', CLUSTER_KEY_BYTES + NONCE_BYTES));
  return { secret: bytes.subarray(0, CLUSTER_KEY_BYTES), nonce: bytes.subarray(CLUSTER_KEY_BYTES) };
}

const boundTo = (keyId: string, node: NodeId): Buffer => Buffer.from(`peer wrapped 1\0${keyId}\0${node}`);

const rawOf = (key: KeyObject): Buffer =>
  key.export({ format: 'der', type: 'spki' }).subarray(SPKI_X25519_PREFIX.length);

function publicKeyOf(sealKey: string): KeyObject {
  if (!SEAL_KEY_PATTERN.test(sealKey)) throw new RangeError('the key of a node has 32 bytes in base64url');
  const key = Buffer.concat([SPKI_X25519_PREFIX, Buffer.from(sealKey, 'base64url')]);
  return createPublicKey({ key, format: 'der', type: 'spki' });
}
