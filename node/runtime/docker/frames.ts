// Takes a stream of an engine's log apart: frames of stdout and stderr, each with the time the engine noted. Pure;
// holds one frame at most.

/**
 * @see https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach "Stream
 * format"
 */
const HEADER_BYTES = 8;
const STDERR = 2;
/** Engines cut lines at 16 KiB; a larger frame is none. */
export const FRAME_BYTES_MAX = 1024 * 1024;
const SPACE = 32;

export type Frame = {
  stream: 'out' | 'err';
  /** RFC 3339 with nanoseconds; as text it sorts by time. */
  at: string;
  bytes: Buffer;
};

export class FrameSplitter {
  #rest: Buffer = Buffer.alloc(0);

  /** Frames that the chunk completes. Throws when the stream is not of this form. */
  *push(chunk: Buffer): Generator<Frame> {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = Buffer.alloc(0);
    while (data.length >= HEADER_BYTES) {
      const length = data.readUInt32BE(4);
      if (length > FRAME_BYTES_MAX) throw new Error(`a log frame of ${length} bytes`);
      if (data.length < HEADER_BYTES + length) break;
      const payload = data.subarray(HEADER_BYTES, HEADER_BYTES + length);
      const space = payload.indexOf(SPACE);
      yield {
        stream: data[0] === STDERR ? 'err' : 'out',
        at: sortable(payload.toString('latin1', 0, Math.max(0, space))),
        bytes: payload.subarray(space + 1),
      };
      data = data.subarray(HEADER_BYTES + length);
    }
    // Copied: a view would keep the whole chunk in memory.
    this.#rest = Buffer.from(data);
  }
}

/**
 * How far a log was read: so many of the frames of that time. Docker notes nanoseconds, Podman tells whole seconds.
 */
export type LogPosition = { at: string; frames: number };

/** Leaves out of a log that is read again, from a position on, what was read up to there. Pure. */
export class Unread {
  readonly #from: LogPosition | undefined;
  #again = 0;
  #position: LogPosition | undefined;

  constructor(from: LogPosition | undefined) {
    this.#from = from;
    this.#position = from;
  }

  /** After the last frame that was new. Undefined before any. */
  get position(): LogPosition | undefined {
    return this.#position;
  }

  /** Whether this frame, the next of the log, was not read before. */
  isNew({ at }: Frame): boolean {
    const from = this.#from;
    // Asking from a time on includes that time.
    if (from !== undefined && (at < from.at || (at === from.at && this.#again++ < from.frames))) return false;
    this.#position = { at, frames: at === this.#position?.at ? this.#position.frames + 1 : 1 };
    return true;
  }
}

/** As it is kept in a file; undefined when the text is none. */
export function parsePosition(text: string): LogPosition | undefined {
  const match = /^(\S+Z) (\d{1,15})$/.exec(text);
  return match === null ? undefined : { at: match[1]!, frames: Number(match[2]) };
}

export function formatPosition({ at, frames }: LogPosition): string {
  return `${at} ${frames}`;
}

/** Nine digits of the second's fraction, in UTC, whatever the engine leaves out. */
function sortable(at: string): string {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(at);
  if (match === null) return at;
  const [, seconds, fraction = '', zone] = match;
  const utc = zone === 'Z' ? seconds : new Date(`${seconds}${zone}`).toISOString().slice(0, 19);
  return `${utc}.${fraction.padEnd(9, '0')}Z`;
}

/** The time as the engine's `since` takes it: seconds since 1970 with their fraction. */
export function sinceOf(at: string): string {
  const [seconds, fraction] = at.split(/[.Z]/);
  return `${Date.parse(`${seconds}Z`) / 1000}.${fraction ?? '0'}`;
}
