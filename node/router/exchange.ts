// One try at one upstream: sends the request, streams the response to the client with back-pressure, or joins the two
// connections when the upstream switches protocols. Says how it ended; whether to try again is the caller's decision.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { LinkError } from './errors.ts';
import { PEER_LINK_ERROR } from './request-head.ts';
import { type RawHeaders, responseHeaders, upgradeHeader } from './response-head.ts';
import { joinConnections } from './tunnel.ts';

/** The client's side of an upgrade: its connection, and what it sent after its request's header. */
export type ClientConnection = { socket: Duplex; head: Buffer };

/**
 * - `passed`: the client has the whole response, or its tunnel has ended.
 * - `broken`: the upstream died in the middle of the response; the client's connection was cut, so that it knows.
 * - `aborted`: the client went away.
 * - `failed`: the client has got nothing. `sent` tells whether the upstream may have seen the request.
 */
export type Outcome =
  | { kind: 'passed' }
  | { kind: 'broken'; error: Error }
  | { kind: 'aborted' }
  | { kind: 'failed'; sent: boolean; why: FailureKind; error: Error };

/**
 * - `unreachable`: no connection to the instance's node, so that nothing is known of the instance.
 * - `dial`: no connection. `ended`: it closed the connection before it answered. `timeout`: no answer in time.
 *   `malformed`: no HTTP.
 * - `refused`: another node's link does not know the instance, or us. `busy`: the instance has as many requests as it
 *   may.
 * - `invalid`: this request could be sent to no upstream at all.
 */
export type FailureKind = 'unreachable' | 'dial' | 'ended' | 'timeout' | 'malformed' | 'refused' | 'busy' | 'invalid';

export type ExchangeOptions = {
  res: ServerResponse;
  /** Set for an upgrade. */
  client?: ClientConnection;
  /** The upstream is another node's link: its own errors are failures, not responses. */
  viaLink: boolean;
  /** Adds to the response's header (flat: name, value…) before it goes to the client. */
  amend?: (headers: string[]) => void;
  /** The response's header has come: the request will not be sent again. */
  onResponse: () => void;
  /** The connections were joined. */
  onTunnel?: () => void;
  onSettled: (outcome: Outcome) => void;
};

export class Exchange implements Dispatcher.DispatchHandler {
  readonly #options: ExchangeOptions;
  #controller: Dispatcher.DispatchController | undefined;
  #responded = false;
  #flushed = false;
  #cancelled = false;
  #settled = false;
  /** Why the link could not pass the request on. */
  #linkError: string | undefined;

  constructor(options: ExchangeOptions) {
    this.#options = options;
  }

  /** The client has gone. */
  cancel(): void {
    if (this.#settled) return;
    this.#cancelled = true;
    this.#controller?.abort(new Error('the client went away'));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#cancelled) throw new Error('the client went away');
    this.#controller = controller;
  }

  onRequestUpgrade(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: IncomingMessage['headers'],
    upstream: Duplex,
  ): void {
    const { client, res, onResponse, onTunnel } = this.#options;
    // The upstream's parser no longer listens.
    upstream.on('error', () => {});
    if (!client || this.#cancelled || client.socket.destroyed) {
      upstream.destroy();
      this.#settle({ kind: 'aborted' });
      return;
    }
    onResponse();
    this.#responded = true;
    res.detachSocket(client.socket as Parameters<ServerResponse['detachSocket']>[0]);
    client.socket.write(upgradeHeader(status, (controller.rawHeaders ?? []) as RawHeaders), 'latin1');
    if (client.head.length > 0) upstream.write(client.head);
    onTunnel?.();
    joinConnections(client.socket, upstream, { onClosed: () => this.#settle({ kind: 'passed' }) });
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    headers: Record<string, string | string[] | undefined>,
    statusText?: string,
  ): void {
    const { res, viaLink, amend, onResponse } = this.#options;
    if (status < 200) return;
    const linkError = viaLink ? headers[PEER_LINK_ERROR] : undefined;
    if (linkError !== undefined) {
      this.#linkError = String(linkError);
      return;
    }
    onResponse();
    const out = responseHeaders((controller.rawHeaders ?? []) as RawHeaders);
    amend?.(out);
    res.writeHead(status, statusText || undefined, out);
    this.#responded = true;
    // Alone only when no body came with it: an event stream's client waits for the header.
    process.nextTick(() => {
      if (!this.#flushed && !res.destroyed) res.flushHeaders();
    });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (!this.#responded) return;
    this.#flushed = true;
    const { res } = this.#options;
    if (res.write(chunk)) return;
    controller.pause();
    res.once('drain', () => controller.resume());
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: Record<string, string | string[] | undefined>) {
    if (this.#linkError !== undefined) {
      this.#settle(linkFailure(this.#linkError));
      return;
    }
    this.#flushed = true;
    const { res } = this.#options;
    const names = trailers && Object.keys(trailers);
    if (names?.length) res.addTrailers(names.map((name) => [name, String(trailers[name])] as [string, string]));
    res.end();
    this.#settle({ kind: 'passed' });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#cancelled) this.#settle({ kind: 'aborted' });
    else if (this.#responded) {
      this.#options.res.destroy();
      this.#settle({ kind: 'broken', error });
    } else if (this.#linkError !== undefined) this.#settle(linkFailure(this.#linkError));
    else
      this.#settle({
        kind: 'failed',
        sent: this.#controller !== undefined,
        why: failureKind(error, this.#controller),
        error,
      });
  }

  #settle(outcome: Outcome): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#options.onSettled(outcome);
  }
}

export type LinkErrorCode =
  | 'unknown_instance'
  | 'unknown_service'
  | 'not_admitted'
  | 'saturated'
  | 'dial'
  | 'ended'
  | 'timeout'
  | 'malformed';

/** What a link server says in PEER_LINK_ERROR, and whether the app may have seen the request. */
const LINK_ERRORS: Readonly<Record<LinkErrorCode, { sent: boolean; why: FailureKind }>> = {
  unknown_instance: { sent: false, why: 'refused' },
  unknown_service: { sent: false, why: 'refused' },
  not_admitted: { sent: false, why: 'refused' },
  saturated: { sent: false, why: 'busy' },
  dial: { sent: false, why: 'dial' },
  ended: { sent: true, why: 'ended' },
  timeout: { sent: true, why: 'timeout' },
  malformed: { sent: true, why: 'malformed' },
};

function linkFailure(code: string): Outcome {
  const known = Object.hasOwn(LINK_ERRORS, code)
    ? LINK_ERRORS[code as LinkErrorCode]
    : ({ sent: true, why: 'ended' } as const);
  return { kind: 'failed', ...known, error: new Error(`the instance's node answered '${code}'`) };
}

function failureKind(error: Error, started: unknown): FailureKind {
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED') return 'invalid';
  if (!started) return error instanceof LinkError ? 'unreachable' : 'dial';
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT') return 'timeout';
  // undici's parser let something pass that Node will not send.
  if (error.name === 'HTTPParserError' || code === 'UND_ERR_HEADERS_OVERFLOW' || code === 'ERR_INVALID_CHAR') {
    return 'malformed';
  }
  return 'ended';
}
