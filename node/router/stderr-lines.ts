// Cuts a stream into lines of bounded length. Never keeps more than one line.

import type { Readable } from 'node:stream';
import { STDERR_LINE_BYTES_MAX } from './limits.ts';

export function logLines(stream: Readable, onLine: (line: string) => void): void {
  let line = '';
  stream.setEncoding('utf8');
  stream.on('data', (chunk: string) => {
    const parts = chunk.split('\n');
    for (let at = 0; at < parts.length; at++) {
      if (at > 0) {
        if (line !== '') onLine(line);
        line = '';
      }
      line += parts[at]!.slice(0, STDERR_LINE_BYTES_MAX - line.length);
    }
  });
  stream.on('end', () => {
    if (line !== '') onLine(line);
  });
}
