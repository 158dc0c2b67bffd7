// Derives a node's id (its libp2p peer id) from a certificate or a raw Ed25519 key. Loads nothing of libp2p, because
// the router process needs it and must stay small. Never decides whether the node may do anything.

import { asNodeId, type NodeId } from '../../crdt/ids.ts';

const { X509Certificate } = process.getBuiltinModule('node:crypto');
type X509 = InstanceType<typeof X509Certificate>;

const ED25519_KEY_BYTES = 32;
/** Identity multihash (0x00) of 36 bytes (0x24): the protobuf {Type: Ed25519, Data: 32 bytes}. */
const PEER_ID_PREFIX = Buffer.from([0x00, 0x24, 0x08, 0x01, 0x12, 0x20]);
const BASE58_ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';

/** @see https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md */
export function nodeIdOfPublicKey(key: Uint8Array): NodeId {
  if (key.length !== ED25519_KEY_BYTES) throw new RangeError(`an Ed25519 public key has 32 bytes, not ${key.length}`);
  return asNodeId(base58(Buffer.concat([PEER_ID_PREFIX, key])));
}

/** The id of the node that holds the certificate's key; undefined when it is no readable Ed25519 certificate. */
export function nodeIdOfCertificate(certificate: Buffer | X509 | { raw: Buffer }): NodeId | undefined {
  try {
    const x509 =
      certificate instanceof X509Certificate
        ? certificate
        : new X509Certificate(Buffer.isBuffer(certificate) ? certificate : certificate.raw);
    const key = x509.publicKey;
    if (key.asymmetricKeyType !== 'ed25519') return undefined;
    return nodeIdOfPublicKey(Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url'));
  } catch {
    return undefined;
  }
}

function base58(bytes: Uint8Array): string {
  // Digits of the number in base 58, least significant first. Quadratic, on 38 bytes.
  const digits: number[] = [];
  for (const byte of bytes) {
    let carry = byte;
    for (let at = 0; at < digits.length; at++) {
      carry += digits[at]! << 8;
      digits[at] = carry % 58;
      carry = Math.floor(carry / 58);
    }
    for (; carry > 0; carry = Math.floor(carry / 58)) digits.push(carry % 58);
  }
  let text = '';
  for (const byte of bytes) {
    if (byte !== 0) break;
    text += BASE58_ALPHABET[0];
  }
  for (let at = digits.length - 1; at >= 0; at--) text += BASE58_ALPHABET[digits[at]!];
  return text;
}
