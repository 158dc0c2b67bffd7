// What an app's instances use, from any node: asks the nodes that run them, when somebody wants to know. Nothing of it
// is gossiped, and nothing kept.

import { type AppId, asInstanceId, type NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { InstanceUsage, UsageMeter } from '../ports/runtime.ts';

const METHOD = 'usage';
/** A look takes a quarter of a second. A node that has just frozen keeps nobody waiting for longer than this. */
const USAGE_TIMEOUT_MS = 1_000;
/** Of one node in one answer: an app has no more. */
const INSTANCES_MAX = 1_000;

export type UsageReaderParts = {
  self: NodeId;
  gossip: Pick<Gossip, 'handle' | 'request'>;
  meter: UsageMeter;
  /** Nodes that run instances of the app. */
  nodesOf(app: AppId): NodeId[];
  log: Log;
};

export class UsageReader {
  readonly #parts: UsageReaderParts;

  constructor(parts: UsageReaderParts) {
    this.#parts = parts;
    parts.gossip.handle(METHOD, (payload) => {
      const { app } = (payload ?? {}) as { app?: unknown };
      if (typeof app !== 'string') throw new Error('app should be text');
      return parts.meter.usage(app as AppId);
    });
  }

  async usage(app: AppId): Promise<InstanceUsage[]> {
    const { self, meter, nodesOf } = this.#parts;
    const answers = await Promise.all(
      nodesOf(app).map((node) => (node === self ? meter.usage(app) : this.#ask(node, app))),
    );
    return answers.flat();
  }

  async #ask(node: NodeId, app: AppId): Promise<InstanceUsage[]> {
    const { gossip, log } = this.#parts;
    try {
      const answer = await gossip.request(node, METHOD, { app }, { timeoutMs: USAGE_TIMEOUT_MS });
      return Array.isArray(answer) ? answer.slice(0, INSTANCES_MAX).flatMap(parseUsage) : [];
    } catch (error) {
      log.debug('usage.not_answered', { node, error });
      return [];
    }
  }
}

/** What another node said, as far as it makes sense. */
export function parseUsage(value: unknown): InstanceUsage[] {
  const { id, memoryBytes, cpu, diskBytes } = (value ?? {}) as Record<string, unknown>;
  if (typeof id !== 'string') return [];
  const isCount = (one: unknown): one is number => typeof one === 'number' && Number.isFinite(one) && one >= 0;
  return [
    {
      id: asInstanceId(id),
      ...(isCount(memoryBytes) ? { memoryBytes } : {}),
      ...(isCount(cpu) ? { cpu } : {}),
      ...(isCount(diskBytes) ? { diskBytes } : {}),
    },
  ];
}
