// Gets one blob from several holders at once: each has a connection and takes the next chunks that nobody has asked
// for. Every chunk is checked by its hash before it is written; a holder that sends another one is left out. What was
// checked stays, so that a fetch that was cut goes on where it ended. For the worker only.

import type { Digest, NodeId } from '../../crdt/ids.ts';
import type { TlsIdentity } from '../identity/identity.ts';
import type { Room } from '../ports/blobs.ts';
import { openChunk } from './chunk-codec.ts';
import { BlobError, type BlobErrorCode, isDiskFull } from './errors.ts';
import { type HolderAddress, HolderConnection } from './holder.ts';
import { hexOf, type Stay } from './layout.ts';
import {
  BATCH_BYTES,
  BATCHES_AHEAD,
  BUSY_DELAY_MS,
  BUSY_ROUNDS_MAX,
  HOLDERS_PARALLEL_MAX,
  HOLDERS_TRIED_MAX,
  MANIFEST_BYTES_MAX,
  RANGES_PER_REQUEST_MAX,
} from './limits.ts';
import { type Chunk, encodeManifest, Manifest } from './manifest.ts';
import { PackWriter } from './pack-writer.ts';
import { assertFits } from './room.ts';
import type { Shelf, Stored } from './shelf.ts';

export type FetchOptions = {
  digest: Digest;
  sizeBytesMax: number;
  stay: Stay;
  identity: TlsIdentity;
  holders: HolderAddress[];
  room?: Room;
};

export type FetchEvent =
  | { type: 'holderCorrupt'; node: NodeId; reason: string }
  | { type: 'holderFailed'; node: NodeId; code: BlobErrorCode; reason: string };

/** `received`: over the network, manifests included; what was here already is not in it. */
export type Fetched = Stored & { receivedBytes: number; holders: NodeId[] };

type HolderState = HolderAddress & {
  state: 'waiting' | 'connected' | 'busy' | 'failed';
  busyRounds: number;
  reason?: string;
};

export class Fetch {
  readonly #shelf: Shelf;
  readonly #options: FetchOptions;
  readonly #tell: (event: FetchEvent) => void;
  readonly #holders: HolderState[] = [];
  readonly #connections = new Set<HolderConnection>();
  readonly #delivered = new Set<NodeId>();
  readonly #done = Promise.withResolvers<void>();
  /** Of the first holder that answered; the others' differ in nothing but where the chunks are. */
  #manifest: Manifest | undefined;
  #pack: PackWriter | undefined;
  /** Where each chunk of the blob is now on this node, by its key. */
  readonly #here = new Map<string, Chunk>();
  /** Numbers of chunks that nobody has been asked for. */
  #wanted: number[] = [];
  #missing = 0;
  #receivedBytes = 0;
  #over = false;

  constructor(shelf: Shelf, options: FetchOptions, tell: (event: FetchEvent) => void) {
    this.#shelf = shelf;
    this.#options = options;
    this.#tell = tell;
    this.#done.promise.catch(() => {});
  }

