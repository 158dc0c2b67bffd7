// Nodes as far as blobs go, for tests: a store each, a router that serves it over a real link, and an exchange.
// Asserts nothing.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import type { Digest, NodeId } from '../../crdt/ids.ts';
import { createBlobExchange } from '../../node/blobs/exchange.ts';
import { createBlobStore, type LocalBlobStore } from '../../node/blobs/store.ts';
import type { Log } from '../../node/lib/log.ts';
import type { BlobExchange } from '../../node/ports/blobs.ts';
import { applyTable, makeIdentity, startTestRouter, type TestIdentity, type TestRouter } from '../router/cluster.ts';

export type Fetched = { receivedBytes: number; holders: NodeId[] };

export class BlobNode {
  readonly identity: TestIdentity;
  readonly dir: string;
  readonly store: LocalBlobStore;
  readonly exchange: BlobExchange;
  readonly corrupt: { digest: Digest; holder: NodeId; reason: string }[];
  /** What each download that ended well says of itself, in order. */
  readonly fetches: Fetched[];
  /** Where this node believes the others to be. */
  readonly links: Map<NodeId, string>;
  router: TestRouter | undefined;

  constructor(parts: Pick<BlobNode, 'identity' | 'dir' | 'store' | 'exchange' | 'corrupt' | 'fetches' | 'links'>) {
    this.identity = parts.identity;
    this.dir = parts.dir;
    this.store = parts.store;
    this.exchange = parts.exchange;
    this.corrupt = parts.corrupt;
    this.fetches = parts.fetches;
    this.links = parts.links;
  }

  get id(): NodeId {
    return this.identity.nodeId;
  }

  async put(content: Uint8Array): Promise<Digest> {
    const source = (async function* () {
      yield content;
    })();
    return (await this.store.put(source, { sizeBytesMax: content.length })).digest;
  }

  content(digest: Digest): Promise<Buffer> {
    return buffer(this.store.read(digest));
  }
}

export class BlobCluster {
  readonly #folder = mkdtempSync(join(tmpdir(), 'peer-blob-nodes-'));
  readonly nodes: BlobNode[] = [];
  #folders = 0;

  /** A node without a router: it fetches, and serves nobody until `serve`. */
  async node(identity = makeIdentity(), dir = join(this.#folder, `node-${this.#folders++}`)): Promise<BlobNode> {
    const store = await createBlobStore({ dir });
    const corrupt: BlobNode['corrupt'] = [];
    const fetches: Fetched[] = [];
    const links = new Map<NodeId, string>();
    const log: Log = {
      debug() {},
      info: (event, fields) => event === 'blob.fetched' && fetches.push(fields as Fetched),
      warn() {},
      error() {},
    };
    const exchange = createBlobExchange({
      blobs: store,
      identity: identity.tls,
      linkOf: (node) => links.get(node),
      onCorrupt: (event) => corrupt.push(event),
      log,
    });
    const node = new BlobNode({ identity, dir, store, exchange, corrupt, fetches, links });
    this.nodes.push(node);
    return node;
  }

  /** Nodes of which the first fetches and the others serve. */
  async fetcherAnd(holders: number): Promise<[BlobNode, ...BlobNode[]]> {
    const fetcher = await this.node();
    const serving: BlobNode[] = [];
    for (let i = 0; i < holders; i++) serving.push(await this.node());
    await Promise.all(serving.map((node) => this.serve(node, [fetcher])));
    return [fetcher, ...serving];
  }

  /** Starts the node's router; `to` are admitted and told where it is. */
  async serve(node: BlobNode, to: readonly BlobNode[]): Promise<void> {
    node.router = await startTestRouter(node.identity, { blobsDir: node.dir });
    await applyTable(node.router, { routes: [], local: [], admitted: to.map(({ id }) => id) });
    for (const other of to) other.links.set(node.id, node.router.handle.link);
  }

  async close(): Promise<void> {
    await Promise.all(this.nodes.map(({ store }) => store.close()));
    await Promise.all(this.nodes.splice(0).map(({ router }) => router?.handle.close()));
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
