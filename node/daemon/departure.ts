// How a node goes: with its instances ended or kept, for good after replacements run elsewhere, or because it was
// removed.

import type { NamedChange } from '../../crdt/change.ts';
import type { NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import { until } from '../lib/until.ts';
import type { Ending, Shutdown } from './shutdown.ts';

const DRAIN_TIMEOUT_MS = 120_000;
/** The answer to whoever asked goes out first. */
const REPLY_MS = 100;

export type DepartureParts = {
  self: NodeId;
  name: string;
  view: () => DesiredView;
  write: (changes: NamedChange[], by: string) => Promise<unknown>;
  /** Resolves when every write that is under way has been acknowledged or has failed. */
  writesEnded: () => Promise<void>;
  hasLiveInstances: () => boolean;
  shutdown: Shutdown;
  log: Log;
};

export class Departure {
  readonly #parts: DepartureParts;
  readonly #stopped = Promise.withResolvers<void>();
  /** This node removes itself: it ends when the others have that on disk. */
  #leaving = false;
  #stopping = false;

  constructor(parts: DepartureParts) {
    this.#parts = parts;
  }

  /** Resolves when everything is closed. */
  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  /** Begins the end; harmless when it has begun. */
  async stop(how: Ending): Promise<void> {
    const { log, shutdown } = this.#parts;
    if (!this.#stopping) log.info('node.stopping', how);
    this.#stopping = true;
    await shutdown.close(how);
    log.info('node.stopped');
    this.#stopped.resolve();
  }

  /** As people ask for it. */
  begin({ leave }: { leave: boolean }): void {
    setTimeout(() => void (leave ? this.#drainAndLeave() : this.stop({ keepInstances: false })), REPLY_MS);
  }

  /** Called after every change of the desired state. */
  desiredChanged(): void {
    const { self, view, writesEnded, log } = this.#parts;
    if (this.#leaving || this.#stopping || !view().removedNodes.has(self)) return;
    log.error('node.removed', { message: 'this node was removed from the cluster; it stops its instances and ends' });
    // It may have been asked to remove itself: the others, and whoever asked, hear of it before it ends.
    void writesEnded().then(() => this.begin({ leave: false }));
  }

  /** Replacements first, then the farewell: nobody misses an instance of this node. */
  async #drainAndLeave(): Promise<void> {
    const { self, name, view, write, hasLiveInstances, log } = this.#parts;
    const by = `node ${name}`;
    try {
      if (view().nodes.size > 1) {
        await write([{ change: 'setDraining', node: self, draining: true }], by);
        if (!(await until(() => !hasLiveInstances(), DRAIN_TIMEOUT_MS)))
          log.warn('node.drain_incomplete', { message: 'some instances found no other node; they stop now' });
        this.#leaving = true;
        await write([{ change: 'removeNode', node: self }], by);
      }
    } catch (error) {
      log.error('node.leave_failed', { error });
    }
    await this.stop({ keepInstances: false });
  }
}
