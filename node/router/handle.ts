// The router process as the daemon sees it: starts it, hands it route tables, answers its requests to join, and starts
// it again when it crashes. Never serves a request itself.

import type { ChildProcess } from 'node:child_process';
import { fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { join, sep } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { NodeId, ServiceId } from '../../crdt/ids.ts';
import type { RouteTable } from '../core/types.ts';
import type { TlsIdentity } from '../identity/identity.ts';
import type { Log } from '../lib/log.ts';
import type { OpenDoor, RouterHandle, ServiceTable } from '../ports/router.ts';
import type { DownLink } from './down-links.ts';
import { RouterError } from './errors.ts';
import {
  CLOSE_GRACE_MS,
  RESTART_DELAY_MAX_MS,
  RESTART_DELAY_MIN_MS,
  RESTART_HEALTHY_MS,
  RESTARTS_MAX,
  START_TIMEOUT_MS,
} from './limits.ts';
import type { FromRouter, RouterConfig, ToRouter } from './messages.ts';
import { Newest } from './newest.ts';
import { dialService } from './service-dial.ts';
import { logLines } from './stderr-lines.ts';

export type RouterOptions = {
  nodeId: NodeId;
  tls: TlsIdentity;
  /** `HOST:PORT`; port 0 means any free port. */
  http: string;
  link: string;
  /** The blob store's folder: other nodes fetch from it over the link. */
  blobsDir?: string;
  log: Log;
  /** Default 1. More share the ports; each costs about 15 MB. */
  threads?: number;
  /** Called when the process crashed RESTARTS_MAX times in a row and stays down. */
  onExit?: (error: RouterError) => void;
};

type JoinHandler = (request: unknown, from: NodeId) => Promise<unknown>;

/**
 * A proxy's objects die young: 2 MB hold those of the requests in flight; with less they grow old and the heap with
 * them.
 */
const NODE_FLAGS = ['--max-semi-space-size=2', '--max-old-space-size=256'];
/** Beyond CLOSE_GRACE_MS, for the process to end. */
const CLOSE_MARGIN_MS = 2_000;

/** Resolves when both listeners accept. Fails with RouterError; then nothing runs. */
export async function startRouter(options: RouterOptions): Promise<RouterHandle> {
  const router = new RouterProcess(options);
  await router.start();
  return router;
}

class RouterProcess implements RouterHandle {
  readonly #options: RouterOptions;
  readonly #config: RouterConfig;
  #child: ChildProcess | undefined;
  #listening = false;
  /** Kept for a process that starts again. */
  readonly #table = new Newest<RouteTable>((table, sent) => this.#hand({ type: 'table', table }, sent));
  readonly #services = new Newest<ServiceTable>((table, sent) => this.#hand({ type: 'services', table }, sent));
  #joinHandler: JoinHandler | undefined;
  #downListener: (links: DownLink[]) => void = () => {};
  #doorListener: (doors: readonly OpenDoor[]) => void = () => {};
  #closing: Promise<void> | undefined;
  #crashes = 0;
  #restartTimer: NodeJS.Timeout | undefined;

  constructor(options: RouterOptions) {
    const { nodeId, tls, http, link, blobsDir, threads = 1 } = options;
    this.#options = options;
    this.#config = { nodeId, tls, http, link, blobsDir, threads };
  }

  get http(): string {
    return this.#config.http;
  }

  get link(): string {
    return this.#config.link;
  }

  /** For tests and for people. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  setTable(table: RouteTable): void {
    this.#table.set(table);
  }

  setServices(table: ServiceTable): void {
    this.#services.set(table);
  }

  onDoors(listener: (doors: readonly OpenDoor[]) => void): void {
    this.#doorListener = listener;
  }

  openService(service: ServiceId): Promise<Duplex> {
    const known = this.#services.value?.places.find((one) => one.service === service);
    return dialService(known, this.#config.tls);
  }

  onUnreachable(listener: (links: DownLink[]) => void): void {
    this.#downListener = listener;
  }

  onJoin(handler: JoinHandler): void {
    this.#joinHandler = handler;
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      const child = fork(fileURLToPath(new URL(`./main${extension()}`, import.meta.url)), [], {
        execArgv: NODE_FLAGS,
        env: routerEnvironment(),
        serialization: 'advanced',
        stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      });
      const startedAtMs = performance.now();
      this.#child = child;
      let failure: RouterError | undefined;
      const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
      if (child.stderr) logLines(child.stderr, (line) => this.#options.log.warn('router.stderr', { line }));
      child.on('error', (error) => {
        failure ??= new RouterError('start_failed', `The router process failed (${error.message}).`, { cause: error });
      });
      child.on('message', (message: FromRouter) => {
        if (message.type === 'listening') {
          clearTimeout(timer);
          // Port 0 was any; from now on it is this one.
          this.#config.http = message.http;
          this.#config.link = message.link;
          this.#listening = true;
          this.#table.open();
          this.#services.open();
          resolve();
        } else if (message.type === 'failed') failure = new RouterError(message.code, message.message);
        else if (message.type === 'down') this.#downListener(message.links);
        else if (message.type === 'doors') this.#doorListener(message.doors);
        else if (message.type === 'log') this.#options.log[message.level](message.event, message.fields);
        else void this.#join(child, message);
      });
      child.once('exit', (code, signal) => {
        clearTimeout(timer);
        const wasListening = this.#listening;
        this.#listening = false;
        this.#table.close();
        this.#services.close();
        // The next one finds out anew.
        this.#downListener([]);
        this.#doorListener([]);
        failure ??= new RouterError(
          'start_failed',
          `The router process ended before it listened (${signal ?? `status ${code}`}).`,
        );
        reject(failure);
        if (wasListening && !this.#closing) this.#crashed(signal ?? `status ${code}`, performance.now() - startedAtMs);
      });
      this.#post(child, { type: 'start', config: this.#config });
    });
  }

  #crashed(how: string, upMs: number): void {
    const { log, onExit } = this.#options;
    this.#crashes = upMs >= RESTART_HEALTHY_MS ? 1 : this.#crashes + 1;
    if (this.#crashes > RESTARTS_MAX) {
      log.error('router.gave-up', { how, crashes: this.#crashes });
      onExit?.(
        new RouterError(
          'gave_up',
          `The router process crashed ${this.#crashes} times in a row (last: ${how}); restart the node.`,
        ),
      );
      return;
    }
    const delayMs = Math.min(RESTART_DELAY_MAX_MS, RESTART_DELAY_MIN_MS * 2 ** (this.#crashes - 1));
    log.error('router.crashed', { how, upMs: Math.round(upMs), restartInMs: delayMs });
    this.#restartTimer = setTimeout(() => {
      this.start().then(
        () => log.info('router.restarted', { http: this.http, link: this.link }),
        (error: Error) => {
          if (!this.#closing) this.#crashed(error.message, 0);
        },
      );
    }, delayMs);
  }

  #hand(message: ToRouter, sent: () => void): void {
    if (this.#child) this.#post(this.#child, message, sent);
  }

  async #join(
    child: ChildProcess,
    { id, request, from, untilMs }: Extract<FromRouter, { type: 'join' }>,
  ): Promise<void> {
    try {
      if (!this.#joinHandler)
        throw Object.assign(new Error('This node is still starting; try again.'), { code: 'starting' });
      // It waited while this process stood still: whoever wanted to join has been told that there was no answer.
      if (Date.now() > untilMs) {
        throw Object.assign(new Error('The node did not answer in time; try again.'), { code: 'timeout' });
      }
      this.#post(child, { type: 'joinReply', id, reply: await this.#joinHandler(request, from) });
    } catch (error) {
      const { code, message } = error as { code?: unknown; message?: unknown };
      // Only errors that carry a code were meant for the other side.
      const refused =
        typeof code === 'string'
          ? { code, message: String(message) }
          : { code: 'internal', message: 'The node failed to answer; its log says why.' };
      this.#options.log.warn('router.join-refused', { from, code: refused.code, reason: String(message) });
      this.#post(child, { type: 'joinRefused', id, ...refused });
    }
  }

  #post(child: ChildProcess, message: ToRouter, onSent?: () => void): void {
    // A process that is gone is noticed by its exit.
    if (child.connected) child.send(message, () => onSent?.());
  }

  async #end(): Promise<void> {
    clearTimeout(this.#restartTimer);
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    this.#post(child, { type: 'close' });
    const timer = setTimeout(() => child.kill('SIGKILL'), CLOSE_GRACE_MS + CLOSE_MARGIN_MS);
    await exited;
    clearTimeout(timer);
  }
}

/** The process gets no more of the daemon's environment than it needs: tokens may be in there. */
function routerEnvironment(): NodeJS.ProcessEnv {
  const { PATH, TZ, LANG, NODE_COMPILE_CACHE = compileCache() } = process.env;
  // One arena: the threads that compile would each keep their own, 15 MB after the first busy minute.
  return { PATH, TZ, LANG, NODE_COMPILE_CACHE, MALLOC_ARENA_MAX: '1' };
}

/**
 * Compiled code is kept beside the packages: without it every start loads Node's TypeScript compiler, 17 MB that stay.
 */
function compileCache(): string {
  const undici = createRequire(import.meta.url).resolve('undici');
  const modules = `${sep}node_modules${sep}`;
  return join(undici.slice(0, undici.lastIndexOf(modules) + modules.length), '.cache', 'peer');
}

/** `.ts` from a checkout, `.js` as published. */
function extension(): string {
  return import.meta.url.slice(import.meta.url.lastIndexOf('.'));
}
