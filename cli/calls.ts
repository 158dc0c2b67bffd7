// `v1.apps[':name'].$get({ param: { name } })` as a request: what hono/client does for the routes of this API. That
// loads the Fetch API, which Node would have to compile for every command: as long as all else that a command does.

import type { hc } from 'hono/client';
import type { Api } from '../node/api/api.ts';

/** Typed by the API itself. */
export type Calls = ReturnType<typeof hc<Api>>;

export type Request = { method: string; path: string; body?: string; headers: Record<string, string> };

type Given = {
  param?: Record<string, string>;
  query?: Record<string, string | readonly string[] | undefined>;
  json?: unknown;
};

/** Every call goes to `ask`, and answers what it does. */
export function callsOf(ask: (request: Request) => Promise<unknown>): Calls {
  return below('', (path, method, given) => ask(requestOf(path, method, given))) as Calls;
}

function below(path: string, call: (path: string, method: string, given: Given) => Promise<unknown>): object {
  return new Proxy(
    {},
    {
      get(_, part) {
        // Not `then`: a client is handed over by promises.
        if (typeof part !== 'string' || part === 'then') return undefined;
        if (part.startsWith('$')) return (given: Given = {}) => call(path, part.slice(1).toUpperCase(), given);
        return below(`${path}/${part}`, call);
      },
    },
  );
}

function requestOf(template: string, method: string, { param = {}, query = {}, json }: Given): Request {
  const path = template.replace(/:(\w+)/g, (_, name: string) => encodeURIComponent(param[name] ?? ''));
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const one of typeof value === 'object' ? value : [value]) if (one !== undefined) search.append(name, one);
  }
  const asked = search.size === 0 ? path : `${path}?${search}`;
  if (json === undefined) return { method, path: asked, headers: {} };
  return { method, path: asked, body: JSON.stringify(json), headers: { 'content-type': 'application/json' } };
}
