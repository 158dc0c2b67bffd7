// The router process: takes its configuration and route tables from the daemon over IPC, and ends when the daemon is
// gone. With more than one thread, this file is also what each further thread runs. Decides nothing.

import type { MessagePort, Worker as WorkerThread } from 'node:worker_threads';
import type { DownLink } from './down-links.ts';
import { RouterError } from './errors.ts';
import { JoinBroker } from './join-broker.ts';
import type { FromRouter, RouterConfig, ToRouter } from './messages.ts';
import { type RouterServer, startRouterServer } from './server.ts';

const { isMainThread, parentPort, Worker } = process.getBuiltinModule('node:worker_threads');
const { flushCompileCache } = process.getBuiltinModule('node:module');

const send = isMainThread ? (message: FromRouter) => void process.send?.(message) : threadSend(parentPort!);
const joins = new JoinBroker(send);
const threads: WorkerThread[] = [];
/** Which thread asked, by the id the daemon sees. Ids of threads would collide. */
const threadJoins = new Map<number, { thread: WorkerThread; id: number }>();
const downOfThread = new Map<WorkerThread | 'main', DownLink[]>();
const THREAD_JOIN_IDS_FROM = 2 ** 32;
const THREAD_JOINS_MAX = 256;
let lastThreadJoin = THREAD_JOIN_IDS_FROM;
let server: RouterServer | undefined;
let closing = false;

if (isMainThread) {
  process.title = 'peer-router';
  // The daemon decides when the router ends: a Ctrl-C at its terminal reaches both.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => {});
  process.on('disconnect', () => process.exit(0));
  process.on('message', (message) => receive(message as ToRouter));
} else parentPort!.on('message', receive);

function receive(message: ToRouter): void {
  switch (message.type) {
    case 'start':
      start(message.config).catch(fail);
      return;
    case 'table':
      server?.setTable(message.table);
      for (const thread of threads) thread.postMessage(message);
      return;
    case 'services':
      server?.setServices(message.table);
      // Doors have one port each, which the first thread listens on.
      for (const thread of threads) thread.postMessage({ ...message, table: { ...message.table, doors: [] } });
      return;
    case 'joinReply':
    case 'joinRefused': {
      const asked = threadJoins.get(message.id);
      threadJoins.delete(message.id);
      if (asked) asked.thread.postMessage({ ...message, id: asked.id });
      else joins.settle(message);
      return;
    }
    case 'close':
      if (!closing) close().then(() => process.exit(0), fail);
      return;
  }
}

async function start(config: RouterConfig): Promise<void> {
  server = await startRouterServer(config, {
    ask: (request, from, timeoutMs) => joins.ask(request, from, timeoutMs),
    log: (line) => send({ type: 'log', ...line }),
    down: (links) => tellDown('main', links),
    doors: (doors) => send({ type: 'doors', doors }),
  });
  const { http, link } = server;
  if (isMainThread) {
    await Promise.all(
      Array.from({ length: config.threads - 1 }, () => startThread({ ...config, http, link, portsTaken: true })),
    );
    // Written now, because a process that is killed writes nothing: the next start reads no TypeScript.
    setImmediate(flushCompileCache);
  }
  send({ type: 'listening', http, link });
}

/** Resolves when it listens. A thread that ends takes the process with it, which the daemon starts again. */
function startThread(config: RouterConfig): Promise<void> {
  return new Promise((resolve, reject) => {
    const thread = new Worker(new URL(import.meta.url));
    threads.push(thread);
    thread.on('message', (message: FromRouter) => {
      if (message.type === 'listening') resolve();
      else if (message.type === 'failed') reject(new RouterError(message.code, message.message));
      else if (message.type === 'join') passOnJoin(thread, message);
      else if (message.type === 'down') tellDown(thread, message.links);
      else send(message);
    });
    thread.on('error', reject);
    thread.on('exit', () => {
      if (!closing) process.exit(1);
    });
    thread.postMessage({ type: 'start', config } satisfies ToRouter);
  });
}

/** What one thread found is true for the node: their connections differ, the way does not. */
function tellDown(thread: WorkerThread | 'main', links: DownLink[]): void {
  downOfThread.set(thread, links);
  const all = new Map([...downOfThread.values()].flat().map((down) => [`${down.node} ${down.link}`, down]));
  send({ type: 'down', links: [...all.values()] });
}

function passOnJoin(thread: WorkerThread, message: Extract<FromRouter, { type: 'join' }>): void {
  const id = ++lastThreadJoin;
  threadJoins.set(id, { thread, id: message.id });
  // Those that the daemon never answered go, oldest first.
  for (const oldest of threadJoins.keys()) {
    if (threadJoins.size <= THREAD_JOINS_MAX) break;
    threadJoins.delete(oldest);
  }
  send({ ...message, id });
}

async function close(): Promise<void> {
  closing = true;
  const ended = threads.map((thread) => new Promise((resolve) => thread.once('exit', resolve)));
  for (const thread of threads) thread.postMessage({ type: 'close' } satisfies ToRouter);
  await Promise.all([server?.close(), ...ended]);
}

function fail(error: unknown): void {
  const code = error instanceof RouterError ? error.code : 'start_failed';
  send({ type: 'failed', code, message: error instanceof Error ? error.message : String(error) });
  if (!isMainThread) return;
  // Once the message is out.
  process.disconnect?.();
}

function threadSend(port: MessagePort): (message: FromRouter) => void {
  return (message) => port.postMessage(message);
}
