// Does what it is told to, as an attacker who has got into an app would.
//
//   POST /run      runs the body as a shell script and answers {"code", "output"}
//   POST /detach   starts the body as a shell script in a session of its own, and answers at once
//   POST /memory   takes memory until it is killed

import { spawn } from 'node:child_process';
import { createServer } from 'node:http';

const OUTPUT_BYTES_MAX = 1024 * 1024;
const MEMORY_BLOCK_BYTES = 1024 * 1024;
const kept = [];

const routes = {
  'GET /': (_script, response) => response.end(`hostile ${process.env.CF_INSTANCE_GUID}\n`),
  'POST /run': (script, response) => {
    const child = spawn('bash', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        output = (output + chunk).slice(0, OUTPUT_BYTES_MAX);
      });
    }
    child.on('error', (error) => response.end(JSON.stringify({ code: -1, output: error.message })));
    child.on('close', (code, signal) => response.end(JSON.stringify({ code: code ?? signal, output })));
  },
  'POST /detach': (script, response) => {
    const child = spawn('bash', ['-c', script], { stdio: 'ignore', detached: true });
    child.on('error', () => {});
    child.unref();
    response.end('started\n');
  },
  'POST /memory': (_script, response) => {
    response.end('taking memory\n');
    setInterval(() => kept.push(Buffer.alloc(MEMORY_BLOCK_BYTES, 1)), 1);
  },
};

const server = createServer((request, response) => {
  let body = '';
  request.setEncoding('utf8');
  request.on('data', (chunk) => {
    body += chunk;
  });
  request.on('end', () => {
    const route = routes[`${request.method} ${request.url}`];
    if (route) return route(body, response);
    response.statusCode = 404;
    response.end();
  });
});

server.listen(Number(process.env.PORT ?? 8080), () => console.log(`hostile listens on ${server.address().port}`));
if (!process.env.IGNORE_TERM) process.on('SIGTERM', () => process.exit(0));
else process.on('SIGTERM', () => console.log('ignoring TERM'));
