// Sends blobs of the local store to nodes that ask for them, straight from the file, as fast as they take it.

import type { Connection, Stream } from '@libp2p/interface';
import type { BlobStore, Log } from '../ports.ts';
import { type BlobHeader, decodeBlobRequest } from './blob-frames.ts';
import { GossipError, reasonOf } from './errors.ts';
import { encodeJson, StreamReader, type WaitOptions, writeBytes, writeFrame } from './frames.ts';
import { BLOB_IDLE_TIMEOUT_MS, BLOB_REQUEST_BYTES_MAX, BLOB_UPLOADS_MAX } from './limits.ts';
import { Semaphore } from './semaphore.ts';

export class BlobServer {
  readonly #blobs: BlobStore;
  readonly #log: Log;
  readonly #uploads = new Semaphore(BLOB_UPLOADS_MAX, 0);

  constructor(blobs: BlobStore, log: Log) {
    this.#blobs = blobs;
    this.#log = log;
  }

  /** Never throws. */
  async serve(stream: Stream, connection: Connection): Promise<void> {
    const gone = new AbortController();
    stream.addEventListener('close', () => gone.abort(new GossipError('closed', 'the receiver went away')), {
      once: true,
    });
    const wait: WaitOptions = { signal: gone.signal, timeoutMs: BLOB_IDLE_TIMEOUT_MS };
    const release = this.#uploads.tryAcquire();
    try {
      const frame = await new StreamReader(stream).frame(BLOB_REQUEST_BYTES_MAX, wait);
      if (frame === undefined) throw new GossipError('protocol', 'a stream was opened without a request');
      const digest = decodeBlobRequest(frame);
      if (release === undefined) await sendHeader(stream, { refused: 'busy' }, wait);
      else if (!this.#blobs.has(digest)) await sendHeader(stream, { refused: 'blob_missing' }, wait);
      else {
        await sendHeader(stream, { sizeBytes: this.#blobs.sizeBytes(digest) }, wait);
        for await (const chunk of this.#blobs.read(digest)) await writeBytes(stream, chunk, wait);
      }
      await stream.close({ signal: AbortSignal.timeout(BLOB_IDLE_TIMEOUT_MS) });
    } catch (error) {
      this.#log.debug('gossip.blob_upload_failed', { to: connection.remotePeer.toString(), reason: reasonOf(error) });
      stream.abort(error as Error);
    } finally {
      release?.();
    }
  }
}

async function sendHeader(stream: Stream, header: BlobHeader, wait: WaitOptions): Promise<void> {
  await writeFrame(stream, encodeJson(header, BLOB_REQUEST_BYTES_MAX), wait);
}
