// The API as the commands use it: typed calls, event streams, and failures as CliError. Renders nothing.

import type { Readable } from 'node:stream';
import type { ErrorBody } from '../node/api/errors.ts';
import { type Calls, callsOf } from './calls.ts';
import type { Connection } from './connection.ts';
import { CliError } from './errors.ts';
import { readEvents, type StreamEvent } from './event-reader.ts';
import { send } from './transport.ts';

export type Client = {
  readonly url: string;
  /** Typed by the API itself: `answer(client.v1.apps.$get())`. */
  readonly v1: Calls['v1'];
  /** An event stream, as it comes. */
  stream<E extends StreamEvent>(path: string, options?: StreamOptions): AsyncIterable<E>;
  /** The bytes of an answer, as they come, with what its head says. Fails when fewer come than it promised. */
  download(path: string): Promise<Readable>;
  /** Sends bytes as they come; the JSON of the answer. */
  upload<T>(path: string, body: Readable | Buffer): Promise<T>;
  /** Bytes both ways at once: resolves when the answer begins. */
  duplex(path: string, options: StreamOptions): Promise<AsyncIterable<Uint8Array>>;
};

export type StreamOptions = {
  method?: string;
  headers?: Record<string, string>;
  body?: Readable | Buffer;
  signal?: AbortSignal;
};

export function createClient({ url, token, fingerprint }: Connection): Client {
  const authorization: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  return {
    url,
    v1: callsOf(({ path, headers, ...request }) =>
      send(url + path, { ...request, headers: { ...headers, ...authorization } }, fingerprint),
    ).v1,
    async *stream<E extends StreamEvent>(path: string, options: StreamOptions = {}) {
      const headers = { ...options.headers, ...authorization };
      const response = await send(url + path, { ...options, headers, streams: true }, fingerprint);
      if (!response.ok) throw await failureIn(response);
      yield* readEvents<E>(response.body);
    },
    async download(path) {
      const response = await send(url + path, { headers: authorization, streams: true }, fingerprint);
      if (!response.ok) throw await failureIn(response);
      return response.body;
    },
    upload<T>(path: string, body: Readable | Buffer) {
      const type = Buffer.isBuffer(body) ? 'application/octet-stream' : 'application/gzip';
      const headers = { 'content-type': type, ...authorization };
      return answer(send(url + path, { method: 'POST', headers, body, streams: true }, fingerprint)) as Promise<T>;
    },
    async duplex(path, options) {
      const headers = { ...options.headers, ...authorization };
      const response = await send(url + path, { method: 'POST', ...options, headers, streams: true }, fingerprint);
      if (!response.ok) throw await failureIn(response);
      return response.body;
    },
  };
}

type Answer = { ok: boolean; status: number; json(): Promise<unknown>; text(): Promise<string> };

/** The JSON of an answer; fails with what the API says is wrong. */
export async function answer<A extends Answer>(pending: Promise<A>): Promise<Awaited<ReturnType<A['json']>>> {
  const response = await pending;
  if (!response.ok) throw await failureIn(response);
  return documentIn(response, await textOf(response)) as Awaited<ReturnType<A['json']>>;
}

async function failureIn(response: Answer): Promise<CliError> {
  const { error } = (documentIn(response, await textOf(response)) ?? {}) as Partial<ErrorBody>;
  return error === undefined
    ? notFromNode(response)
    : new CliError(error.code, error.message, { mayHold: error.mayHold === true, retry: error.retry });
}

function documentIn(response: Answer, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw notFromNode(response);
  }
}

const notFromNode = ({ status }: Answer): CliError =>
  new CliError('bad_answer', `the answer (HTTP ${status}) is not from a Peer node: check --api`);

const textOf = (response: Answer): Promise<string> =>
  response.text().catch((cause: unknown) => {
    if (cause instanceof CliError) throw cause;
    throw new CliError('connection_lost', 'the connection to the node was lost: try again', { cause });
  });
