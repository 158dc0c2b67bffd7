// Puts what is in one folder of an app's last droplet in its place in the tar of the next one, which was packed
// without it. The tar is byte for byte what it would be had the folder been packed again. Reads neither.

import type { BlobRange } from '../ports/blobs.ts';
import { findTarFolder } from './tar-folder.ts';

/** What GNU tar fills up with zeros; at least two blocks of them end an archive. */
const RECORD_BYTES = 10_240;
const END_BYTES = 1_024;

export type Splice = {
  /** What to store for the next bytes of the tar. */
  parts(bytes: Buffer): (Buffer | BlobRange)[];
  /** What comes last; undefined when the folder's place was not found, and what was stored is no droplet. */
  end(): Buffer | undefined;
  /** Where the folder's content is in what was stored; undefined when that is not known. */
  range(): { from: number; to: number } | undefined;
};

/** Without `content` the folder is in the tar, and all there is to do is to find it. */
export const createSplice = (folder: string, content: BlobRange | undefined): Splice => {
  const tar = findTarFolder(folder);
  if (content === undefined) {
    return {
      parts(bytes) {
        tar.push(bytes);
        return [bytes];
      },
      end: () => Buffer.alloc(0),
      range: tar.range,
    };
  }
  const contentBytes = content.to - content.from;
  let sentBytes = 0;
  return {
    parts(bytes) {
      if (tar.end() !== undefined) return [];
      const found = tar.push(bytes);
      const own = bytes.subarray(0, found.end);
      sentBytes += own.length;
      if (found.content === undefined) return [own];
      sentBytes += contentBytes;
      return [own.subarray(0, found.content), content, own.subarray(found.content)];
    },
    end() {
      const endsAt = tar.end();
      if (endsAt === undefined || tar.range() === undefined) return undefined;
      const bytes = Math.ceil((endsAt + contentBytes + END_BYTES) / RECORD_BYTES) * RECORD_BYTES;
      return Buffer.alloc(bytes - sentBytes);
    },
    range() {
      const range = tar.range();
      return range === undefined ? undefined : { from: range.from, to: range.from + contentBytes };
    },
  };
};
