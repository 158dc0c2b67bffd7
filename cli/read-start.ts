// What is to be read from a file or from stdin, as far as it may be long.

import type { Readable } from 'node:stream';

/** Ends the stream once more than `bytesMax` have come: what is longer need not be read. Fails as the stream does. */
export async function readStart(stream: Readable, bytesMax: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stream) {
    parts.push(part as Buffer);
    bytes += (part as Buffer).byteLength;
    if (bytes > bytesMax) break;
  }
  return Buffer.concat(parts);
}
