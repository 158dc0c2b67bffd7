// The bytes between whoever attends to a command and the node that runs it, the same from the CLI to the API and from
// node to node: frames of a kind, a length and a payload. Shared with the CLI; imports nothing and knows nothing of
// what is run.

/** One frame's payload. Small, so that what is on its way is bounded by what the connections hold. */
export const SESSION_FRAME_BYTES_MAX = 64 * 1024;
/** Both sides send at least a beat this often; whoever hears nothing for three of them takes the other for gone. */
export const SESSION_BEAT_MS = 10_000;

const HEADER_BYTES = 5;

const KINDS = {
  /** To the command: what it reads, and the end of it. */
  stdin: 1,
  end: 2,
  /** JSON {columns, rows}. */
  resize: 3,
  beat: 4,
  /** From the command. `started` is the first: JSON {node, instance} or {node, task}. */
  started: 16,
  stdout: 17,
  stderr: 18,
  /** The last: JSON {code, reason?}, or {code, message} of an error. */
  exit: 19,
  failed: 20,
} as const;

export type FrameKind = keyof typeof KINDS;
export type Frame = { kind: FrameKind; payload: Uint8Array };

const KIND_BY_NUMBER = new Map<number, FrameKind>(
  Object.entries(KINDS).map(([kind, number]) => [number, kind as FrameKind]),
);
const NOTHING = new Uint8Array(0);

export class SessionFrameError extends Error {
  readonly code = 'bad_frame';
}

export function encodeFrame(kind: FrameKind, payload: Uint8Array = NOTHING): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload.byteLength);
  frame[0] = KINDS[kind];
  new DataView(frame.buffer).setUint32(1, payload.byteLength);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

export const encodeJsonFrame = (kind: FrameKind, value: unknown): Uint8Array =>
  encodeFrame(kind, new TextEncoder().encode(JSON.stringify(value)));

/** As many frames as the bytes need. */
export function* dataFrames(kind: 'stdin' | 'stdout' | 'stderr', bytes: Uint8Array): Generator<Uint8Array> {
  for (let from = 0; from < bytes.byteLength; from += SESSION_FRAME_BYTES_MAX) {
    yield encodeFrame(kind, bytes.subarray(from, from + SESSION_FRAME_BYTES_MAX));
  }
}

/**
 * Fails with SessionFrameError on what is no frame, and when the bytes end inside one. Unknown kinds are passed over.
 */
export async function* decodeFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<Frame> {
  let rest: Uint8Array = NOTHING;
  for await (const chunk of source) {
    const bytes = rest.byteLength === 0 ? chunk : joined(rest, chunk);
    let from = 0;
    while (bytes.byteLength - from >= HEADER_BYTES) {
      const length = new DataView(bytes.buffer, bytes.byteOffset + from).getUint32(1);
      if (length > SESSION_FRAME_BYTES_MAX) {
        throw new SessionFrameError(`a frame of ${length} bytes is larger than ${SESSION_FRAME_BYTES_MAX}`);
      }
      const end = from + HEADER_BYTES + length;
      if (bytes.byteLength < end) break;
      const kind = KIND_BY_NUMBER.get(bytes[from]!);
      if (kind !== undefined) yield { kind, payload: bytes.subarray(from + HEADER_BYTES, end) };
      from = end;
    }
    rest = bytes.subarray(from);
  }
  if (rest.byteLength > 0) throw new SessionFrameError('the connection ended in the middle of a frame');
}

/** The JSON object in a frame; an empty one when it is none. */
export function jsonIn({ payload }: Frame): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(payload));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.byteLength + b.byteLength);
  both.set(a);
  both.set(b, a.byteLength);
  return both;
}
