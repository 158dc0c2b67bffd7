// Loads Node's own modules and undici's pool for the router, and only them. `import 'node:http'` would touch each of
// its lazily loaded exports (WebSocket among them), and `undici` its fetch, caches and mocks: 12 MB and 11 MB that no
// request needs.

import type { Pool as UndiciPool } from 'undici';

export const http = process.getBuiltinModule('node:http');
export const https = process.getBuiltinModule('node:https');
export const net = process.getBuiltinModule('node:net');
export const tls = process.getBuiltinModule('node:tls');
export const crypto = process.getBuiltinModule('node:crypto');
export const stream = process.getBuiltinModule('node:stream');

const load = process.getBuiltinModule('node:module').createRequire(import.meta.url);

export const Pool: typeof UndiciPool = load('undici/lib/dispatcher/pool.js');
export type Pool = UndiciPool;

/**
 * For connections to upstreams; sockets take these, though not all their types name them. Half-open, because a tunnel
 * may end in one direction first; 64 kB are read at once.
 */
export const SOCKET_OPTIONS: object = { allowHalfOpen: true, highWaterMark: 64 * 1024 };
