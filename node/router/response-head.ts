// Turns an upstream's response header into the one the client gets: hop-by-hop fields go, everything else keeps its
// order and its spelling. Pure.

import { PEER_LINK_ERROR } from './request-head.ts';

/** `trailer` stays: trailers are passed on. Framing is this hop's own. */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
  PEER_LINK_ERROR,
]);

export type RawHeaders = readonly (Buffer | string)[];

/** Flat: name, value, name, value… */
export function responseHeaders(raw: RawHeaders): string[] {
  const headers: string[] = [];
  let named: string[] | undefined;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = text(raw[at]!);
    const lower = name.toLowerCase();
    if (lower === 'connection') {
      const tokens = text(raw[at + 1]!).toLowerCase();
      if (tokens !== 'keep-alive' && tokens !== 'close') named = tokens.split(',').map((token) => token.trim());
    }
    if (!HOP_BY_HOP.has(lower)) headers.push(name, text(raw[at + 1]!));
  }
  if (!named) return headers;
  const dropped = new Set(named.filter((field) => field !== 'content-length'));
  return headers.filter((_, at) => !dropped.has(headers[at - (at % 2)]!.toLowerCase()));
}

/**
 * The response header that switches protocols, as it goes on the wire: everything passes, Connection and Upgrade
 * included.
 */
export function upgradeHeader(status: number, raw: RawHeaders): string {
  let header = `HTTP/1.1 ${status} Switching Protocols\r\n`;
  for (let at = 0; at + 1 < raw.length; at += 2) header += `${text(raw[at]!)}: ${text(raw[at + 1]!)}\r\n`;
  return `${header}\r\n`;
}

function text(value: Buffer | string): string {
  return typeof value === 'string' ? value : value.toString('latin1');
}
