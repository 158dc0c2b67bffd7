// Counts in the daemons' logs what a crowd must not have: lost connections, suspicions, deaths. Reads on where it
// stopped.

import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { LocalNode } from '../local-cluster.ts';

export type Counts = { made: number; lost: number; suspicions: number; deaths: number };
export type Reading = { total: Counts };

const COUNTED: Record<string, keyof Counts> = {
  'gossip.connected': 'made',
  'gossip.disconnected': 'lost',
  'member.suspect': 'suspicions',
  'member.dead': 'deaths',
};

export class CrowdLog {
  readonly #offsets = new Map<string, number>();
  readonly #total: Counts = { made: 0, lost: 0, suspicions: 0, deaths: 0 };

  async read(nodes: readonly LocalNode[]): Promise<Reading> {
    for (const node of nodes) await this.#readOne(join(node.dataDir, 'daemon.log'));
    return { total: { ...this.#total } };
  }

  static since(before: Reading, after: Reading): Counts {
    const counts = { ...after.total };
    for (const key of Object.keys(counts) as (keyof Counts)[]) counts[key] -= before.total[key];
    return counts;
  }

  /** Whole lines only; the rest is read next time. */
  async #readOne(path: string): Promise<void> {
    const file = await open(path, 'r');
    try {
      const { size } = await file.stat();
      const offset = this.#offsets.get(path) ?? 0;
      const from = offset > size ? 0 : offset;
      const { buffer, bytesRead } = await file.read(Buffer.alloc(size - from), 0, size - from, from);
      const end = buffer.subarray(0, bytesRead).lastIndexOf('\n') + 1;
      this.#offsets.set(path, from + end);
      for (const line of buffer.toString('utf8', 0, end).split('\n')) {
        const counted = COUNTED[line.split(' ')[2] ?? ''];
        if (counted !== undefined) this.#total[counted]++;
      }
    } finally {
      await file.close();
    }
  }
}
