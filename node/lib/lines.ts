// Cuts a stream of bytes into lines of text. Pure; holds at most one line that has no end yet.

/** A longer line is cut into pieces of this size. */
export const LOG_LINE_BYTES_MAX = 16 * 1024;

const NEWLINE = 10;
const CARRIAGE_RETURN = 13;

export class LineSplitter {
  #rest: Buffer = Buffer.alloc(0);
  #goesOn = false;

  /** Whether what was yielded last is a piece of a line that goes on with the next one. */
  get goesOn(): boolean {
    return this.#goesOn;
  }

  /** The lines that the chunk completes, in order. Invalid UTF-8 becomes U+FFFD. */
  *push(chunk: Buffer): Generator<string> {
    let data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    // A generator that is abandoned half-way must not deliver the same bytes again.
    this.#rest = Buffer.alloc(0);
    while (true) {
      const end = data.indexOf(NEWLINE);
      const length = end < 0 ? data.length : end;
      if (length > LOG_LINE_BYTES_MAX) {
        const cut = characterStart(data, LOG_LINE_BYTES_MAX);
        this.#goesOn = true;
        yield data.toString('utf8', 0, cut);
        data = data.subarray(cut);
      } else if (end < 0) {
        // Copied: a view would keep the whole chunk in memory while a line waits for its end.
        this.#rest = Buffer.from(data);
        return;
      } else {
        this.#goesOn = false;
        const stop = end > 0 && data[end - 1] === CARRIAGE_RETURN ? end - 1 : end;
        yield data.toString('utf8', 0, stop);
        data = data.subarray(end + 1);
      }
    }
  }

  /** What is left when the stream has ended. */
  flush(): string | undefined {
    const rest = this.#rest;
    this.#goesOn = false;
    this.#rest = Buffer.alloc(0);
    return rest.length === 0 ? undefined : rest.toString('utf8');
  }
}

/** The start of the character that the offset lies in; the offset itself where the bytes are no UTF-8. */
function characterStart(data: Buffer, offset: number): number {
  for (let start = offset; start > offset - 4; start--) {
    if ((data[start]! & 0xc0) !== 0x80) return start;
  }
  return offset;
}
