// What a person attends to, as an HTTP exchange: frames of a session (lib/session-frames.ts) in the body, frames in
// the answer, at the same time. Knows nothing of what is attended to.

import type * as v from 'valibot';
import type { Log } from '../lib/log.ts';
import { encodeJsonFrame } from '../lib/session-frames.ts';
import type { SessionIo } from '../ports/node-service.ts';
import { ApiError, failureOf, reportUnexpected } from './errors.ts';
import { parseInput } from './validate.ts';

/** What is asked for, as JSON in base64url: the body is what it reads. */
export const SESSION_OPTIONS_HEADER = 'x-peer-session';

type Attending = {
  log: Log;
  /** For the log, where it fails as nobody foresaw. */
  what: string;
  open: (io: SessionIo) => Promise<AsyncIterable<Uint8Array>>;
};

/** What goes wrong before it has been opened is an error like any other; later it is the frame `failed`. */
export async function attended(raw: Request, { log, what, open }: Attending): Promise<Response> {
  const gone = new AbortController();
  const onAbort = (): void => gone.abort();
  raw.signal.addEventListener('abort', onAbort, { once: true });
  if (raw.signal.aborted) onAbort();
  const input = raw.body === null ? nothing() : chunksOf(raw.body);
  const frames = await open({ input, signal: gone.signal });
  const values = frames[Symbol.asyncIterator]();
  // Nobody asks for more then, and what runs has to come to its end all the same.
  const onGone = (): void => void Promise.resolve(values.return?.()).catch(() => {});
  if (gone.signal.aborted) onGone();
  else gone.signal.addEventListener('abort', onGone, { once: true });
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await values.next();
          if (next.done === true) controller.close();
          else controller.enqueue(next.value);
        } catch (error) {
          const failure = failureOf(error);
          const code = failure?.code ?? 'connection_lost';
          const message = failure?.message ?? reportUnexpected(log, error, what);
          controller.enqueue(encodeJsonFrame('failed', { code, message }));
          controller.close();
        }
      },
      cancel: () => gone.abort(),
    },
    { highWaterMark: 0 },
  );
  return new Response(body, {
    headers: { 'content-type': 'application/octet-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
  });
}

export function readOptions<S extends v.GenericSchema>(schema: S, raw: Request): v.InferOutput<S> {
  let options: unknown;
  try {
    options = JSON.parse(Buffer.from(raw.headers.get(SESSION_OPTIONS_HEADER) ?? '', 'base64url').toString('utf8'));
  } catch {
    throw new ApiError('bad_request', `the header ${SESSION_OPTIONS_HEADER} should be JSON in base64url`);
  }
  return parseInput(schema, options);
}

async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    void reader.cancel().catch(() => {});
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
