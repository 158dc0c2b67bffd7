// stage: a first push of a Node app with 200 packages of the npm registry, then a second one with one changed line:
// how long each takes to the end of the command, and how many bytes travel from the command line to the node and
// between nodes.

import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { LocalCluster } from '../local-cluster.ts';
import { fetchedBytes } from './data/fetched.ts';
import { type Bench, figure } from './figure.ts';

const NODES = 3;
const PUSH_TIMEOUT_MS = 150_000;
/** Together they bring a little more than 200. */
const DEPENDENCIES = { express: '^4.21.0', koa: '^2.15.0', mocha: '^10.7.0', yargs: '^17.7.0', webpack: '^5.94.0' };
const PACKAGES_MIN = 200;
/** The app's own part: sources, and images that cannot be compressed. */
const SOURCE_FILES = 100;
const IMAGE_FILES = 10;
const IMAGE_BYTES = 50_000;

const stage: Bench = async (_args, say) => {
  say(`starting ${NODES} nodes`);
  const cluster = await LocalCluster.start(NODES);
  const [node] = cluster.nodes;
  const meter = await meterOf(node!.api);
  try {
    const folder = join(cluster.folder, 'app');
    const packages = await writeApp(folder);
    say(`the app has ${packages} packages`);
    const push = async (): Promise<{ tookMs: number; uploadedBytes: number; replicatedBytes: number }> => {
      const uploadedBefore = meter.bytes();
      const replicatedBefore = await fetchedBytes(cluster);
      const startMs = performance.now();
      const args = ['push', folder, '--name', 'staged', '--instances', '1', '--api', meter.url];
      await cluster.json(node!, args, { timeoutMs: PUSH_TIMEOUT_MS });
      const tookMs = performance.now() - startMs;
      return {
        tookMs,
        uploadedBytes: meter.bytes() - uploadedBefore,
        replicatedBytes: (await fetchedBytes(cluster)) - replicatedBefore,
      };
    };
    const first = await push();
    say(`first push: ${text(first)}`);
    await changeOneLine(folder);
    const second = await push();
    say(`second push: ${text(second)}`);
    const total = (one: typeof first): number => one.uploadedBytes + one.replicatedBytes;
    return [
      figure('packages in the lock file', packages, 'packages'),
      figure('first push to the end of the command', first.tookMs, 'ms'),
      figure('second push to the end of the command', second.tookMs, 'ms'),
      figure('first push takes so many times as long as the second, at least', first.tookMs / second.tookMs, 'times', {
        atLeast: 5,
      }),
      figure('first push, command line to node', first.uploadedBytes, 'bytes'),
      figure('first push, node to nodes', first.replicatedBytes, 'bytes'),
      figure('second push, command line to node', second.uploadedBytes, 'bytes'),
      figure('second push, node to nodes', second.replicatedBytes, 'bytes'),
      figure('bytes sent by the second push, of those of the first', (100 * total(second)) / total(first), '%', {
        atMost: 2,
      }),
    ];
  } finally {
    meter.close();
    await cluster.stop();
  }
};
export default stage;

const text = (one: { tookMs: number; uploadedBytes: number; replicatedBytes: number }): string =>
  `${Math.round(one.tookMs)} ms, ${one.uploadedBytes} bytes to the node, ${one.replicatedBytes} between nodes`;

/** Writes the app and its lock file; returns how many packages it has. */
async function writeApp(folder: string): Promise<number> {
  await mkdir(join(folder, 'lib'), { recursive: true });
  await mkdir(join(folder, 'images'));
  const manifest = {
    name: 'staged',
    version: '1.0.0',
    scripts: { start: 'node server.js' },
    dependencies: DEPENDENCIES,
  };
  await writeFile(join(folder, 'package.json'), `${JSON.stringify(manifest, undefined, 2)}\n`);
  await writeFile(
    join(folder, 'server.js'),
    "const express = require('express');\nconst app = express();\napp.get('/', (req, res) => res.send(require('./lib/part-50.js')));\napp.listen(process.env.PORT);\n",
  );
  for (let part = 0; part < SOURCE_FILES; part++) {
    const lines = Array.from({ length: 100 }, (_, line) => `// ${part}.${line} ${randomBytes(12).toString('hex')}`);
    await writeFile(join(folder, 'lib', `part-${part}.js`), `${lines.join('\n')}\nmodule.exports = 'part ${part}';\n`);
  }
  for (let image = 0; image < IMAGE_FILES; image++) {
    await writeFile(join(folder, 'images', `${image}.png`), randomBytes(IMAGE_BYTES));
  }
  execFileSync('npm', ['install', '--package-lock-only', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: folder,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const lock = JSON.parse(await readFile(join(folder, 'package-lock.json'), 'utf8')) as { packages: object };
  const packages = Object.keys(lock.packages).length - 1;
  if (packages < PACKAGES_MIN) throw new Error(`the app has ${packages} packages, at least ${PACKAGES_MIN} are wanted`);
  return packages;
}

async function changeOneLine(folder: string): Promise<void> {
  const path = join(folder, 'lib', 'part-50.js');
  const before = await readFile(path, 'utf8');
  await writeFile(path, before.replace("'part 50'", "'another part 50'"));
}

/** A way to the API that counts what is sent to it. */
async function meterOf(api: string): Promise<{ url: string; bytes(): number; close(): void }> {
  const { hostname, port } = new URL(/^https?:/.test(api) ? api : `http://${api}`);
  let bytes = 0;
  const server: Server = createServer((client) => {
    const node = connect(Number(port), hostname);
    for (const [one, other] of [
      [client, node],
      [node, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
      one.pipe(other);
    }
    client.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bytes: () => bytes,
    close: () => server.close(),
  };
}
