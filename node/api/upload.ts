// The body of an upload as it comes in: bounded, cut off when it stalls, never buffered.

import { ApiError } from './errors.ts';

/** Compressed size of the source folder. */
export const UPLOAD_BYTES_MAX = 1024 ** 3;
/** Without a single byte for this long the client is taken for gone. */
const UPLOAD_STALL_TIMEOUT_MS = 60_000;

/** What people are told of an upload that cannot be taken. */
export type UploadWords = { what: string; empty: string; tooLarge: string; again: string };

const PUSH: UploadWords = {
  what: 'the source',
  empty: 'the push holds no source: send the folder as a gzip-compressed tar',
  tooLarge: 'compressed: leave files out with a .peerignore file',
  again: 'push again',
};

/** The chunks of the body. Fails with ApiError `too_large` or `upload_cut_off`; the request is over then. */
export async function* uploadOf(
  body: ReadableStream<Uint8Array> | null,
  options: { bytesMax?: number; stallTimeoutMs?: number; words?: UploadWords } = {},
): AsyncGenerator<Uint8Array> {
  const { bytesMax = UPLOAD_BYTES_MAX, stallTimeoutMs = UPLOAD_STALL_TIMEOUT_MS, words = PUSH } = options;
  if (body === null) throw new ApiError('bad_request', words.empty);
  const reader = body.getReader();
  let bytes = 0;
  try {
    for (;;) {
      const { done, value } = await readOrStall(reader, stallTimeoutMs, words);
      if (done) break;
      bytes += value.length;
      if (bytes > bytesMax) {
        throw new ApiError('too_large', `${words.what} is larger than ${bytesMax / 1024 ** 2} MiB ${words.tooLarge}`);
      }
      yield value;
    }
  } finally {
    // Ends the upload when the reader has had enough of it; harmless when it has ended by itself.
    void reader.cancel().catch(() => {});
  }
  if (bytes === 0) throw new ApiError('bad_request', words.empty);
}

async function readOrStall(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  stallTimeoutMs: number,
  { again }: UploadWords,
): Promise<ReadableStreamReadResult<Uint8Array>> {
  let timer: NodeJS.Timeout | undefined;
  const stalled = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new ApiError('upload_cut_off', `the upload stalled for ${stallTimeoutMs / 1000} s: ${again}`));
    }, stallTimeoutMs);
  });
  try {
    return await Promise.race([reader.read(), stalled]);
  } catch (error) {
    if (error instanceof ApiError) throw error;
    throw new ApiError('upload_cut_off', `the upload was cut off: ${again}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

/** The whole body in memory, for small ones. Fails as uploadOf does. */
export async function wholeBody(body: ReadableStream<Uint8Array> | null, bytesMax: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of uploadOf(body, { bytesMax })) parts.push(part);
  return Buffer.concat(parts);
}
