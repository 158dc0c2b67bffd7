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

async function serve(namespace: string, port: number): Promise<void> {
  const script = `require('node:net').createServer((c) => c.end('instance hears ' + c.remoteAddress)).listen(${port}, () => console.log('up'))`;
  const server = spawn('nsenter', [...within(namespace), script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
  });
  server.unref();
  servers.push(server);
  await once(server.stdout, 'data');
  server.stdout.destroy();
}

// biome-ignore lint/suspicious/noExplicitAny: what the test asks is for the test to know.
async function answer(request: any): Promise<object> {
  if ('take' in request) return networks.take(request.take);
  if ('ports' in request) await networks.setMachinePorts(request.ports);
  if ('serve' in request) await serve(request.serve, request.port);
  if ('reach' in request) await networks.openBuildHosts(request.reach, request.urls);
  if ('connect' in request) {
    const { stdout } = await run('nsenter', [...within(request.connect), connect(request.host, request.port)]);
    return JSON.parse(stdout) as object;
  }
  if ('resolver' in request) return { text: await readFile(networks.resolverFile, 'utf8') };
  if ('forwarding' in request) return { text: (await readFile('/proc/sys/net/ipv4/ip_forward', 'utf8')).trim() };
  if ('adopt' in request) {
    for (const own of request.adopt as OwnNetwork[]) networks.hold(own);
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
