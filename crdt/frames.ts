// The bytes of the log on disk: a header that names the cluster, then frames, each the changes that one fsync made
// durable. Tells a torn end (a crash during the last write) from damage in the middle. Pure: reads and writes no file.
//
// Frame: magic, payload length, CRC of the payload, CRC of these 12 bytes; then the payload: changes, each behind its
// length. All numbers are 32 bits, big-endian. One frame is written only after the one before it is on disk, so only
// the last can be torn.

import { crc32 } from 'node:zlib';
import { reasonOf, StoreError } from './errors.ts';

export const FORMAT_VERSION = 1;

const FRAME_MAGIC = 0x50464d31;
const FRAME_HEADER_BYTES = 16;
const NUMBER_BYTES = 4;

/**
 * Header of a file of the store: an 8-letter kind, the format version, and the cluster's id behind its length, then
 * the CRC of all that.
 */
export function fileHeader(kind: string, clusterId: string): Buffer {
  const id = Buffer.from(clusterId, 'utf8');
  const head = Buffer.concat([Buffer.from(kind, 'latin1'), numbers(FORMAT_VERSION, id.length), id]);
  return Buffer.concat([head, numbers(crc32(head))]);
}

export type FileHeader = { clusterId: string; length: number };

/** Undefined when the bytes do not begin with a whole header of this kind. Throws StoreError `newer_version`. */
export function readFileHeader(kind: string, bytes: Buffer): FileHeader | undefined {
  const fixed = kind.length + 2 * NUMBER_BYTES;
  if (bytes.length < fixed || bytes.toString('latin1', 0, kind.length) !== kind) return undefined;
  if (bytes.readUInt32BE(kind.length) > FORMAT_VERSION) {
    throw new StoreError(
      'newer_version',
      'The data directory was written by a newer version; install that version, or use another data directory.',
    );
  }
  const end = fixed + bytes.readUInt32BE(kind.length + NUMBER_BYTES);
  if (bytes.length < end + NUMBER_BYTES || bytes.readUInt32BE(end) !== crc32(bytes.subarray(0, end))) return undefined;
  return { clusterId: bytes.toString('utf8', fixed, end), length: end + NUMBER_BYTES };
}

export function encodeFrame(changes: readonly Uint8Array[]): Buffer {
  const payload = Buffer.concat(changes.flatMap((change) => [numbers(change.length), change]));
  const head = numbers(FRAME_MAGIC, payload.length, crc32(payload));
  return Buffer.concat([head, numbers(crc32(head)), payload]);
}

export type Frames = {
  changes: Uint8Array[];
  frames: number;
  /** Where the last whole frame ends. What follows is a torn write. */
  end: number;
};

/** Reads the frames from an offset on. Throws RangeError, with what and where, when one in the middle is damaged. */
export function readFrames(bytes: Buffer, from: number): Frames {
  const changes: Uint8Array[] = [];
  let frames = 0;
  let end = from;
  while (end < bytes.length) {
    const frame = frameAt(bytes, end);
    if (frame.whole) {
      changes.push(...frame.changes);
      frames += 1;
      end = frame.end;
      continue;
    }
    // The last write reached as far as the file does; a frame after it means that this one had been whole once.
    if (frame.end < bytes.length || frameFollows(bytes, end + 1)) {
      throw new RangeError(`a record in the middle is damaged, ${end} bytes in`);
    }
    break;
  }
  return { changes, frames, end };
}

type Frame = { whole: true; changes: Uint8Array[]; end: number } | { whole: false; end: number };

/** `end` of a broken frame is where it would end as far as its header can be believed. */
function frameAt(bytes: Buffer, at: number): Frame {
  const length = payloadLengthAt(bytes, at);
  if (length === undefined) return { whole: false, end: bytes.length };
  const end = at + FRAME_HEADER_BYTES + length;
  if (end > bytes.length) return { whole: false, end };
  const payload = bytes.subarray(at + FRAME_HEADER_BYTES, end);
  if (crc32(payload) !== bytes.readUInt32BE(at + 2 * NUMBER_BYTES)) return { whole: false, end };
  return { whole: true, changes: splitPayload(payload), end };
}

function payloadLengthAt(bytes: Buffer, at: number): number | undefined {
  if (bytes.length - at < FRAME_HEADER_BYTES || bytes.readUInt32BE(at) !== FRAME_MAGIC) return undefined;
  const checked = FRAME_HEADER_BYTES - NUMBER_BYTES;
  if (crc32(bytes.subarray(at, at + checked)) !== bytes.readUInt32BE(at + checked)) return undefined;
  return bytes.readUInt32BE(at + NUMBER_BYTES);
}

function frameFollows(bytes: Buffer, from: number): boolean {
  const magic = numbers(FRAME_MAGIC);
  for (let at = bytes.indexOf(magic, from); at >= 0; at = bytes.indexOf(magic, at + 1)) {
    if (payloadLengthAt(bytes, at) !== undefined) return true;
  }
  return false;
}

function splitPayload(payload: Buffer): Uint8Array[] {
  const changes: Uint8Array[] = [];
  for (let at = 0; at < payload.length; ) {
    const start = at + NUMBER_BYTES;
    const end = start + payload.readUInt32BE(at);
    if (end > payload.length) throw new RangeError('a record claims to be longer than its frame');
    changes.push(payload.subarray(start, end));
    at = end;
  }
  return changes;
}

function numbers(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * NUMBER_BYTES);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * NUMBER_BYTES);
  return bytes;
}

/** A snapshot file: header, CRC of the document, document. */
export function encodeSnapshot(kind: string, clusterId: string, document: Uint8Array): Buffer {
  return Buffer.concat([fileHeader(kind, clusterId), numbers(crc32(document)), document]);
}

/** Throws RangeError with the reason when it is damaged, StoreError `newer_version`. */
export function readSnapshot(kind: string, bytes: Buffer): { clusterId: string; document: Buffer } {
  const header = readFileHeader(kind, bytes);
  if (header === undefined) throw new RangeError('its header is damaged');
  try {
    const document = bytes.subarray(header.length + NUMBER_BYTES);
    if (crc32(document) === bytes.readUInt32BE(header.length)) return { clusterId: header.clusterId, document };
  } catch (error) {
    throw new RangeError(`it is cut short (${reasonOf(error)})`);
  }
  throw new RangeError('its checksum does not match');
}
