// Serves one request of the public listener: finds its route, picks an upstream, and tries others when one turns out
// dead. Never tries again what may have been done already, nor once the client has got a part of the answer.

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import type { InstanceId } from '../../crdt/ids.ts';
import type { Upstream } from '../core/types.ts';
import { crypto } from './builtin.ts';
import { type ClientConnection, Exchange, type Outcome } from './exchange.ts';
import { ATTEMPTS_MAX, UNREACHED_LINKS_MAX } from './limits.ts';
import { whyUnreachable } from './link-dial.ts';
import { findRoute, hostOf, type RouteEntry } from './lookup.ts';
import {
  badRequest,
  discardBody,
  endpointFailure,
  endpointTimeout,
  noEndpoints,
  type Reply,
  saturated,
  sendReply,
  unknownRoute,
  unreachableNodes,
} from './reply.ts';
import { RequestBody } from './request-body.ts';
import { forwardedHeaders, headersForUpstream, type RequestHead, readRequestHead } from './request-head.ts';
import { requestTarget } from './request-target.ts';
import type { Routing } from './routing.ts';
import { boundInstance, stickyCookie } from './sticky.ts';

/**
 * Safe methods: repeating them changes nothing, so a lost answer may be asked for again. @see RFC 9110, section 9.2.1
 */
const REPEATABLE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

export function serveRequest(
  routing: Routing,
  req: IncomingMessage,
  res: ServerResponse,
  client?: ClientConnection,
): void {
  const head = readRequestHead(req.rawHeaders, 'client');
  const target = requestTarget(req.url ?? '', head.host);
  if (target === undefined) {
    sendReply(req, res, badRequest('invalid_target', 'The request names no path.'));
    return;
  }
  if (!target.host) {
    sendReply(req, res, badRequest('empty_host', 'The request names no host.'));
    return;
  }
  if (target.absolute) replaceHost(head.passed, target.host);
  const host = hostOf(target.host);
  const find = () => findRoute(routing.index, host, target.path);
  if (!find()) {
    sendReply(req, res, unknownRoute(host));
    return;
  }
  let pinned: PinnedInstance | undefined;
  if (head.appInstance !== undefined) {
    pinned = parsePinned(head.appInstance);
    if (!pinned) {
      sendReply(
        req,
        res,
        badRequest(
          'invalid_cf_app_instance_header',
          `X-Cf-App-Instance must be APP_ID:INDEX, not '${head.appInstance}'.`,
        ),
      );
      return;
    }
  }
  new ClientRequest({
    routing,
    req,
    res,
    client,
    head,
    find,
    pinned,
    host: target.host,
    path: target.pathAndQuery,
  }).start();
}

/** The target's host is the one that counts, for the app too. @see RFC 9112, section 3.2.2 */
function replaceHost(headers: string[], host: string): void {
  for (let at = headers.length - 2; at >= 0; at -= 2) {
    if (headers[at]!.toLowerCase() === 'host') headers.splice(at, 2);
  }
  headers.push('Host', host);
}

type PinnedInstance = { app: string; index: number };

function parsePinned(header: string): PinnedInstance | undefined {
  const match = /^([^:\s]+):(\d{1,6})$/.exec(header.trim());
  return match ? { app: match[1]!, index: Number(match[2]) } : undefined;
}

type ClientRequestOptions = {
  routing: Routing;
  req: IncomingMessage;
  res: ServerResponse;
  client: ClientConnection | undefined;
  head: RequestHead;
  /** Looks the route up again: the table may have changed between two tries. */
  find: () => RouteEntry | undefined;
  pinned: PinnedInstance | undefined;
  host: string;
  path: string;
};

class ClientRequest {
  readonly #options: ClientRequestOptions;
  readonly #body: RequestBody | undefined;
  readonly #forwarded: string[];
  readonly #requestId = crypto.randomUUID();
  readonly #bound: InstanceId | undefined;
  readonly #repeatable: boolean;
  #tried: Set<InstanceId> | undefined;
  #attempts = 0;
  /** Tries that ended at another node's door: nothing was sent, and they say nothing of the app. */
  #unreached = 0;
  #exchange: Exchange | undefined;
  /** How the last try ended, and at whom. */
  #last: (Extract<Outcome, { kind: 'failed' }> & { upstream: Upstream }) | undefined;

