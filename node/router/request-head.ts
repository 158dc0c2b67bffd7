// Reads a client's request header once and builds the header an upstream gets: hop-by-hop fields go, the forwarding
// fields come. Pure; everything else, Host included, passes unchanged.

import type { NodeId } from '../../crdt/ids.ts';
import type { Upstream } from '../core/types.ts';

/** Set by the ingress on the link, never accepted from a client: which instance the request is for. */
export const PEER_INSTANCE = 'x-peer-instance';
/** Set by the link server on its own replies, never accepted from an app: why the app did not get the request. */
export const PEER_LINK_ERROR = 'x-peer-link-error';

/**
 * Fields that end at this hop. @see RFC 9110, section 7.6.1. `expect` is answered by this hop; request trailers are
 * dropped.
 */
const HOP_BY_HOP = new Set([
  'connection',
  'expect',
  'http2-settings',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);
/** A client may not drop these by naming them in Connection, nor is it believed when it sends the ones below. */
const NEVER_DROPPED = new Set(['host', 'content-length']);
const FROM_ROUTER_ONLY = new Set([
  PEER_INSTANCE,
  PEER_LINK_ERROR,
  'x-cf-applicationid',
  'x-cf-instanceid',
  'x-cf-instanceindex',
  'x-vcap-request-id',
]);

export type RequestHead = {
  host: string | undefined;
  hasBody: boolean;
  upgrade: string | undefined;
  cookie: string | undefined;
  /** X-Cf-App-Instance. */
  appInstance: string | undefined;
  /** What passes on, flat: name, value, name, value… */
  passed: string[];
  forwardedFor: string | undefined;
  forwardedProto: boolean;
  forwardedHost: boolean;
  requestStart: boolean;
};

/** `link`: the other side is another node's router, whose forwarding fields are kept. */
export function readRequestHead(raw: readonly string[], from: 'client' | 'link'): RequestHead {
  const head: RequestHead = {
    host: undefined,
    hasBody: false,
    upgrade: undefined,
    cookie: undefined,
    appInstance: undefined,
    passed: [],
    forwardedFor: undefined,
    forwardedProto: false,
    forwardedHost: false,
    requestStart: false,
  };
  const named = fieldsNamedByConnection(raw);
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at]!.toLowerCase();
    const value = raw[at + 1]!;
    switch (name) {
      case 'host':
        head.host ??= value;
        break;
      case 'content-length':
        head.hasBody ||= value !== '0';
        break;
      case 'transfer-encoding':
        head.hasBody = true;
        break;
      case 'upgrade':
        head.upgrade = value;
        break;
      case 'cookie':
        head.cookie = head.cookie === undefined ? value : `${head.cookie}; ${value}`;
        break;
      case 'x-cf-app-instance':
        head.appInstance = value;
        break;
      case 'x-forwarded-proto':
        head.forwardedProto = true;
        break;
      case 'x-forwarded-host':
        head.forwardedHost = true;
        break;
      case 'x-request-start':
        head.requestStart = true;
        break;
    }
    if (HOP_BY_HOP.has(name)) continue;
    if (named?.has(name) && !NEVER_DROPPED.has(name)) continue;
    if (from === 'client') {
      if (FROM_ROUTER_ONLY.has(name)) continue;
      if (name === 'x-forwarded-for') {
        head.forwardedFor = head.forwardedFor === undefined ? value : `${head.forwardedFor}, ${value}`;
        continue;
      }
    } else if (name === PEER_INSTANCE) {
      continue;
    }
    head.passed.push(raw[at]!, value);
  }
  return head;
}

export type Forwarding = {
  /** Of the client's connection. */
  remoteAddress: string;
  host: string;
  requestId: string;
  nowMs: number;
};

/** Everything an upstream gets but what names the upstream itself. */
export function forwardedHeaders(head: RequestHead, forwarding: Forwarding): string[] {
  const address = forwarding.remoteAddress.replace(/^::ffff:(?=\d+\.)/, '');
  const headers = head.passed;
  headers.push('X-Forwarded-For', head.forwardedFor === undefined ? address : `${head.forwardedFor}, ${address}`);
  if (!head.forwardedProto) headers.push('X-Forwarded-Proto', 'http');
  if (!head.forwardedHost) headers.push('X-Forwarded-Host', forwarding.host);
  if (!head.requestStart) headers.push('X-Request-Start', String(forwarding.nowMs));
  headers.push('X-Vcap-Request-Id', forwarding.requestId);
  return headers;
}

export function headersForUpstream(forwarded: readonly string[], upstream: Upstream, self: NodeId): string[] {
  const headers = forwarded.concat(
    'X-CF-ApplicationID',
    upstream.app,
    'X-CF-InstanceID',
    upstream.instance,
    'X-CF-InstanceIndex',
    String(upstream.index),
  );
  if (upstream.node !== self) headers.push(PEER_INSTANCE, upstream.instance);
  return headers;
}

function fieldsNamedByConnection(raw: readonly string[]): Set<string> | undefined {
  let named: Set<string> | undefined;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at]!;
    if (name.length !== 10 || name.toLowerCase() !== 'connection') continue;
    for (const token of raw[at + 1]!.toLowerCase().split(',')) {
      const field = token.trim();
      if (field === 'keep-alive' || field === 'close' || field === '') continue;
      named ??= new Set();
      named.add(field);
    }
  }
  return named;
}
