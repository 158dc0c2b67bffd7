// Serves the files below STATIC_ROOT on PORT. Only reads; never follows a path or a link out of the folder, and never
// shows hidden files, the Procfile or the Staticfile.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { TYPES } from './types.mjs';

const root = await realpath(resolve(process.env.STATIC_ROOT || '.'));
const fallback = process.env.STATIC_FALLBACK || '';
/** Copies that were compressed when the app was staged. */
const encodedRoot = fileURLToPath(new URL('encoded', import.meta.url));
/** Folder whose files never change under one name, as build tools make them with a hash in each. */
const immutable = process.env.STATIC_IMMUTABLE ? resolve(root, process.env.STATIC_IMMUTABLE) + sep : undefined;
const port = Number(process.env.PORT || 8080);

/** Files whose ETag is remembered; an app with more pays the hash again. */
const ETAGS_MAX = 10_000;
/** Browsers ask again each time, and mostly hear 304: a new release shows at once. */
const CACHE_CONTROL = 'public, max-age=0, must-revalidate';
/** A year, the longest that is usual. */
const CACHE_CONTROL_IMMUTABLE = 'public, max-age=31536000, immutable';
/** A hash in a name: eight or more hexadecimal digits with letters among them, set apart by a point or hyphen. */
const HASHED_NAME = /[.-](?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,}\.[a-z0-9.]+$/;
/** In the order of preference, when a client takes several as gladly. */
const ENCODINGS = [
  ['br', '.br'],
  ['gzip', '.gz'],
];
const SHUTDOWN_TIMEOUT_MS = 5_000;

/**
 * The file a URL path names, or undefined. A folder stands for its index.html; without a trailing slash it redirects.
 */
async function find(urlPath) {
  let path;
  try {
    path = decodeURIComponent(urlPath);
  } catch {
    return undefined;
  }
  const parts = path.split('/').filter((part) => part !== '');
  // `.well-known` is the one hidden name that is meant for everyone (RFC 8615).
  const hidden = (part) => part.startsWith('.') && part !== '.well-known';
  if (path.includes('\0') || parts.some(hidden)) return undefined;
  if (parts.length === 1 && /^(Procfile|Staticfile)$/.test(parts[0])) return undefined;
  const named = await inside(join(root, ...parts));
  if (named === undefined) return undefined;
  if (!named.stats.isDirectory()) return path.endsWith('/') ? undefined : named;
  const index = await inside(join(named.path, 'index.html'));
  if (!index?.stats.isFile()) return undefined;
  return path.endsWith('/') ? index : { redirect: `/${parts.map(encodeURIComponent).join('/')}/` };
}