  async run(): Promise<Fetched> {
    const { digest, stay } = this.#options;
    this.addHolders(this.#options.holders);
    try {
      await this.#done.promise;
      const chunks = Array.from(
        { length: this.#manifest!.chunks },
        (_, index) => this.#here.get(this.#manifest!.key(index))!,
      );
      await this.#pack!.seal();
      await this.#shelf.publish(new Manifest(encodeManifest(chunks)), stay);
      return {
        digest,
        sizeBytes: this.#manifest!.sizeBytes,
        receivedBytes: this.#receivedBytes,
        holders: [...this.#delivered],
      };
    } catch (error) {
      if (isDiskFull(error) || (error as BlobError).code === 'over_budget') this.#pack?.discard();
      else this.#pack?.keep();
      throw error;
    }
  }

  addHolders(holders: readonly HolderAddress[]): void {
    for (const holder of holders) {
      if (this.#holders.some(({ node }) => node === holder.node) || this.#holders.length >= HOLDERS_TRIED_MAX) continue;
      this.#holders.push({ ...holder, state: 'waiting', busyRounds: 0 });
    }
    this.#connectMore();
  }

  abort(): void {
    this.#fail(new BlobError('aborted', 'nobody waits for the blob any more'));
  }

  #connectMore(): void {
    if (this.#over) return;
    for (const holder of this.#holders) {
      if (this.#connections.size >= HOLDERS_PARALLEL_MAX) return;
      if (holder.state === 'waiting' && (this.#manifest === undefined || this.#wanted.length > 0))
        this.#connect(holder);
    }
    if (this.#connections.size > 0 || this.#holders.some(({ state }) => state === 'busy' || state === 'waiting'))
      return;
    const reasons = this.#holders.map(({ node, reason }) => `${node}: ${reason}`).join('; ');
    this.#fail(
      new BlobError(
        'unavailable',
        `no node delivered ${this.#options.digest}${reasons === '' ? ': no holder of it is known' : ` (${reasons})`}`,
      ),
    );
  }

  #connect(holder: HolderState): void {
    holder.state = 'connected';
    /** Chunks that were asked for and have not come. */
    let asked: number[] = [];
    let theirs: Manifest | undefined;
    let ahead = 0;
    let ended = false;
    const onEnd = (error: BlobError): void => {
      ended = true;
      this.#connections.delete(connection);
      this.#wanted = [...asked, ...this.#wanted];
      asked = [];
      if (this.#over) return;
      this.#judge(holder, error);
      this.#askAll();
      this.#connectMore();
    };
    const ask = (): void => {
      while (theirs !== undefined && !ended && !this.#over && ahead < BATCHES_AHEAD) {
        const batch = this.#nextBatch(theirs);
        if (batch === undefined) return;
        asked.push(...batch.chunks);
        ahead += 1;
        connection.request(batch.line, {
          bytesMax: batch.bytes,
          exact: true,
          take: (bytes) => {
            ahead -= 1;
            asked = asked.slice(batch.chunks.length);
            this.#take(holder, connection, { stored: bytes, chunks: batch.chunks, theirs: theirs! });
            ask();
          },
        });
      }
    };
    const connection: HolderConnection = new HolderConnection({
      holder,
      identity: this.#options.identity,
      onEnd,
      onReady: () =>
        connection.request(`manifest ${hexOf(this.#options.digest)}\n`, {
          bytesMax: MANIFEST_BYTES_MAX,
          exact: false,
          take: (bytes) => {
            theirs = this.#takeManifest(connection, bytes);
            ask();
            if (theirs !== undefined) this.#connectMore();
          },
        }),
    });
    this.#connections.add(connection);
    this.#asks.set(connection, ask);
  }

  readonly #asks = new WeakMap<HolderConnection, () => void>();

  /** After chunks went back to those that nobody has been asked for. */
  #askAll(): void {
    for (const connection of this.#connections) this.#asks.get(connection)?.();
  }

  #judge(holder: HolderState, error: BlobError): void {
    holder.reason = error.message;
    if (error.code === 'busy' && holder.busyRounds < BUSY_ROUNDS_MAX) {
      holder.state = 'busy';
      holder.busyRounds += 1;
      setTimeout(() => {
        holder.state = 'waiting';
        this.#connectMore();
      }, BUSY_DELAY_MS);
      return;
    }
    holder.state = 'failed';
    if (error.code === 'corrupt') this.#tell({ type: 'holderCorrupt', node: holder.node, reason: error.message });
    else this.#tell({ type: 'holderFailed', node: holder.node, code: error.code, reason: error.message });
  }

  #takeManifest(connection: HolderConnection, bytes: Buffer): Manifest | undefined {
    this.#receivedBytes += bytes.length;
    let theirs: Manifest;
    try {
      theirs = new Manifest(Buffer.from(bytes));
    } catch (error) {
      connection.end(error as BlobError);
      return undefined;
    }
    if (theirs.digest !== this.#options.digest) {
      connection.end(new BlobError('corrupt', 'its manifest is of something else'));
      return undefined;
    }
    if (theirs.sizeBytes > this.#options.sizeBytesMax) {
      const message = `the blob has ${theirs.sizeBytes} bytes, at most ${this.#options.sizeBytesMax} were expected`;
      connection.end(new BlobError('too_large', message));
      return undefined;
    }
    if (this.#manifest === undefined) {
      try {
        this.#begin(theirs);
      } catch (error) {
        this.#fail(error);
        return undefined;
      }
    }
    return theirs;
  }

  /** Finds out what is missing. */
  #begin(manifest: Manifest): void {
    this.#manifest = manifest;
    this.#pack = new PackWriter(this.#shelf.layout, hexOf(this.#options.digest));
    const found = new Map(this.#pack.found.map((chunk) => [chunk.hash.toString('latin1'), chunk]));
    const seen = new Set<string>();
    for (let index = 0; index < manifest.chunks; index++) {
      const key = manifest.key(index);
      if (seen.has(key)) continue;
      seen.add(key);
      const held = found.get(key) ?? this.#shelf.find(key);
      if (held === undefined) this.#wanted.push(index);
      else this.#here.set(key, { ...held, hash: manifest.chunk(index).hash });
    }
    const missingBytes = this.#wanted.reduce((sum, index) => sum + manifest.chunk(index).storedBytes, 0);
    assertFits(missingBytes, this.#options.room);
    this.#missing = this.#wanted.length;
    this.#finishIfWhole();
  }

  #nextBatch(theirs: Manifest): { line: string; chunks: number[]; bytes: number } | undefined {
    const chunks: number[] = [];
    const ranges: { pack: string; offset: number; bytes: number }[] = [];
    let bytes = 0;
    for (const index of this.#wanted) {
      const { pack, offset, storedBytes } = theirs.chunk(index);
      if (chunks.length > 0 && bytes + storedBytes > BATCH_BYTES) break;
      const last = ranges.at(-1);
      if (last !== undefined && last.pack === pack && last.offset + last.bytes === offset) last.bytes += storedBytes;
      else if (ranges.length < RANGES_PER_REQUEST_MAX) ranges.push({ pack, offset, bytes: storedBytes });
      else break;
      chunks.push(index);
      bytes += storedBytes;
    }
    if (chunks.length === 0) return undefined;
    this.#wanted = this.#wanted.slice(chunks.length);
    const line = ranges.map((range) => `${range.pack}:${range.offset}+${range.bytes}`).join(',');
    return { line: `ranges ${line}\n`, chunks, bytes };
  }

  #take(
    holder: HolderState,
    connection: HolderConnection,
    { stored, chunks, theirs }: { stored: Buffer; chunks: number[]; theirs: Manifest },
  ): void {
    if (this.#over) return;
    this.#receivedBytes += stored.length;
    const good: { index: number; chunk: Chunk }[] = [];
    let goodBytes = 0;
    for (const index of chunks) {
      const chunk = theirs.chunk(index);
      const bytes = stored.subarray(goodBytes, goodBytes + chunk.storedBytes);
      if (openChunk(bytes, chunk) === undefined) break;
      good.push({ index, chunk });
      goodBytes += chunk.storedBytes;
    }
    try {
      let offset = this.#pack!.append(
        stored.subarray(0, goodBytes),
        good.map(({ chunk }) => chunk),
      );
      for (const { index, chunk } of good) {
        // Copied: the other node's manifest need not stay for a hash.
        this.#here.set(theirs.key(index), {
          ...chunk,
          hash: this.#manifest!.chunk(index).hash,
          pack: this.#pack!.id,
          offset,
        });
        offset += chunk.storedBytes;
      }
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#missing -= good.length;
    if (good.length > 0) this.#delivered.add(holder.node);
    if (good.length < chunks.length) {
      this.#wanted = [...chunks.slice(good.length), ...this.#wanted];
      connection.end(new BlobError('corrupt', 'a chunk that it sent is not what its hash promises'));
      return;
    }
    this.#finishIfWhole();
  }

  #finishIfWhole(): void {
    if (this.#missing > 0 || this.#over) return;
    this.#over = true;
    this.#closeConnections();
    this.#done.resolve();
  }

  #fail(error: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#closeConnections();
    this.#done.reject(error);
  }

  #closeConnections(): void {
    for (const connection of this.#connections) connection.end(new BlobError('aborted', 'nothing more is needed'));
  }
}
