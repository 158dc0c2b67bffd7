// Cuts raw output into lines for people. Holds at most one line per stream, so memory stays flat whatever is printed.

/** A longer line is cut here; the rest of it is dropped. */
export const LINE_BYTES_MAX = 16 * 1024;

const NEWLINE = 0x0a;

export type LineSplitter = {
  push(chunk: Uint8Array): void;
  /** Gives out a last line that has no newline. */
  end(): void;
};

export const createLineSplitter = (onLine: (text: string) => void): LineSplitter => {
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;
  let cut = false;

  const keep = (part: Uint8Array): void => {
    const room = LINE_BYTES_MAX - pendingBytes;
    if (part.length > room) cut = true;
    if (room <= 0 || part.length === 0) return;
    // A copy: a view would hold the whole chunk in memory until the line ends.
    pending.push(Uint8Array.prototype.slice.call(part, 0, room));
    pendingBytes += Math.min(part.length, room);
  };
  const flush = (): void => {
    const bytes = pending.length === 1 ? Buffer.from(pending[0]!) : Buffer.concat(pending);
    onLine(lineText(bytes, cut));
    pending = [];
    pendingBytes = 0;
    cut = false;
  };

  return {
    push(chunk) {
      let from = 0;
      for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
        keep(chunk.subarray(from, at));
        flush();
        from = at + 1;
      }
      keep(chunk.subarray(from));
    },
    end() {
      if (pendingBytes > 0) flush();
    },
  };
};

/** Of a progress bar, which returns to the start of its line, only what was seen last is kept. */
const lineText = (bytes: Buffer, cut: boolean): string => {
  const text = bytes.toString('utf8').replace(/\r+$/, '');
  const shown = text.slice(text.lastIndexOf('\r') + 1);
  return cut ? `${shown.replace(/\uFFFD$/, '')}…` : shown;
};
