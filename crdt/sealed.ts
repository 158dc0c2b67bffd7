// How secrets look where they stand in the document, and what each is bound to. Pure, and free of keys: what is sealed
// is made and opened in node/secrets.
//
// `sealed:1:KEY:DATA`: the id of the cluster key, and in base64url a nonce, the padded text as it is encrypted, and
// its tag.

import type { AppId, BindingId, ServiceId } from './ids.ts';

export const SEALED_MARK = 'sealed:1:';
export const NONCE_BYTES = 12;
export const TAG_BYTES = 16;
/** What is sealed is filled up to a multiple of this, at least by one byte, so that its length says little. */
export const PADDED_TO_BYTES = 32;

export const CLUSTER_KEY_ID_PATTERN = /^[0-9a-f]{16}$/;
/** A cluster key, encrypted for one node: 80 bytes. */
export const WRAPPED_KEY_PATTERN = /^wrapped:1:[A-Za-z0-9_-]{107}$/;
/** A node's public key of X25519. */
export const SEAL_KEY_PATTERN = /^[A-Za-z0-9_-]{43}$/;
const SEALED_PATTERN = /^sealed:1:([0-9a-f]{16}):([A-Za-z0-9_-]{80,})$/;

export type SealedParts = { keyId: string; data: string };

/** Undefined when the text is not sealed. */
export function sealedParts(text: string): SealedParts | undefined {
  // Most texts are not: the pattern is not run over all of a long one.
  if (!text.startsWith(SEALED_MARK)) return undefined;
  const match = SEALED_PATTERN.exec(text);
  return match === null ? undefined : { keyId: match[1]!, data: match[2]! };
}

export const isSealed = (text: string): boolean => sealedParts(text) !== undefined;

/**
 * The least that the text itself can have, in bytes; undefined when it is not sealed. How much more it has, up to
 * PADDED_TO_BYTES, only who opens it knows.
 */
export function sealedTextBytesMin(text: string): number | undefined {
  const parts = sealedParts(text);
  if (parts === undefined) return undefined;
  const padded = Math.floor((parts.data.length * 3) / 4) - NONCE_BYTES - TAG_BYTES;
  return Math.max(0, padded - PADDED_TO_BYTES);
}

/** What a secret is bound to: moved to another place, it opens no more. */
export const envContext = (app: AppId, name: string): string => `env/${app}/${name}`;
export const serviceContext = (service: ServiceId): string => `service/${service}`;
export const bindingContext = (binding: BindingId): string => `binding/${binding}`;
