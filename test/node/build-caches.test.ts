// Which node's build cache follows an app, and that no answer of another node can fail a push.

import * as v from 'valibot';
import { describe, expect, it, vi } from 'vitest';
import { asAppId, asNodeId, type NodeId } from '../../crdt/ids.ts';
import type { BlobExchange } from '../../node/ports/blobs.ts';
import type { Gossip } from '../../node/ports/gossip.ts';
import type { Method } from '../../node/ports/methods.ts';
import { BuildCaches } from '../../node/storage/build-caches.ts';

const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
const app = asAppId('app');
const [b, c, d] = ['b', 'c', 'd'].map(asNodeId) as [NodeId, NodeId, NodeId];
const digest = `sha256:${'a'.repeat(64)}`;
const signal = new AbortController().signal;

type Answers = { version: unknown; pack?: unknown };

/** Nodes b, c and d, that answer so; a function is called, anything else is the answer. */
function cachesAmong(answers: Partial<Record<string, Answers>>, fetch: BlobExchange['fetch'] = async () => {}) {
  const packed: NodeId[] = [];
  const gossip = {
    handle: () => {},
    request: async (node: NodeId, { name: method, reply }: Method<unknown, unknown>) => {
      const answer = answers[node];
      if (method === 'cache.pack') packed.push(node);
      const value = method === 'cache.pack' ? answer?.pack : answer?.version;
      if (value instanceof Error) throw value;
      return v.parse(reply, value);
    },
  } as unknown as Gossip;
  const local = {
    stack: 'debian12-x64',
    cacheVersion: async () => 0,
    packCache: async () => Promise.reject(new Error()),
  };
  const caches = new BuildCaches({ gossip, exchange: { fetch }, local, log, aliveOthers: () => [b, c, d] });
  return { bring: (version: number) => caches.bringNewer(app, { version, signal }), packed };
}

const holding = (version: number, stack = 'debian12-x64'): Answers => ({
  version: { stack, version },
  pack: { digest, sizeBytes: 10, version },
});

describe('the build cache that follows an app', () => {
  it('is the newest that any node has, from that node', async () => {
    const fetch = vi.fn(async () => {});
    const { bring, packed } = cachesAmong({ b: holding(3), c: holding(5), d: holding(4) }, fetch);
    expect(await bring(2)).toEqual({ digest, version: 5, from: c });
    expect(packed).toEqual([c]);
    expect(fetch).toHaveBeenCalledWith(digest, expect.objectContaining({ holders: [c], sizeBytesMax: 10 }));
  });

  it.each<[string, number, Partial<Record<string, Answers>>]>([
    ['this node has the newest', 5, { b: holding(3), c: holding(5) }],
    ['nobody has one', 0, { b: holding(0) }],
    ['it is of another stack', 0, { b: holding(9, 'alpine3-x64') }],
    ['no node answers', 0, { b: { version: new Error('timeout') }, c: { version: new Error('timeout') } }],
    ['an answer makes no sense', 0, { b: { version: { stack: 'debian12-x64', version: 'many' } }, c: { version: 7 } }],
    ['the node is busy with it', 0, { b: { ...holding(3), pack: new Error('it is being changed') } }],
    ['what is packed is no blob', 0, { b: { ...holding(3), pack: { digest: '../x', sizeBytes: 1, version: 3 } } }],
    ['it is larger than a cache can be', 0, { b: { ...holding(3), pack: { digest, sizeBytes: 1e12, version: 3 } } }],
  ])('is none when %s', async (_name, version, answers) => {
    expect(await cachesAmong(answers).bring(version)).toBeUndefined();
  });

  it('is none when it does not arrive', async () => {
    const lost = cachesAmong({ b: holding(3) }, async () => Promise.reject(new Error('no holder delivers it')));
    expect(await lost.bring(0)).toBeUndefined();
  });
});
