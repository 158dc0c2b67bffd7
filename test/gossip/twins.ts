// A small twin of the port that gossip is given: a mergeable set with a sync protocol of its own.

import { createHash } from 'node:crypto';
import type { SyncSession, SyncSource } from '../../node/gossip/sync.ts';
import type { Log } from '../../node/lib/log.ts';

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
