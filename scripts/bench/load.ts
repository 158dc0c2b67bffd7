// A steady, bounded load on loopback: requests are sent on time whether or not earlier ones have been answered (open
// loop), so that a stall shows as failures or slow answers and not as fewer requests.

import { Agent, get } from 'node:http';
import { splitAddress } from '../local-cluster.ts';

export type LoadResult = { sent: number; failed: number; failures: string[]; slowestMs: number };

const REQUEST_TIMEOUT_MS = 10_000;
/** Bound of one load, whatever its caller forgets. */
const REQUESTS_MAX = 100_000;
const FAILURES_KEPT_MAX = 20;

export class Load {
  readonly #targets: { host: string; port: number }[];
  readonly #hostHeader: string;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 64 });
  readonly #timer: NodeJS.Timeout;
  readonly #startedMs = performance.now();
  readonly #intervalMs: number;
  readonly #open = new Set<Promise<void>>();
  readonly #result: LoadResult = { sent: 0, failed: 0, failures: [], slowestMs: 0 };
  readonly #onBody: (body: string) => void;

  /** @param targets `host:port` of routers, asked in turn. */
  constructor(options: { targets: string[]; host: string; perSecond: number; onBody?: (body: string) => void }) {
    this.#targets = options.targets.map((target) => {
      const [host, port] = splitAddress(target);
      return { host, port };
    });
    this.#hostHeader = options.host;
    this.#intervalMs = 1_000 / options.perSecond;
    this.#onBody = options.onBody ?? (() => {});
    this.#timer = setInterval(() => this.#sendDue(), Math.min(10, this.#intervalMs));
  }

  /** Requests sent so far. */
  get sent(): number {
    return this.#result.sent;
  }

  /** Sends no more, waits for the answers that are open. */
  async stop(): Promise<LoadResult> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    this.#agent.destroy();
    return this.#result;
  }

  #sendDue(): void {
    const dueCount = Math.min(REQUESTS_MAX, Math.floor((performance.now() - this.#startedMs) / this.#intervalMs));
    while (this.#result.sent < dueCount) {
      const request = this.#send(this.#targets[this.#result.sent % this.#targets.length]!);
      this.#result.sent++;
      this.#open.add(request);
      void request.finally(() => this.#open.delete(request));
    }
  }

  #send({ host, port }: { host: string; port: number }): Promise<void> {
    const startMs = performance.now();
    return new Promise((resolve) => {
      const end = (failure?: string): void => {
        this.#result.slowestMs = Math.max(this.#result.slowestMs, performance.now() - startMs);
        if (failure !== undefined) {
          this.#result.failed++;
          if (this.#result.failures.length < FAILURES_KEPT_MAX) this.#result.failures.push(`:${port} ${failure}`);
        }
        resolve();
      };
      const options = { host, port, path: '/', agent: this.#agent, headers: { host: this.#hostHeader } };
      const request = get({ ...options, timeout: REQUEST_TIMEOUT_MS }, (response) => {
        let body = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          body += chunk;
        });
        response.on('error', (error) => end(error.message));
        response.on('end', () => {
          if (response.statusCode === 200) this.#onBody(body);
          end(response.statusCode === 200 ? undefined : `status ${response.statusCode}: ${body.trim().slice(0, 120)}`);
        });
      });
      request.on('timeout', () => request.destroy(new Error(`no answer within ${REQUEST_TIMEOUT_MS} ms`)));
      request.on('error', (error) => end(error.message));
    });
  }
}
