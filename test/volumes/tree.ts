// What the tests of volumes compare: everything that a snapshot keeps of a folder.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { MIB } from './harness.ts';

/** Names, kinds, modes, times, links, content. */
export async function treeOf(folder: string): Promise<string[]> {
  const script = `cd "$1" && find . -mindepth 1 \\( -type f -o -type d -o -type l \\) -printf '%P|%y|%m|%Ts|%n|%l|' \\( -type f -exec sh -c 'sha256sum <"$1" | cut -c -64' _ '{}' ';' -o -printf '\\n' \\) | sort`;
  const { stdout } = await promisify(execFile)('bash', ['-c', script, '_', folder], { maxBuffer: 64 * MIB });
  return stdout.trim().split('\n');
}
