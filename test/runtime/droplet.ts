// Builds droplets for tests: a tar with app/, logs/ and tmp/, from a few inline files.

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { asDigest, type Digest } from '../../crdt/ids.ts';
import { BlobError } from '../../node/blobs/errors.ts';
import type { BlobStore } from '../../node/ports/blobs.ts';

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
    const archive = `${tree}.tar`;
    await run('tar', ['-C', tree, '-cf', archive, '.']);
    await rm(tree, { recursive: true });
    const bytes = await readFile(archive);
    const digest = asDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    await rename(archive, this.#path(digest));
    this.#sizes.set(digest, bytes.length);
    return digest;
  }

  read(digest: Digest): AsyncIterable<Uint8Array> {
    if (!this.#sizes.has(digest)) throw new BlobError('not_held', `no droplet ${digest}`);
    return createReadStream(this.#path(digest));
  }

  pour: BlobStore['pour'] = async (digest, { into, bytesMax, signal }) => {
    if (!this.#sizes.has(digest)) throw new BlobError('not_held', `no droplet ${digest}`);
    const pipe = await open(into, 'w');
    const content = createReadStream(this.#path(digest), { end: bytesMax - 1 });
    const done = pipeline(content, pipe.createWriteStream(), ...(signal === undefined ? [] : [{ signal }]));
    done.catch(() => {});
    return { done };
  };

  #path(digest: Digest): string {
    return join(this.#folder, digest.replace(':', '-'));
  }

  sizeBytes(digest: Digest): number {
    return this.#sizes.get(digest) ?? 0;
  }
}
