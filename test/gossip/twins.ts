// Small twins of the ports that gossip is given: a blob store on disk and a mergeable set with a sync protocol of its own.

import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../crdt/ids.ts';
import type { SyncSession, SyncSource } from '../../node/gossip/sync.ts';
import type { BlobStore, Log } from '../../node/ports.ts';

export const digestOf = (bytes: Uint8Array): Digest =>
  `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;

/** Keeps the promises of the port that gossip relies on: verified before visible, nothing left behind on failure. */
export class FolderBlobStore implements BlobStore {
  readonly #dir: string;
  puts = 0;

  constructor(dir: string) {
    this.#dir = join(dir, 'blobs');
    mkdirSync(this.#dir, { recursive: true });
  }

  has = (digest: Digest): boolean => existsSync(this.path(digest));
  list = (): Digest[] =>
    readdirSync(this.#dir)
      .filter((name) => !name.startsWith('tmp-'))
      .map((name) => `sha256:${name}` as Digest);
  leftovers = (): string[] => readdirSync(this.#dir).filter((name) => name.startsWith('tmp-'));
  read = (digest: Digest): AsyncIterable<Uint8Array> => createReadStream(this.path(digest));
  path = (digest: Digest): string => join(this.#dir, digest.slice('sha256:'.length));
  sizeBytes = (digest: Digest): number => statSync(this.path(digest)).size;
  onChange(): void {}

  async remove(digest: Digest): Promise<void> {
    await rm(this.path(digest), { force: true });
  }

  /** Puts bytes there under a digest that may be a lie. */
  plant(bytes: Uint8Array, digest: Digest = digestOf(bytes)): Digest {
    writeFileSync(this.path(digest), bytes);
    return digest;
  }

  async put(
    source: AsyncIterable<Uint8Array>,
    options: { sizeBytesMax: number; expected?: Digest },
  ): Promise<{ digest: Digest; sizeBytes: number }> {
    this.puts += 1;
    const temporary = join(this.#dir, `tmp-${this.puts}`);
    const hash = createHash('sha256');
    let sizeBytes = 0;
    try {
      const file = await open(temporary, 'w');
      try {
        for await (const chunk of source) {
          sizeBytes += chunk.byteLength;
          if (sizeBytes > options.sizeBytesMax) throw Object.assign(new Error('too large'), { code: 'too_large' });
          hash.update(chunk);
          await file.write(chunk);
        }
      } finally {
        await file.close();
      }
      const digest = `sha256:${hash.digest('hex')}` as Digest;
      if (options.expected !== undefined && options.expected !== digest)
        throw Object.assign(new Error('the digest differs'), { code: 'corrupt' });
      await rename(temporary, this.path(digest));
      return { digest, sizeBytes };
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }
}

/** A set of texts that grows. Its heads are a hash of all of it. */
export class SetSource implements SyncSource {
  readonly items = new Set<string>();
  sessions = 0;

  heads(): string[] {
    return this.items.size === 0
      ? []
      : [
          createHash('sha256')
            .update([...this.items].sort().join('\n'))
            .digest('hex'),
        ];
  }

  has(heads: string[]): boolean {
    return heads.every((head) => this.heads().includes(head)) || this.items.size > 0;
  }

  beginSync(): SyncSession {
    this.sessions += 1;
    let theirs: Set<string> | undefined;
    let said: string | undefined;
    return {
      generate: () => {
        const have = [...this.items].sort();
        const items = theirs === undefined ? [] : have.filter((item) => !theirs!.has(item));
        const message = JSON.stringify({ have, items });
        if (message === said || (said !== undefined && items.length === 0 && theirs!.size === have.length)) return null;
        said = message;
        for (const item of items) theirs!.add(item);
        return new TextEncoder().encode(message);
      },
      receive: async (bytes) => {
        const message = JSON.parse(new TextDecoder().decode(bytes)) as { have: string[]; items: string[] };
        const before = this.items.size;
        for (const item of message.items) this.items.add(item);
        theirs = new Set([...(theirs ?? []), ...message.have, ...message.items]);
        return { applied: this.items.size > before };
      },
    };
  }
}

export type LogLineSeen = { level: string; event: string; fields: Record<string, unknown> };

export function collectingLog(): Log & { lines: LogLineSeen[] } {
  const lines: LogLineSeen[] = [];
  const at =
    (level: string) =>
    (event: string, fields: object = {}) => {
      lines.push({ level, event, fields: fields as Record<string, unknown> });
    };
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
