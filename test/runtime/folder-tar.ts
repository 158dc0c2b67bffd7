// The tar of a folder for tests that build images, as a push sends it.

import { spawn } from 'node:child_process';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * Texts by their names, and programs to copy. A child's output that nobody reads when it ends is lost, so tar starts
 * with its reader.
 */
export async function* folderOf(
  files: Record<string, string>,
  programs: Record<string, string> = {},
): AsyncGenerator<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), 'peer-image-'));
  try {
    for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content);
    for (const [name, path] of Object.entries(programs)) await copyFile(path, join(folder, name));
    const tar = spawn('tar', ['-C', folder, '-cf', '-', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
    yield* tar.stdout as AsyncIterable<Uint8Array>;
  } finally {
    await rm(folder, { recursive: true });
  }
}
