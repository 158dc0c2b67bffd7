// Parses and prints HOST:PORT. Never resolves names.

import { RouterError } from './errors.ts';

export type Address = { host: string; port: number };

/** Accepts `127.0.0.1:80`, `name:80`, `[::1]:80` and `:80` (every interface). */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.%a-z]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (!match || port > 65_535) {
    throw new RouterError('bad_address', `'${text}' is no address: give HOST:PORT, for example 127.0.0.1:8080.`);
  }
  return { host: match[1] ?? (match[2] || '0.0.0.0'), port };
}

export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
