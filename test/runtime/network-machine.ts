// Program of network.test.ts: the networks of one node, within whatever network namespace it is started in. Takes
// requests as lines of JSON, and answers each with a line. Removes all it made when its input ends.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import type { Log } from '../../node/lib/log.ts';
import { type OwnNetwork, prepareNetworks } from '../../node/runtime/network/networks.ts';

const run = promisify(execFile);
const log: Log = {
  debug() {},
  info() {},
  warn: (event, fields) => console.error(event, fields),
  error: (event, fields) => console.error(event, fields),
};
const [dataDir = '', allowed = ''] = process.argv.slice(2);
const prepared = await prepareNetworks({
  dataDir,
  allowed: allowed === '' ? [] : allowed.split(','),
  log,
});
if (prepared.networks === undefined) throw new Error(prepared.reason);
const { networks } = prepared;
const servers: ChildProcess[] = [];
/** Connections that stay open, each with how it ended: an error's code, or `end`. */
const kept: { client: ChildProcess; ended: Promise<string> }[] = [];

const within = (namespace: string): string[] => [`--net=/run/netns/${namespace}`, '--', process.execPath, '-e'];

const connect = (host: string, port: number): string => `
const socket = require('node:net').connect({ host: ${JSON.stringify(host)}, port: ${port}, timeout: 3000 });
let said = '';
const end = (ok, text) => { console.log(JSON.stringify({ ok, said: text })); process.exit(); };
socket.on('data', (chunk) => { said += chunk; });
socket.on('end', () => end(true, said));
socket.on('timeout', () => end(false, 'timeout'));
socket.on('error', (error) => end(false, error.code));
`;

/** Says whom it talks to; and ends, or stays and repeats what it hears. */
async function serve(namespace: string, port: number, stays = false): Promise<void> {
  const greet = `c.${stays ? 'write' : 'end'}('instance hears ' + c.remoteAddress)`;
  const script = `require('node:net').createServer((c) => { c.on('error', () => {}); ${greet}; c.pipe(c); }).listen(${port}, () => console.log('up'))`;
  const server = spawn('nsenter', [...within(namespace), script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  server.unref();
  servers.push(server);
  await once(server.stdout, 'data');
  server.stdout.destroy();
}

const stay = (host: string, port: number): string => `
const socket = require('node:net').connect({ host: ${JSON.stringify(host)}, port: ${port} });
const end = (how) => { console.log(how); process.exit(); };
socket.once('data', () => console.log('open'));
socket.on('end', () => end('end'));
socket.on('error', (error) => end(error.code));
process.stdin.on('data', (chunk) => socket.write(chunk));
`;

/** What the first word of the client is: `open`, or why it is not. */
async function keep(namespace: string, host: string, port: number): Promise<string> {
  const client = spawn('nsenter', [...within(namespace), stay(host, port)], { stdio: ['pipe', 'pipe', 'inherit'] });
  servers.push(client);
  const words = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
  const { value } = await words.next();
  kept.push({ client, ended: words.next().then((word) => String(word.value)) });
  return String(value);
}

// biome-ignore lint/suspicious/noExplicitAny: what the test asks is for the test to know.
async function answer(request: any): Promise<object> {
  if ('take' in request) return networks.take(request.take, request.app, { answersOnly: request.answersOnly });
  if ('release' in request) await networks.release(request.release);
  if ('calls' in request) await networks.setServiceCalls(request.calls);
  if ('gateway' in request) return { host: networks.gateway };
  if ('ports' in request) await networks.setMachinePorts(request.ports);
  if ('serve' in request) await serve(request.serve, request.port, request.stays);
  if ('reach' in request) await networks.openBuildHosts(request.reach, request.urls);
  if ('connect' in request) {
    const { stdout } = await run('nsenter', [...within(request.connect), connect(request.host, request.port)]);
    return JSON.parse(stdout) as object;
  }
  if ('keep' in request) return { word: await keep(request.keep, request.host, request.port) };
  if ('ended' in request) return { how: await kept[request.ended]!.ended };
  if ('write' in request) kept[request.write]!.client.stdin!.write('x');
  if ('resolver' in request) return { text: await readFile(networks.resolverFile, 'utf8') };
  if ('forwarding' in request) return { text: (await readFile('/proc/sys/net/ipv4/ip_forward', 'utf8')).trim() };
  if ('adopt' in request) {
    for (const own of request.adopt as OwnNetwork[]) networks.hold(own, request.app);
    await networks.settle();
  }
  if ('time' in request) {
    const startMs = performance.now();
    const own = await networks.take('instance');
    const ms = performance.now() - startMs;
    await networks.release(own);
    return { ms };
  }
  return {};
}

console.log('ready');
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(JSON.parse(line))));
}
for (const server of servers) server.kill('SIGKILL');
await networks.close();
