// Says who answers, and misbehaves on request, so that tests can see what the platform makes of it.
//
// Environment (all optional):
//   APP_VERSION            shown instead of the content of version.txt
//   LISTEN_DELAY_MS        listen only after this time
//   EXIT_AFTER_MS          exit with status 1 after this time
//   EXIT_INDEXES           comma-separated instance indexes that exit at once
//   IGNORE_TERM            ignore SIGTERM
//   HEALTH_STATUS          status of GET /health, 200 by default

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';

const { env } = process;
const index = Number(env.CF_INSTANCE_INDEX ?? 0);
const version = env.APP_VERSION ?? readFileSync(new URL('version.txt', import.meta.url), 'utf8').trim();
const startedAtMs = Date.now();
let healthStatus = Number(env.HEALTH_STATUS ?? 200);
let requests = 0;
const kept = [];

if ((env.EXIT_INDEXES ?? '').split(',').includes(String(index))) {
  console.error(`index ${index} exits as it was told to`);
  process.exit(1);
}
if (env.EXIT_AFTER_MS) {
  setTimeout(() => {
    console.error('exiting as told by EXIT_AFTER_MS');
    process.exit(1);
  }, Number(env.EXIT_AFTER_MS));
}

const about = () => ({
  app: JSON.parse(env.VCAP_APPLICATION ?? '{}').name ?? 'hello-node',
  version,
  index,
  instance: env.CF_INSTANCE_GUID ?? '',
  port: Number(env.PORT),
  pid: process.pid,
  node: process.version,
  requests,
  upMs: Date.now() - startedAtMs,
});

const routes = {
  'GET /': (_url, _request, response) => text(response, 200, `hello from index ${index} version ${version}\n`),
  'GET /json': (_url, _request, response) => json(response, 200, about()),
  'GET /health': (_url, _request, response) => text(response, healthStatus, healthStatus === 200 ? 'ok\n' : 'not ok\n'),
  // PUT /health?status=500 makes the next checks fail; with &forMs=1000 for that long.
  'PUT /health': (url, _request, response) => {
    healthStatus = Number(url.searchParams.get('status') ?? 200);
    const forMs = url.searchParams.get('forMs');
    if (forMs !== null) setTimeout(() => (healthStatus = 200), Number(forMs));
    text(response, 200, `health is ${healthStatus} now\n`);
  },
  'GET /env': (url, _request, response) => {
    const name = url.searchParams.get('name');
    json(response, 200, name === null ? env : (env[name] ?? null));
  },
  'GET /headers': (_url, request, response) => json(response, 200, request.headers),
  'GET /sleep': (url, _request, response) => {
    setTimeout(() => text(response, 200, `slept, index ${index}\n`), Number(url.searchParams.get('ms') ?? 1000));
  },
  // Body of the given size.
  'GET /bytes': (url, _request, response) => {
    const size = Number(url.searchParams.get('n') ?? 1024);
    response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': size });
    const block = Buffer.alloc(64 * 1024, 'x');
    let left = size;
    const more = () => {
      while (left > 0) {
        const part = block.subarray(0, left);
        left -= part.length;
        if (!response.write(part)) return response.once('drain', more);
      }
      response.end();
    };
    more();
  },
  // One server-sent event each 100 ms.
  'GET /events': (url, request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-cache' });
    let left = Number(url.searchParams.get('n') ?? 10);
    const timer = setInterval(() => {
      response.write(`data: ${JSON.stringify({ left, index })}\n\n`);
      left -= 1;
      if (left <= 0) {
        clearInterval(timer);
        response.end();
      }
    }, 100);
    request.on('close', () => clearInterval(timer));
  },
  'POST /echo': (_url, request, response) => {
    response.writeHead(200, { 'content-type': request.headers['content-type'] ?? 'application/octet-stream' });
    request.pipe(response);
  },
  // Prints lines to the log: ?n=10&bytes=100&stream=err
  'POST /log': (url, _request, response) => {
    const n = Number(url.searchParams.get('n') ?? 1);
    const line = (url.searchParams.get('text') ?? 'line').padEnd(Number(url.searchParams.get('bytes') ?? 0), '.');
    const stream = url.searchParams.get('stream') === 'err' ? process.stderr : process.stdout;
    for (let i = 0; i < n; i++) stream.write(`${i} ${line}\n`);
    text(response, 200, `printed ${n}\n`);
  },
  'POST /memory': (url, _request, response) => {
    kept.push(Buffer.alloc(Number(url.searchParams.get('mib') ?? 10) * 1024 * 1024, 1));
    text(response, 200, `holding ${kept.length} blocks\n`);
  },
  'POST /crash': (_url, _request, response) => {
    text(response, 200, 'crashing\n');
    response.on('finish', () => process.exit(1));
  },
};

const text = (response, status, body) => {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', 'x-app-version': version, 'x-app-index': index });
  response.end(body);
};
const json = (response, status, value) => {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(`${JSON.stringify(value)}\n`);
};

const server = createServer((request, response) => {
  requests += 1;
  const url = new URL(request.url, 'http://app');
  const route = routes[`${request.method} ${url.pathname}`];
  if (route) route(url, request, response);
  else text(response, 404, `index ${index} has no ${request.method} ${url.pathname}\n`);
});

setTimeout(() => {
  server.listen(Number(env.PORT ?? 8080), () => console.log(`hello-node ${version} index ${index} listens on ${server.address().port}`));
}, Number(env.LISTEN_DELAY_MS ?? 0));

process.on('SIGTERM', () => {
  console.log(`index ${index} was told to stop`);
  if (env.IGNORE_TERM) return;
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
