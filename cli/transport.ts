// One HTTP request to a node, over node:http: it streams uploads while the answer comes in, and accepts a self-made
// certificate only when its fingerprint is known (pinned.ts). Knows nothing of what is asked. Without the Fetch API
// and TLS, which Node compiles when they are first used: two thirds of what a short command costs.

import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { boundLookups, CONNECT_MAX_MS, type Opener } from './connecting.ts';
import { CliError } from './errors.ts';
import { explain, unreachable } from './unreachable.ts';
import { parseDuration } from './values.ts';

/** An import would read every name that the module has, of which one loads the Fetch API. */
const { request } = process.getBuiltinModule('node:http');

/**
 * For how long an answer is waited for unless PEER_TIMEOUT says otherwise. Nodes send a sign of life every 10 s on
 * streams.
 */
const TIMEOUT_DEFAULT_MS = 30_000;
const TIMEOUT_RANGE = { min: '1s', max: '1h' };
/** Four signs of life are missing by then. */
const SILENCE_MIN_MS = 45_000;
const SILENCE_LOOK_MS = 1_000;

/** As the API reads it (node/api/wanted.ts). */
const WANTED_FOR_HEADER = 'peer-wanted-for-ms';

export type SendOptions = {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer | Readable;
  signal?: AbortSignal;
  /**
   * The answer, or the body, comes in parts: the time is that of silence. Else it is that until the answer is whole,
   * and the node is told of it, so that it does not do afterwards what nobody waits for any more.
   */
  streams?: boolean;
};

export type Answered = {
  ok: boolean;
  status: number;
  /** Fails with CliError `no_answer`, or what the connection failed with, as when less comes than was promised. */
  body: Readable;
  text(): Promise<string>;
  json(): Promise<unknown>;
};

/** Fails with UsageError. */
function timeoutMs(): number {
  const given = process.env.PEER_TIMEOUT;
  return given === undefined || given === '' ? TIMEOUT_DEFAULT_MS : parseDuration(given, 'PEER_TIMEOUT', TIMEOUT_RANGE);
}

/**
 * Resolves with the head of the answer. Fails with CliError `unreachable`, `no_answer`, `untrusted` or what the body
 * failed with.
 */
export async function send(url: string, options: SendOptions, fingerprint: string | undefined): Promise<Answered> {
  const target = new URL(url);
  const { method = 'GET', body, signal, streams = false } = options;
  const askedMs = timeoutMs();
  const waitMs = streams ? Math.max(askedMs, SILENCE_MIN_MS) : askedMs;
  boundLookups();
  const headers = { ...options.headers, [WANTED_FOR_HEADER]: String(waitMs) };
  const connectMs = Math.min(askedMs, CONNECT_MAX_MS);
  const open = target.protocol === 'https:' ? await secureOpener(target, fingerprint, connectMs, body) : opener(target);
  return new Promise((resolve, reject) => {
    let answering: IncomingMessage | undefined;
    let limit: NodeJS.Timeout | undefined;
    const onResponse = (message: IncomingMessage) => {
      answering = message;
      if (streams) onSilence(message, waitMs, giveUp);
      else message.once('close', () => clearTimeout(limit));
      // Whatever is still being sent is of no use to a node that has refused.
      if ((message.statusCode ?? 500) >= 400 && body instanceof Readable) body.destroy();
      resolve(answerOf(message));
    };
    const sent = open({ method, headers, ...(signal === undefined ? {} : { signal }) }, onResponse);
    const connecting = setTimeout(
      () => sent.destroy(unreachable(target.origin, `no connection within ${connectMs / 1000} s`)),
      connectMs,
    );
    const connected = () => clearTimeout(connecting);
    sent.once('socket', (socket) => {
      if (!socket.connecting) connected();
      else socket.once('connect', connected);
    });
    const giveUp = () => {
      const error = noAnswer(target.origin, waitMs, { method, answering: answering !== undefined });
      // The connection ends with it, by which the node knows that nobody waits any more.
      sent.destroy(error);
      answering?.destroy(error);
    };
    // As long as the body goes out, or nothing has been answered yet; what follows is onSilence's.
    if (streams) sent.setTimeout(waitMs, () => answering ?? giveUp());
    else limit = setTimeout(giveUp, waitMs);
    const ended = () => {
      connected();
      if (answering === undefined) clearTimeout(limit);
    };
    sent.once('close', ended);
    // After the answer has begun this only says that the rest of the upload is not wanted any more. A request that was
    // given no connection is not closed either.
    sent.on('error', (error) => {
      ended();
      reject(explain(error, target.origin));
    });
    if (body instanceof Readable) {
      body.on('error', (error) => {
        sent.destroy(error);
        reject(error);
      });
      body.pipe(sent);
    } else sent.end(body);
  });
}

const opener =
  (target: URL): Opener =>
  (options, onResponse) =>
    request(target, options, onResponse);

/** Fails with what the body has failed with meanwhile. */
async function secureOpener(
  target: URL,
  fingerprint: string | undefined,
  connectMs: number,
  body: SendOptions['body'],
): Promise<Opener> {
  if (body instanceof Readable) body.on('error', () => {});
  const { overTls } = await import('./pinned.ts');
  if (body instanceof Readable && body.errored !== null) throw body.errored;
  return overTls(target, fingerprint, connectMs);
}

/** Counts what comes in alone: what this side sends goes into the buffers of a frozen node, too. */
function onSilence(message: IncomingMessage, waitMs: number, giveUp: () => void): void {
  let bytesRead = -1;
  let heardAtMs = performance.now();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    // While whoever reads the answer takes its time, nothing is read from the connection either.
    if (message.socket.bytesRead !== bytesRead || message.readableLength > 0) {
      bytesRead = message.socket.bytesRead;
      heardAtMs = nowMs;
    } else if (nowMs - heardAtMs >= waitMs) giveUp();
  }, SILENCE_LOOK_MS);
  message.once('close', () => clearInterval(timer));
}

function noAnswer(origin: string, waitedMs: number, { method, answering }: { method: string; answering: boolean }) {
  const seconds = waitedMs / 1000;
  const what = answering
    ? `${origin} has been silent for ${seconds} s`
    : `no answer from ${origin} within ${seconds} s`;
  const hint = 'is its daemon frozen, or its machine overloaded? (PEER_TIMEOUT=60s waits longer)';
  const mayHold = method !== 'GET';
  const doubt = mayHold ? '; what was asked for may have been done' : '';
  return new CliError('no_answer', `${what}: ${hint}${doubt}`, { mayHold });
}

function answerOf(message: IncomingMessage): Answered {
  const status = message.statusCode ?? 500;
  const text = async () => {
    const chunks: Buffer[] = [];
    for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk);
    return Buffer.concat(chunks).toString('utf8');
  };
  const ok = status >= 200 && status < 300;
  return { ok, status, body: message, text, json: async () => JSON.parse(await text()) };
}
