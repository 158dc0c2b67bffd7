// Runs the tools of scripts.ts: what they take in, what goes from them into the blob store, and what they complain of.

import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import type { Digest } from '../../crdt/ids.ts';
import { formatBytes } from '../lib/format-bytes.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { VolumeTools } from '../ports/volumes.ts';
import { VolumeError, type VolumeErrorCode } from './errors.ts';
import { BLOCK_TOOL } from './scripts.ts';

export const TIMEOUT_MS = 6 * 60 * 60_000;
/** Of a tar: a volume may be larger than its size by a little, and headers come on top. */
const OVERHEAD_FACTOR = 2;
const OVERHEAD_BYTES = 256 * 1024 * 1024;
/** Two blocks of zeros. */
const TAR_BLOCK_BYTES = 512;
const TAR_END_BYTES = 2 * TAR_BLOCK_BYTES;
export const MESSAGES_BYTES_MAX = 64 * 1024;
const PROBLEM_CHARACTERS_MAX = 300;

/** Shows the tool that looks at single blocks to a script. */
export const BLOCK_TOOL_BIND = {
  from: new URL('block-tool.ts', import.meta.url).pathname,
  to: BLOCK_TOOL,
  writable: false,
};

type Run = Parameters<VolumeTools['run']>[0];
type Script = Pick<Run, 'uid' | 'argv' | 'binds'> & {
  /** What it is called in messages and control groups. */
  name: string;
  /** Of what it puts out or takes in. */
  bytesMax: number;
};

/** Stores what a script puts out. Fails with VolumeError `disk_full`, `snapshot_failed`, or as the blob store does. */
export async function stored(
  script: Script & { signal?: AbortSignal | undefined },
  { tools, put }: { tools: VolumeTools; put: BlobStore['put'] },
): Promise<{ digest: Digest; sizeBytes: number }> {
  const { name, bytesMax, signal, ...run } = script;
  const said = new Said();
  const tar = new PassThrough();
  const ended = new AbortController();
  const running = tools
    .run({
      ...run,
      name: `${name}-${suffix()}`,
      onOutput: (chunk, stream) => (stream === 'err' ? said.take(chunk) : written(tar, chunk)),
      outputBytesMax: bytesMax,
      timeoutMs: TIMEOUT_MS,
      signal: signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]),
    })
    .then((result) => {
      if (result.code === 0 && !result.truncated) tar.end();
      else tar.destroy(said.error('snapshot_failed', 'the snapshot cannot be packed'));
    })
    .catch((error: Error) => tar.destroy(error));
  try {
    return await put(tar, { sizeBytesMax: bytesMax });
  } finally {
    // Should the store have given up, there is nobody to pack for.
    tar.destroy();
    ended.abort();
    await running;
  }
}

/** Feeds a tar to a script. Fails with VolumeError `disk_full` or `bad_snapshot`, or as the content does. */
export async function fed(content: AsyncIterable<Uint8Array>, script: Script, tools: VolumeTools): Promise<void> {
  const { name, bytesMax, ...run } = script;
  const source = Readable.from(bounded(content, bytesMax));
  let lost: unknown;
  source.once('error', (error) => {
    lost = error;
  });
  const said = new Said();
  const result = await tools.run({
    ...run,
    name: `${name}-${suffix()}`,
    stdin: source,
    onOutput: (chunk) => said.take(chunk),
    outputBytesMax: MESSAGES_BYTES_MAX,
    timeoutMs: TIMEOUT_MS,
  });
  source.destroy();
  if (lost !== undefined) throw lost;
  if (result.code !== 0) throw said.error('bad_snapshot', 'the snapshot cannot be unpacked');
}

/** What a tool complained of. */
export class Said {
  text = '';

  take(chunk: Buffer): void {
    if (this.text.length < MESSAGES_BYTES_MAX) this.text += chunk;
  }

  get line(): string {
    const [first = ''] = this.text.trim().split('\n');
    return first === '' ? 'it gave no reason' : first.replace(/[^\x20-\x7e]+/g, ' ').slice(0, PROBLEM_CHARACTERS_MAX);
  }

  /** Of that kind, unless the disk is full. */
  error(code: VolumeErrorCode, what: string): VolumeError {
    const isFull = /No space left on device|Disk quota exceeded/.test(this.text);
    if (isFull) return new VolumeError('disk_full', "this node's disk is full: free some disk space");
    return new VolumeError(code, `${what}: ${this.line}`);
  }
}

export function tarBytesMax(sizeBytes: number): number {
  return sizeBytes * OVERHEAD_FACTOR + OVERHEAD_BYTES;
}

export function suffix(): string {
  return randomBytes(4).toString('hex');
}

/**
 * The content, as long as it is no larger than a volume's tar can be. Fails at its end when that is not a tar's: tar
 * itself takes one that was cut off between two files for whole.
 */
async function* bounded(content: AsyncIterable<Uint8Array>, bytesMax: number): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  let end = Buffer.alloc(0);
  for await (const chunk of content) {
    bytes += chunk.length;
    end = Buffer.concat([end, chunk.subarray(-TAR_END_BYTES)]).subarray(-TAR_END_BYTES);
    if (bytes > bytesMax) {
      throw new VolumeError(
        'bad_snapshot',
        `the snapshot is larger than its volume: more than ${formatBytes(bytesMax)}`,
      );
    }
    yield chunk;
  }
  if (end.length === TAR_END_BYTES && bytes % TAR_BLOCK_BYTES === 0 && end.every((byte) => byte === 0)) return;
  throw new VolumeError('bad_snapshot', 'the snapshot is cut off, or none: it does not end as a tar does');
}

/** Waits until the reader has taken enough. */
function written(stream: PassThrough, chunk: Buffer): Promise<void> | void {
  if (stream.destroyed || stream.write(chunk)) return;
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}
