// Answers one question: does that node respond right now? Never closes a connection: a slow answer is no proof that it
// is dead, and a new one would cost both sides more of the time they lack (quiet.ts replaces those that are).

import type { Connection } from '@libp2p/interface';
import type { NodeId } from '../../crdt/ids.ts';
import type { Connections } from './connections.ts';
import type { Dialer } from './dialer.ts';
import { GossipError } from './errors.ts';
import { PROBE_OWN_DELAY_MS } from './limits.ts';
import { echo } from './muxer.ts';

export type ProbeResult = 'ok' | 'refused' | 'timeout' | 'error';

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
    const connection = this.#connections.of(node);
    try {
      return connection === undefined ? await this.#knock(node, signal) : await this.#ask(connection, node, signal);
    } finally {
      deadline.clear();
    }
  }

  async #ask(connection: Connection, node: NodeId, signal: AbortSignal): Promise<ProbeResult> {
    try {
      await echo(connection, signal);
      return 'ok';
    } catch (error) {
      if (isTimeout(error, signal)) return 'timeout';
      // The connection went meanwhile. There may be another, whose answer counts as well.
      const other = this.#connections.of(node);
      if (other === undefined) return this.#knock(node, signal);
      return other === connection ? 'error' : this.#ask(other, node, signal);
    }
  }

  /** Without a connection, accepting one is the answer. */
  async #knock(node: NodeId, signal: AbortSignal): Promise<ProbeResult> {
    try {
      await this.#dialer.knock(node, signal);
      return 'ok';
    } catch (error) {
      if (isTimeout(error, signal)) return 'timeout';
      return verdictOf((error as Error).cause);
    }
  }
}

/**
 * Aborts after timeoutMs. When this process itself was late by then, the answer may be waiting unread: it gets as much
 * time again, once.
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

/**
 * Whether the failure of a dial says of every address that no connection was accepted there. Kernels accept, however
 * busy the process is; a key exchange that takes too long says nothing of the kind.
 */
export function isOutOfReach(cause: unknown): boolean {
  const errors: unknown[] = cause instanceof AggregateError ? cause.errors : cause === undefined ? [] : [cause];
  return errors.length > 0 && errors.every((error) => NOT_ACCEPTED.test((error as Error).message));
}

/** As libp2p's TCP transport words every failure before the connection is accepted. */
const NOT_ACCEPTED = /^connection error /;
