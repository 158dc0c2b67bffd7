// What an app's instances use, from any node: asks the nodes that run them, when somebody wants to know. Nothing of it
// is gossiped, and nothing kept.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import type { Gossip } from '../ports/gossip.ts';
import { USAGE } from '../ports/methods.ts';
import type { InstanceUsage, UsageMeter } from '../ports/runtime.ts';

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
    parts.gossip.handle(USAGE, ({ app }) => parts.meter.usage(app));
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
      return await gossip.request(node, USAGE, { app });
    } catch (error) {
      log.debug('usage.not_answered', { node, error });
      return [];
    }
  }
}
