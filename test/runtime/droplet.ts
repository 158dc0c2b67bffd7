// Builds droplets for tests: a compressed tar with app/, logs/ and tmp/, from a few inline files.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { asDigest, type Digest } from '../../crdt/ids.ts';

const run = promisify(execFile);

export class DropletShelf {
  readonly #folder: string;
  readonly #sizes = new Map<Digest, number>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Files by their path in the droplet, such as `app/server.js`. */
  async add(files: Record<string, string>): Promise<Digest> {
    await mkdir(this.#folder, { recursive: true });
    const tree = await mkdtemp(join(this.#folder, 'tree-'));
    for (const name of ['app', 'logs', 'tmp']) await mkdir(join(tree, name));
    for (const [name, text] of Object.entries(files)) {
      await mkdir(dirname(join(tree, name)), { recursive: true });
      await writeFile(join(tree, name), text, { mode: 0o755 });
    }
    const archive = `${tree}.tgz`;
    await run('tar', ['-C', tree, '-czf', archive, '.']);
    await rm(tree, { recursive: true });
    const bytes = await readFile(archive);
    const digest = asDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    await rename(archive, this.path(digest));
    this.#sizes.set(digest, bytes.length);
    return digest;
  }

  path(digest: Digest): string {
    return join(this.#folder, digest.replace(':', '-'));
  }

  sizeBytes(digest: Digest): number {
    return this.#sizes.get(digest) ?? 0;
  }
}
