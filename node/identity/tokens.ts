// Tokens: what people show to say who they are. Makes them, and what the cluster keeps of them.

import { createHash, randomBytes } from 'node:crypto';

const TOKEN_BYTES = 32;

/** A fresh 256-bit token. It is shown to its owner once; the cluster keeps the hash. */
export function newToken(): { token: string; tokenHash: string } {
  const token = `peer_${randomBytes(TOKEN_BYTES).toString('hex')}`;
  return { token, tokenHash: tokenHashOf(token) };
}

/** SHA-256 in hex; no salt or stretching, as a token is 256 random bits already. */
export function tokenHashOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
