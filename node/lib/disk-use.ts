// Measures what a folder takes of the disk, in a process of its own: the walk may be long.

import { spawnChild } from './spawn-child.ts';

const TIMEOUT_MS = 60_000;

/**
 * Blocks that the folder takes, in bytes, without what is mounted in it; undefined when it could not be measured.
 */
export function diskUseBytes(folder: string, timeoutMs = TIMEOUT_MS): Promise<number | undefined> {
  return new Promise<number | undefined>((resolve) => {
    const child = spawnChild('du', ['-skx', '--', folder], { stdio: ['ignore', 'pipe', 'ignore'], timeout: timeoutMs });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    child.on('error', () => resolve(undefined));
    child.on('close', () => {
      const kib = /^(\d+)\s/.exec(output)?.[1];
      resolve(kib === undefined ? undefined : Number(kib) * 1024);
    });
  }).catch(() => undefined);
}