/** The path with all links resolved, when it exists and lies below the root. */
async function inside(path) {
  try {
    const real = await realpath(path);
    if (real !== root && !real.startsWith(root + sep)) return undefined;
    const stats = await stat(real);
    return stats.isFile() || stats.isDirectory() ? { path: real, stats } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The compressed copy that a client takes most gladly: one beside the file, else one made when the app was staged.
 * Undefined: send the file itself.
 */
async function encoded(path, header = '') {
  const weights = new Map(
    header.split(',').map((part) => {
      const [name, ...parameters] = part
        .trim()
        .toLowerCase()
        .split(/\s*;\s*/);
      const weight = parameters.find((one) => one.startsWith('q='));
      return [name, weight === undefined ? 1 : Number(weight.slice(2)) || 0];
    }),
  );
  const weightOf = (name) => weights.get(name) ?? weights.get('*') ?? 0;
  const wanted = ENCODINGS.filter(([name]) => weightOf(name) > 0).sort(([a], [b]) => weightOf(b) - weightOf(a));
  for (const [name, suffix] of wanted) {
    for (const candidate of [path + suffix, join(encodedRoot, path.slice(root.length) + suffix)]) {
      const stats = await stat(candidate).catch(() => undefined);
      if (stats?.isFile() && (await realpath(candidate)) === candidate) return { name, path: candidate, stats };
    }
  }
  return undefined;
}

/** By content: all files of a droplet carry the same date. */
const etags = new Map();
async function etagOf({ path, stats }) {
  const key = `${path}\0${stats.size}\0${stats.mtimeMs}\0${stats.ino}`;
  const known = etags.get(key);
  if (known !== undefined) return known;
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  const etag = `"${hash.digest('base64url').slice(0, 27)}"`;
  if (etags.size >= ETAGS_MAX) etags.delete(etags.keys().next().value);
  etags.set(key, etag);
  return etag;
}

/**
 * One range `bytes=a-b`, as [first, last]; undefined: send all; null: it cannot be met. Several ranges are answered in
 * full, as RFC 9110 allows.
 */
function rangeOf(header, size) {
  const match = /^bytes=(\d*)-(\d*)$/.exec(header ?? '');
  if (!match || (match[1] === '' && match[2] === '')) return undefined;
  const first = match[1] === '' ? Math.max(0, size - Number(match[2])) : Number(match[1]);
  const last = match[1] === '' || match[2] === '' ? size - 1 : Math.min(Number(match[2]), size - 1);
  return first <= last && first < size ? [first, last] : null;
}

async function answer(request, response) {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return say(response, 405, 'only GET and HEAD are answered here', { allow: 'GET, HEAD' });
  }
  const at = request.url.indexOf('?');
  const urlPath = at === -1 ? request.url : request.url.slice(0, at);
  const query = at === -1 ? '' : request.url.slice(at);
  let found = await find(urlPath);
  if (found?.redirect) return say(response, 301, 'moved', { location: found.redirect + query });
  let status = 200;
  if (!found && fallback) found = await inside(join(root, fallback));
  if (!found) {
    found = await inside(join(root, '404.html'));
    status = 404;
    if (!found?.stats.isFile()) return say(response, 404, 'not found');
  }

  const named = found.path;
  // Parts are of the file itself: a client that asks for some has begun with it.
  const copy = request.headers.range ? undefined : await encoded(named, request.headers['accept-encoding']);
  const { path, stats } = copy ?? found;
  const etag = await etagOf({ path, stats });
  const lasting = status === 200 && (HASHED_NAME.test(named) || (immutable && named.startsWith(immutable)));
  const headers = {
    'content-type': TYPES[extname(named).toLowerCase()] ?? 'application/octet-stream',
    'cache-control': lasting ? CACHE_CONTROL_IMMUTABLE : CACHE_CONTROL,
    'x-content-type-options': 'nosniff',
    'accept-ranges': 'bytes',
    vary: 'accept-encoding',
    ...(copy ? { 'content-encoding': copy.name } : {}),
    etag,
  };
  const asked = request.headers['if-none-match'];
  if (
    status === 200 &&
    asked &&
    (asked === '*' || asked.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag))
  ) {
    return response.writeHead(304, headers).end();
  }
  const condition = request.headers['if-range'];
  const range =
    status === 200 && (!condition || condition === etag) ? rangeOf(request.headers.range, stats.size) : undefined;
  if (range === null) return say(response, 416, 'range not satisfiable', { 'content-range': `bytes */${stats.size}` });
  const [first, last] = range ?? [0, stats.size - 1];
  if (range) headers['content-range'] = `bytes ${first}-${last}/${stats.size}`;
  response.writeHead(range ? 206 : status, { ...headers, 'content-length': last - first + 1 });
  if (request.method === 'HEAD' || stats.size === 0) return response.end();
  // A client that goes away ends the stream; there is nobody left to tell.
  pipeline(createReadStream(path, { start: first, end: last }), response, () => {});
}

function say(response, status, text, headers = {}) {
  const body = `${text}\n`;
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    'content-length': Buffer.byteLength(body),
    ...headers,
  });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(`${request.method} ${request.url}: ${error.message}`);
    if (response.headersSent) response.destroy();
    else say(response, 500, 'the file could not be read');
  });
});
server.listen(port, process.env.HOST || '0.0.0.0', () => console.log(`serving ${root} on port ${port}`));

process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
  setTimeout(() => process.exit(0), SHUTDOWN_TIMEOUT_MS).unref();
});
