// Automerge's binary chunks as they arrive from other nodes: whether the bytes are whole, of a bounded size even once
// inflated, and which change they hold. Looks at the envelope only; what a change does is judged in screen.ts.
//
// Automerge itself trusts the checksum of a chunk in some paths, and inflates without a bound.
// @see https://automerge.org/automerge-binary-format-spec/

import { createHash } from 'node:crypto';
import { inflateRawSync } from 'node:zlib';

const MAGIC = Uint8Array.of(0x85, 0x6f, 0x4a, 0x83);
const CHECKSUM_OFFSET = 4;
const TYPE_OFFSET = 8;
const LENGTH_OFFSET = 9;
const TYPE_CHANGE = 1;
const TYPE_COMPRESSED_CHANGE = 2;

/** One change, as it travels. Writes beyond it are rejected where they are made. */
export const CHANGE_BYTES_MAX = 1024 * 1024;
/** One change, inflated. */
export const CHANGE_INFLATED_BYTES_MAX = 4 * 1024 * 1024;

export type Chunk = {
  /** `other`: a whole document or a bundle of changes. */
  kind: 'change' | 'other';
  /** SHA-256 of the content; for a change, its hash. */
  hash: string;
  /** Length of the chunk with its envelope; another may follow in the same bytes. */
  length: number;
};

/** The first chunk of the bytes; throws RangeError with the reason when they do not begin with a sound one. */
export function readChunk(bytes: Uint8Array): Chunk {
  if (bytes.length <= LENGTH_OFFSET || MAGIC.some((byte, at) => bytes[at] !== byte)) {
    throw new RangeError('not an Automerge chunk');
  }
  const type = bytes[TYPE_OFFSET];
  const { value: contentLength, offset } = readLength(bytes, LENGTH_OFFSET);
  const end = offset + contentLength;
  if (end > bytes.length) throw new RangeError('chunk is cut short');
  const hash = createHash('sha256');
  if (type === TYPE_COMPRESSED_CHANGE) {
    // The checksum of a compressed change is that of the change it inflates to.
    const inflated = inflate(bytes.subarray(offset, end));
    hash.update(Uint8Array.of(TYPE_CHANGE)).update(lengthBytes(inflated.length)).update(inflated);
  } else {
    hash.update(bytes.subarray(TYPE_OFFSET, end));
  }
  const digest = hash.digest();
  if (digest.compare(bytes, CHECKSUM_OFFSET, TYPE_OFFSET, 0, TYPE_OFFSET - CHECKSUM_OFFSET) !== 0) {
    throw new RangeError('checksum does not match');
  }
  const kind = type === TYPE_CHANGE || type === TYPE_COMPRESSED_CHANGE ? 'change' : 'other';
  return { kind, hash: digest.toString('hex'), length: end };
}

/** The hash of the one change that the bytes hold; throws RangeError with the reason when they hold anything else. */
export function changeHash(bytes: Uint8Array): string {
  if (bytes.length > CHANGE_BYTES_MAX) throw new RangeError(`change is larger than ${CHANGE_BYTES_MAX} bytes`);
  const chunk = readChunk(bytes);
  if (chunk.kind !== 'change') throw new RangeError('not a change');
  if (chunk.length !== bytes.length) throw new RangeError('bytes follow the change');
  return chunk.hash;
}

function inflate(bytes: Uint8Array): Uint8Array {
  try {
    return inflateRawSync(bytes, { maxOutputLength: CHANGE_INFLATED_BYTES_MAX });
  } catch {
    throw new RangeError(`change does not inflate within ${CHANGE_INFLATED_BYTES_MAX} bytes`);
  }
}

/** LEB128, unsigned; 5 bytes hold any length that fits the bounds. */
function readLength(bytes: Uint8Array, at: number): { value: number; offset: number } {
  let value = 0;
  for (let index = 0; index < 5; index++) {
    const byte = bytes[at + index];
    if (byte === undefined) break;
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte < 0x80) return { value, offset: at + index + 1 };
  }
  throw new RangeError('length of the chunk is malformed');
}

function lengthBytes(length: number): Uint8Array {
  const bytes: number[] = [];
  let rest = length;
  do {
    const more = rest > 0x7f ? 0x80 : 0;
    bytes.push((rest & 0x7f) | more);
    rest >>>= 7;
  } while (rest > 0);
  return Uint8Array.from(bytes);
}
