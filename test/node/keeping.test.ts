// Nodes that give up copies of one droplet: whatever they ask at the same time, enough copies stay.

import { describe, expect, it } from 'vitest';
import { asDigest, asNodeId, type Digest, type NodeId } from '../../crdt/ids.ts';
import type { Gossip, RpcHandler } from '../../node/ports/gossip.ts';
import { Keeping } from '../../node/storage/keep-promises.ts';

const droplet = asDigest(`sha256:${'a'.repeat(64)}`);

/** So many nodes that hold the droplet and can reach each other. */
function holders(count: number) {
  const clock = { ms: 0 };
  const handlers = new Map<NodeId, RpcHandler<unknown, unknown>>();
  const nodes = Array.from({ length: count }, (_, index) => {
    const id = asNodeId(`node-${index}`);
    const held = new Set<Digest>([droplet]);
    const { signal } = new AbortController();
    const gossip = {
      handle: (_method: unknown, handler: RpcHandler<unknown, unknown>) => void handlers.set(id, handler),
      // Over JSON, and not at once, as between nodes.
      request: async (to: NodeId, _method: unknown, payload: unknown) => {
        await new Promise(setImmediate);
        return JSON.parse(JSON.stringify(await handlers.get(to)!(JSON.parse(JSON.stringify(payload)), id, signal)));
      },
    } as unknown as Gossip;
    const keeping = new Keeping({ gossip, holds: (digest) => held.has(digest), nowMs: () => clock.ms });
    return { id, held, keeping };
  });
  const giveUp = (index: number, othersMin: number): Promise<Digest[]> => {
    const { id, held, keeping } = nodes[index]!;
    const others = nodes.map((node) => node.id).filter((other) => other !== id);
    return keeping.giveUpWhatOthersKeep([{ digest: droplet, others, othersMin }], async (digests) => {
      for (const digest of digests) held.delete(digest);
    });
  };
  return { clock, nodes, giveUp, copies: () => nodes.filter(({ held }) => held.has(droplet)).length };
}

describe('a node that gives up its copy', () => {
  it('does so when enough others keep theirs', async () => {
    const { giveUp, copies } = holders(3);
    expect(await giveUp(0, 2)).toEqual([]);
    expect(copies()).toBe(2);
  });

  it('keeps it when one of them has none any more, whatever its report says', async () => {
    const { nodes, giveUp, copies } = holders(3);
    nodes[2]!.held.clear();
    expect(await giveUp(0, 2)).toEqual([droplet]);
    expect(copies()).toBe(2);
  });

  it('keeps it when another gives up its own at the same time', async () => {
    const { giveUp, copies } = holders(3);
    await Promise.all([giveUp(0, 2), giveUp(1, 2), giveUp(2, 2)]);
    expect(copies()).toBeGreaterThanOrEqual(2);
  });

  it('keeps what it promised to keep, for a minute', async () => {
    const { clock, nodes, giveUp, copies } = holders(4);
    await giveUp(0, 2);
    expect(nodes[1]!.keeping.promised()).toEqual([droplet]);
    expect(await giveUp(1, 2)).toEqual([droplet]);
    clock.ms = 61_000;
    expect(await giveUp(1, 2)).toEqual([]);
    expect(copies()).toBe(2);
  });
});
