// Reads the target of a request line: host, path for the route, and what the upstream gets. Pure.

export type RequestTarget = {
  /** As the client wrote it, with a port if it gave one. */
  host: string | undefined;
  /** Without the query. */
  path: string;
  pathAndQuery: string;
  absolute: boolean;
};

/**
 * An absolute target's host wins over the Host field. Undefined: no path (`*`, or nonsense). @see RFC 9112, section
 * 3.2
 */
export function requestTarget(url: string, hostHeader: string | undefined): RequestTarget | undefined {
  if (url.startsWith('/')) {
    return { host: hostHeader, path: withoutQuery(url), pathAndQuery: url, absolute: false };
  }
  const absolute = /^https?:\/\/([^/?#]*)([^#]*)/i.exec(url);
  if (!absolute) return undefined;
  const rest = absolute[2]!;
  const pathAndQuery = rest.startsWith('/') ? rest : `/${rest}`;
  // Credentials in a URL are not part of its host.
  const host = absolute[1]!.slice(absolute[1]!.lastIndexOf('@') + 1);
  return { host, path: withoutQuery(pathAndQuery), pathAndQuery, absolute: true };
}

function withoutQuery(url: string): string {
  const query = url.indexOf('?');
  return query === -1 ? url : url.slice(0, query);
}
