// A process of the blob benchmark: a node as far as blobs go (store, exchange, and a router that serves the store over
// its link), or one end of a plain TLS connection to compare with. Does what its parent asks, one message after the
// other.

import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { type AddressInfo, connect as connectTcp } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { connect, createServer } from 'node:tls';
import type { Digest, NodeId } from '../../crdt/ids.ts';
import { createBlobExchange } from '../../node/blobs/exchange.ts';
import { createBlobStore } from '../../node/blobs/store.ts';
import type { TlsIdentity } from '../../node/identity/identity.ts';
import type { Log } from '../../node/lib/log.ts';
import { startRouter } from '../../node/router/handle.ts';

export type ToBlobNode =
  | { do: 'start'; dir: string; nodeId: NodeId; tls: TlsIdentity; admitted: NodeId[] }
  | { do: 'put'; path: string }
  | { do: 'fetch'; digest: Digest; sizeBytes: number; holders: { node: NodeId; link: string }[] }
  | { do: 'remove'; digest: Digest }
  | { do: 'serveTls'; path: string; tls: TlsIdentity }
  /** Without a path what comes is dropped; with one it is in a file at the end. */
  | { do: 'receiveTls'; port: number; path?: string };

const log: Log = {
  debug() {},
  info(event, fields) {
    if (event === 'blob.fetched') fetched = fields as { holders: NodeId[] };
  },
  warn: (event, fields) => process.stderr.write(`${event} ${JSON.stringify(fields)}\n`),
  error: (event, fields) => process.stderr.write(`${event} ${JSON.stringify(fields)}\n`),
};
let fetched: { holders: NodeId[] } | undefined;
let store: Awaited<ReturnType<typeof createBlobStore>>;
let exchange: ReturnType<typeof createBlobExchange>;
/** As much as the fetch writes at once. */
const WRITE_BYTES = 1024 * 1024;
const links = new Map<NodeId, string>();

const handlers: { [K in ToBlobNode['do']]: (message: Extract<ToBlobNode, { do: K }>) => Promise<unknown> } = {
  async start({ dir, nodeId, tls, admitted }) {
    store = await createBlobStore({ dir });
    exchange = createBlobExchange({
      blobs: store,
      identity: tls,
      linkOf: (node) => links.get(node),
      onCorrupt: () => {},
      log,
    });
    const router = await startRouter({
      nodeId,
      tls,
      http: '127.0.0.1:0',
      link: '127.0.0.1:0',
      blobsDir: dir,
      log,
    });
    router.setTable({ routes: [], local: [], admitted });
    return { link: router.link };
  },
  put: ({ path }) => store.put(createReadStream(path), { sizeBytesMax: Number.MAX_SAFE_INTEGER }),
  async fetch({ digest, sizeBytes, holders }) {
    for (const { node, link } of holders) links.set(node, link);
    const startedMs = performance.now();
    await exchange.fetch(digest, { sizeBytesMax: sizeBytes, holders: holders.map(({ node }) => node) });
    return { tookMs: performance.now() - startedMs, holders: fetched!.holders.length };
  },
  async remove({ digest }) {
    await store.remove(digest);
    await store.sweep();
  },
  async serveTls({ path, tls: { keyPem: key, certPem: cert } }) {
    const server = createServer({ key, cert, minVersion: 'TLSv1.3' }, (socket) => {
      void pipeline(createReadStream(path, { highWaterMark: 256 * 1024 }), socket).catch(() => {});
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return { port: (server.address() as AddressInfo).port };
  },
  async receiveTls({ port, path }) {
    const startedMs = performance.now();
    const socket = connect({ socket: connectTcp(port, '127.0.0.1'), rejectUnauthorized: false, minVersion: 'TLSv1.3' });
    let cipher = '';
    socket.once('secureConnect', () => {
      cipher = socket.getCipher().name;
    });
    const file = path === undefined ? undefined : await open(path, 'w');
    let gathered: Buffer[] = [];
    let gatheredBytes = 0;
    const write = async (): Promise<void> => {
      await file?.writev(gathered);
      gathered = [];
      gatheredBytes = 0;
    };
    for await (const bytes of socket as AsyncIterable<Buffer>) {
      gathered.push(bytes);
      gatheredBytes += bytes.length;
      if (gatheredBytes >= WRITE_BYTES) await write();
    }
    await write();
    const tookMs = performance.now() - startedMs;
    await file?.close();
    return { tookMs, cipher };
  },
};

process.on('message', async (message: ToBlobNode) => {
  try {
    process.send!({ result: await (handlers[message.do] as (m: ToBlobNode) => Promise<unknown>)(message) });
  } catch (error) {
    process.send!({ error: (error as Error).stack });
  }
});
// The router is this process's child and ends with its channel.
process.on('disconnect', () => process.exit());