  constructor(options: ClientRequestOptions) {
    const { req, head, host } = options;
    this.#options = options;
    this.#body = head.hasBody ? new RequestBody(req) : undefined;
    this.#repeatable = !head.hasBody && REPEATABLE_METHODS.has(req.method ?? '');
    this.#bound = boundInstance(head.cookie);
    this.#forwarded = forwardedHeaders(head, {
      remoteAddress: req.socket.remoteAddress ?? '',
      host,
      requestId: this.#requestId,
      nowMs: Date.now(),
    });
  }

  start(): void {
    this.#options.res.once('close', () => this.#exchange?.cancel());
    this.#try();
  }

  #try(): void {
    const { routing, req, res, client, head, path } = this.#options;
    if (res.destroyed) return;
    const upstream = this.#pick();
    if ('status' in upstream) {
      sendReply(req, res, upstream);
      return;
    }
    this.#attempts++;
    const { instance } = upstream;
    const link =
      upstream.node === routing.self ? undefined : routing.upstreams.link(upstream.node, upstream.link ?? '');
    let counted: 'requests' | 'tunnels' = 'requests';
    routing.balancer.begin(instance, counted);
    link?.begin();
    const exchange = new Exchange({
      res,
      client,
      viaLink: link !== undefined,
      amend: (headers) => {
        const cookie = stickyCookie(headers, instance, this.#bound);
        if (cookie !== undefined) headers.push('Set-Cookie', cookie);
        headers.push('X-Vcap-Request-Id', this.#requestId);
      },
      onResponse: () => this.#body?.forget(),
      onTunnel: () => {
        routing.balancer.end(instance, counted);
        counted = 'tunnels';
        routing.balancer.begin(instance, counted);
      },
      onSettled: (outcome) => {
        routing.balancer.end(instance, counted);
        link?.end();
        this.#settled(outcome, upstream);
      },
    });
    this.#exchange = exchange;
    const dispatcher = link ? link.pool : routing.upstreams.local({ ...upstream, port: upstream.port ?? 0 });
    dispatcher.dispatch(
      {
        path,
        method: req.method as Dispatcher.HttpMethod,
        headers: headersForUpstream(this.#forwarded, upstream, routing.self),
        body: this.#body?.open() ?? null,
        upgrade: client ? head.upgrade : null,
        // undici would close the connection after every HEAD; another node's link answers them correctly.
        reset: link && req.method === 'HEAD' && !client ? false : undefined,
      },
      exchange,
    );
  }

  #pick(): Upstream | Reply {
    const { routing, find, pinned, host } = this.#options;
    const entry = find();
    if (!entry) return unknownRoute(hostOf(host));
    let upstreams: readonly Upstream[] = entry.upstreams;
    if (pinned) {
      upstreams = upstreams.filter(({ app, index }) => app === pinned.app && index === pinned.index);
      if (upstreams.length === 0) {
        return badRequest(
          'unknown_instance',
          `App '${entry.appName}' has no ready instance ${pinned.app}:${pinned.index}.`,
        );
      }
    } else if (upstreams.length === 0) return noEndpoints(entry.appName);
    const reachable = routing.reachable(upstreams);
    if (reachable.length === 0) return unreachableNodes(entry.appName, nodesOf(upstreams), this.#whyDown(upstreams));
    upstreams = reachable;
    if (this.#bound !== undefined && this.#tried === undefined) {
      const bound = upstreams.find(({ instance }) => instance === this.#bound);
      if (bound && !routing.balancer.isSaturated(bound.instance)) return bound;
    }
    let picked = routing.balancer.pick(upstreams, this.#tried, performance.now());
    if (picked === undefined && this.#last?.why === 'ended') {
      // The same one again: it may only have closed an idle connection while the request was on its way.
      this.#tried?.clear();
      picked = routing.balancer.pick(upstreams, this.#tried, performance.now());
    }
    if (picked === 'saturated') return saturated(entry.appName);
    return picked ?? this.#failure(entry.appName);
  }

  #whyDown(upstreams: readonly Upstream[]): string {
    const { upstreams: known } = this.#options.routing;
    return [...new Set(upstreams.map((upstream) => known.downOf(upstream)?.why ?? 'it does not answer'))].join(', ');
  }

  #settled(outcome: Outcome, upstream: Upstream): void {
    const { routing, req, res, find } = this.#options;
    this.#exchange = undefined;
    if (outcome.kind === 'passed') {
      if (this.#body) discardBody(req);
      return;
    }
    if (outcome.kind !== 'failed') return;
    if (outcome.why === 'invalid') {
      sendReply(req, res, badRequest('invalid_request', 'The request has a header that cannot be passed on.'));
      return;
    }
    this.#last = { ...outcome, upstream };
    // A busy instance, or one that answers nonsense to this request, still serves others; one that was not reached may
    // be well.
    if (outcome.why === 'unreachable') {
      this.#attempts--;
      this.#unreached++;
    } else if (outcome.why !== 'busy' && outcome.why !== 'malformed') {
      routing.balancer.fail(upstream.instance, performance.now());
    }
    const { instance, app, node } = upstream;
    routing.log.warn('upstream.failed', { app, instance, node, why: outcome.why, reason: outcome.error.message });
    this.#tried ??= new Set();
    this.#tried.add(upstream.instance);
    const mayRepeat = !outcome.sent || (this.#repeatable && outcome.why === 'ended');
    const hasTries = this.#attempts < ATTEMPTS_MAX && this.#unreached <= UNREACHED_LINKS_MAX;
    if (mayRepeat && hasTries && (this.#body?.canReplay ?? true)) this.#try();
    else sendReply(req, res, this.#failure(find()?.appName ?? ''));
  }

  #failure(app: string): Reply {
    if (this.#last?.why === 'unreachable') {
      return unreachableNodes(app, nodesOf([this.#last.upstream]), whyUnreachable(this.#last.error));
    }
    if (this.#last?.why === 'timeout') return endpointTimeout(app);
    if (this.#last?.why === 'busy') return saturated(app);
    return endpointFailure(app, WHY[this.#last?.why ?? 'dial'] ?? 'it failed');
  }
}

const nodesOf = (upstreams: readonly Upstream[]): string[] =>
  [...new Set(upstreams.map(({ node, nodeName }) => nodeName ?? node))].sort();

const WHY: Record<string, string> = {
  dial: 'it accepts no connection',
  ended: 'it closed the connection',
  malformed: 'its response is no HTTP',
  refused: 'its node does not know it',
};
