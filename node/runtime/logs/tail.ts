// Reads the last lines of an app's log files, from the end, without loading what came before. Writes nothing.

import { type FileHandle, open } from 'node:fs/promises';
import type { LogLine } from '../../ports/logs.ts';

export const LOG_TAIL_LINES_MAX = 10_000;
/** However long the lines are, about this much is held and answered: it has to fit into one reply to another node. */
export const LOG_TAIL_BYTES_MAX = 4 * 1024 * 1024;
const READ_BYTES = 64 * 1024;
const NEWLINE = 10;

/** `paths`: newest file first; missing ones are skipped. Oldest line first. */
export async function tailLines(paths: readonly string[], lines: number): Promise<LogLine[]> {
  const newestFirst: LogLine[] = [];
  let leftBytes = LOG_TAIL_BYTES_MAX;
  for (const path of paths) {
    if (newestFirst.length >= lines || leftBytes <= 0) break;
    const file = await open(path, 'r').catch(() => undefined);
    if (file === undefined) continue;
    try {
      const { records, bytes } = await tailRecords(file, lines - newestFirst.length, leftBytes);
      leftBytes -= bytes;
      newestFirst.push(...records);
    } finally {
      await file.close();
    }
  }
  return newestFirst.reverse();
}

async function tailRecords(
  file: FileHandle,
  lines: number,
  bytesMax: number,
): Promise<{ records: LogLine[]; bytes: number }> {
  const records: LogLine[] = [];
  let { size: position } = await file.stat();
  let bytes = 0;
  // The start of a line whose end has been read already.
  let rest: Buffer = Buffer.alloc(0);
  while (position > 0 && records.length < lines && bytes < bytesMax) {
    const length = Math.min(READ_BYTES, position);
    position -= length;
    const { buffer } = await file.read({ buffer: Buffer.alloc(length), position, length });
    bytes += length;
    let data = Buffer.concat([buffer, rest]);
    for (let start = data.lastIndexOf(NEWLINE); start >= 0 && records.length < lines; ) {
      addRecord(records, data.subarray(start + 1));
      data = data.subarray(0, start);
      start = data.lastIndexOf(NEWLINE);
    }
    rest = data;
  }
  if (position === 0 && records.length < lines) addRecord(records, rest);
  return { records, bytes };
}

function addRecord(records: LogLine[], line: Buffer): void {
  if (line.length === 0) return;
  try {
    const record = JSON.parse(line.toString()) as LogLine;
    if (typeof record.text === 'string' && typeof record.atMs === 'number') records.push(record);
  } catch {
    // Half a line, from a crash while it was being written.
  }
}
