// HOST:PORT, as options, links and the API write it: reads and writes it. Never resolves names.

export type HostPort = { host: string; port: number };

/**
 * `HOST:PORT` or `[IPV6]:PORT`, the latter perhaps with a zone; undefined when it is neither. Port 0 means any free
 * one.
 */
export function parseHostPort(text: string): HostPort | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const port = Number(match[3]);
  return port <= 65_535 ? { host: (match[1] ?? match[2])!, port } : undefined;
}

export const formatHostPort = ({ host, port }: HostPort): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
