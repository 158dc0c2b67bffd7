// Answers one question: does that node respond right now? Replaces a connection that stopped carrying anything.

import type { NodeId } from '../../crdt/ids.ts';
import type { Connections } from './connections.ts';
import type { Dialer } from './dialer.ts';
import { GossipError } from './errors.ts';
import { StreamReader, writeBytes } from './frames.ts';
import { PROBE_BYTES, PROBE_OWN_DELAY_MS } from './limits.ts';

export type ProbeResult = 'ok' | 'refused' | 'timeout' | 'error';

/** The protocol that @libp2p/ping answers on the other side: whatever is sent comes back. */
const PING_PROTOCOL = '/ipfs/ping/1.0.0';

export class Prober {
  readonly #connections: Connections;
  readonly #dialer: Dialer;
  readonly #running = new Map<NodeId, Promise<ProbeResult>>();

  constructor(connections: Connections, dialer: Dialer) {
    this.#connections = connections;
    this.#dialer = dialer;
  }

  /** Probes of one node that overlap share an answer. */
  probe(node: NodeId, timeoutMs: number): Promise<ProbeResult> {
    const running = this.#running.get(node);
    if (running !== undefined) return running;
    const probe = this.#probe(node, timeoutMs).finally(() => this.#running.delete(node));
    this.#running.set(node, probe);
    return probe;
  }

  async #probe(node: NodeId, timeoutMs: number): Promise<ProbeResult> {
    const deadline = fairDeadline(timeoutMs);
    const { signal } = deadline;
    const probed = this.#connections.of(node);
    try {
      if (probed === undefined) return await this.#knock(node, signal);
      await this.#echo(node, signal, 2 * timeoutMs);
      return 'ok';
    } catch (error) {
      if (!isTimeout(error, signal)) {
        return this.#connections.of(node) === undefined ? await this.#knock(node, signal) : 'error';
      }
      // A connection cut by a partition looks alive for many minutes; a new one will show the truth at once.
      probed?.abort(new GossipError('timeout', `no answer to a probe within ${timeoutMs} ms`));
      return 'timeout';
    } finally {
      deadline.clear();
    }
  }

  async #echo(node: NodeId, signal: AbortSignal, timeoutMs: number): Promise<void> {
    const stream = await this.#dialer.openStream(node, PING_PROTOCOL, signal);
    try {
      const reader = new StreamReader(stream);
      await writeBytes(stream, crypto.getRandomValues(new Uint8Array(PROBE_BYTES)), { signal, timeoutMs });
      for await (const _ of reader.bytes(PROBE_BYTES, { signal, timeoutMs })) {
        // Only that it came back matters: the connection itself is authenticated.
      }
      await stream.close({ signal });
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }

  /** Without a connection, accepting one is the answer. */
  async #knock(node: NodeId, signal: AbortSignal): Promise<ProbeResult> {
    try {
      await this.#dialer.dial(node, signal);
      return 'ok';
    } catch (error) {
      if (isTimeout(error, signal)) return 'timeout';
      return verdictOf((error as Error).cause);
    }
  }
}

/**
 * Aborts after timeoutMs. When this process itself was late by then, the answer may be waiting unread: it gets as much time
 * again, once.
 */
function fairDeadline(timeoutMs: number): { signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const dueMs = performance.now() + timeoutMs;
  const expire = (): void => controller.abort(new GossipError('timeout', `no answer within ${timeoutMs} ms`));
  let timer = setTimeout(() => {
    const lateMs = performance.now() - dueMs;
    if (lateMs < PROBE_OWN_DELAY_MS) expire();
    else timer = setTimeout(expire, Math.min(lateMs, timeoutMs));
  }, timeoutMs);
  return { signal: controller.signal, clear: () => clearTimeout(timer) };
}

function isTimeout(error: unknown, signal: AbortSignal): boolean {
  return (
    signal.aborted ||
    (error instanceof GossipError && error.code === 'timeout') ||
    (error as Error | undefined)?.name === 'TimeoutError'
  );
}

/** `refused` only when every address answered that nothing listens there; an unreachable host is silence. */
function verdictOf(cause: unknown): ProbeResult {
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : cause === undefined ? [] : [cause];
  const codes = errors.map((error) => (error as NodeJS.ErrnoException).code ?? (error as Error).name);
  if (codes.length > 0 && codes.every((code) => code === 'ECONNREFUSED')) return 'refused';
  const silent = ['ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'TimeoutError', 'AbortError'];
  return codes.length > 0 && codes.every((code) => code === 'ECONNREFUSED' || silent.includes(code))
    ? 'timeout'
    : 'error';
}
