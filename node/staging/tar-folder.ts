// Finds where in a tar, as it passes, the content of one folder begins and ends. Reads nothing but headers, and holds
// no more than one.

const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
/** A name that is longer than its header has room for comes before it, in an entry of its own. */
const LONG_NAME_BYTES_MAX = 64 * 1024;

export type TarFolder = {
  /**
   * Takes the next bytes, and says how many of them come before what is in the folder, and before the end of the
   * archive, when that begins in them.
   */
  push(bytes: Buffer): { content?: number; end?: number };
  /**
   * Offsets of the first byte after the folder's own entry and of the first entry that is not in it, once both have
   * passed; undefined when the tar is not understood.
   */
  range(): { from: number; to: number } | undefined;
  /** Offset of the blocks of zeros that end the archive; undefined before them. */
  end(): number | undefined;
};

/**
 * `name`: as it is in the tar, with a slash at its end. What is in the folder comes right after it, as GNU tar has it.
 */
export const findTarFolder = (name: string): TarFolder => {
  let header: Buffer = Buffer.alloc(0);
  /** Offset in the tar of what comes next. */
  let position = 0;
  /** Content of the entry that is passing which is still to come. */
  let skipBytes = 0;
  let longName: Buffer[] | undefined;
  let isLongName = false;
  /** Where the entry began, with a long name before it. */
  let entryAt: number | undefined;
  let from: number | undefined;
  let to: number | undefined;
  let hasEnded = false;
  let isLost = false;

  const readHeader = (): void => {
    entryAt ??= position - BLOCK_BYTES;
    if (header[0] === 0) {
      hasEnded = true;
      if (from !== undefined) to ??= entryAt;
      return;
    }
    const size = header.toString('latin1', 124, 136).replace(/[\0 ].*$/s, '');
    const bytes = /^[0-7]+$/.test(size) ? Number.parseInt(size, 8) : Number.NaN;
    const type = String.fromCharCode(header[156]!);
    isLongName = type === 'L';
    isLost = Number.isNaN(bytes) || (isLongName && bytes > LONG_NAME_BYTES_MAX);
    if (isLost) return;
    skipBytes = Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;
    if (isLongName) longName = [];
    if (isLongName || type === 'K') return;
    const text = longName === undefined ? header.subarray(0, NAME_BYTES) : Buffer.concat(longName);
    const end = text.indexOf(0);
    const entry = text.toString('utf8', 0, end === -1 ? text.length : end);
    if (entry === name) from ??= position;
    else if (from !== undefined && !entry.startsWith(name)) to ??= entryAt;
    longName = undefined;
    entryAt = undefined;
  };

  return {
    push(bytes) {
      const found: { content?: number; end?: number } = {};
      for (let at = 0; at < bytes.length && !isLost && !hasEnded; ) {
        const wanted = skipBytes > 0 ? skipBytes : BLOCK_BYTES - header.length;
        const part = bytes.subarray(at, at + wanted);
        at += part.length;
        position += part.length;
        if (skipBytes > 0) {
          if (isLongName) longName?.push(part);
          skipBytes -= part.length;
          continue;
        }
        header = header.length === 0 ? part : Buffer.concat([header, part]);
        if (header.length < BLOCK_BYTES) break;
        const isKnown = from !== undefined;
        readHeader();
        header = Buffer.alloc(0);
        if (!isKnown && from !== undefined) found.content = at;
        if (hasEnded) found.end = Math.max(0, at - BLOCK_BYTES);
      }
      return found;
    },
    range: () => (from === undefined || to === undefined || isLost ? undefined : { from, to }),
    end: () => (hasEnded ? position - BLOCK_BYTES : undefined),
  };
};
