// What is said before a blob's raw bytes: the request names a digest, the header says the size or why not. Shapes only.

import type { Digest } from '../../crdt/ids.ts';
import { GossipError } from './errors.ts';
import { decodeJsonObject } from './frames.ts';

export type BlobHeader = { sizeBytes: number } | { refused: 'blob_missing' | 'busy' };

const DIGEST = /^sha256:[0-9a-f]{64}$/;

export function decodeBlobRequest(bytes: Uint8Array): Digest {
  const { digest } = decodeJsonObject(bytes);
  if (typeof digest !== 'string' || !DIGEST.test(digest))
    throw new GossipError('protocol', 'a blob request must name a digest');
  return digest as Digest;
}

export function decodeBlobHeader(bytes: Uint8Array): BlobHeader {
  const { sizeBytes, refused } = decodeJsonObject(bytes);
  if (refused === 'blob_missing' || refused === 'busy') return { refused };
  if (typeof sizeBytes !== 'number' || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
    throw new GossipError('protocol', 'the other node sent a blob without its size');
  return { sizeBytes };
}
