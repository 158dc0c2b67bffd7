// Program of unprivileged.test.ts: runs one instance as whoever it is started as, and prints what became of it as
// JSON.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asAppId, asInstanceId, asNodeId, asReleaseId } from '../../crdt/ids.ts';
import type { Log } from '../../node/lib/log.ts';
import type { RuntimeEvent } from '../../node/ports/runtime.ts';
import { createLogStore } from '../../node/runtime/logs/store.ts';
import { createProcessRuntime } from '../../node/runtime/process/runtime.ts';
import { prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { DropletShelf } from './droplet.ts';

const log: Log = { debug() {}, info() {}, warn() {}, error() {} };
const dataDir = await mkdtemp(join(tmpdir(), 'peer-runtime-'));
const nodeId = asNodeId('test-unprivileged');
const app = asAppId('app-1');
const shelf = new DropletShelf(join(dataDir, 'blobs'));
const isolation = await prepareIsolation({ dataDir, nodeId, log });
const logs = createLogStore({ dataDir, nodeId, log });
const runtime = await createProcessRuntime({
  isolation,
  stack: 'test',
  pourBlob: (...asks) => shelf.pour(...asks),
  logs,
  log,
});

const events: RuntimeEvent['type'][] = [];
const { promise: exited, resolve } = Promise.withResolvers<string>();
runtime.onEvent((event) => {
  events.push(event.type);
  if (event.type === 'instanceReady') runtime.stop(event.id, 'seen enough');
  if (event.type === 'instanceExited') resolve(event.reason);
});
const script =
  'whoami; id -u; touch /tmp/x ~/x && echo written; touch /x /usr/x 2>/dev/null || echo refused; exec node server.js';
runtime.start({
  id: asInstanceId('instance-1'),
  app: { id: app, name: 'shop' },
  process: 'web',
  index: 0,
  release: { id: asReleaseId('release-1'), version: 1 },
  restartCount: 0,
  droplet: {
    digest: await shelf.add({ 'app/server.js': "require('net').createServer().listen(process.env.PORT, '127.0.0.1')" }),
    sizeBytes: 0,
    stack: 'test',
  },
  command: script,
  env: {},
  memoryBytes: 256 * 1024 * 1024,
  diskBytes: 256 * 1024 * 1024,
  health: { kind: 'port', path: '/', timeoutMs: 15_000 },
  uris: [],
});
const reason = await exited;
await runtime.close({ keepInstances: false });
const lines = (await logs.tail(app, 100)).filter((line) => line.source === 'APP').map((line) => line.text);
await logs.close();
await rm(dataDir, { recursive: true });
process.stdout.write(JSON.stringify({ uid: process.getuid?.(), events, reason, lines }));
