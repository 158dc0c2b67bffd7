// Writes to the desired state during a chaos run, one after another, each through another node: routes of an app,
// which start and stop nothing. Remembers which were acknowledged by two nodes or more: none of those may ever be
// lost.

import type { LocalCluster, LocalNode } from '../../scripts/local-cluster.ts';
import type { Reading } from './reading.ts';

const WRITE_TIMEOUT_MS = 20_000;
/** Bound of one run, however long: routes are never unmapped. */
const WRITES_MAX = 500;

export class Writer {
  readonly #cluster: LocalCluster;
  readonly #app: string;
  readonly #through: () => readonly LocalNode[];
  readonly #acknowledged: string[] = [];
  readonly #timer: NodeJS.Timeout;
  #open: Promise<void> | undefined;
  #turn = 0;

  constructor(options: {
    cluster: LocalCluster;
    app: string;
    everyMs: number;
    /** Nodes that are asked now. */
    through: () => readonly LocalNode[];
  }) {
    this.#cluster = options.cluster;
    this.#app = options.app;
    this.#through = options.through;
    this.#timer = setInterval(() => this.#write(), options.everyMs);
  }

  get acknowledged(): number {
    return this.#acknowledged.length;
  }

  /** Writes no more, waits for the one that is open. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#open;
  }

  /** Acknowledged writes that the node's own state does not have. */
  missingIn({ apps }: Reading): string[] {
    const routes = new Set(apps.find(({ name }) => name === this.#app)?.routes ?? []);
    return this.#acknowledged.filter((route) => !routes.has(route));
  }

  #write(): void {
    const nodes = this.#through();
    if (nodes.length === 0 || this.#open !== undefined || this.#turn >= WRITES_MAX) return;
    const turn = this.#turn++;
    this.#open = this.#map(nodes[turn % nodes.length]!, `write-${turn}.localhost`).finally(() => {
      this.#open = undefined;
    });
  }

  async #map(node: LocalNode, route: string): Promise<void> {
    try {
      const args = ['map', this.#app, route];
      const { heldBy } = await this.#cluster.json<{ heldBy: number }>(node, args, { timeoutMs: WRITE_TIMEOUT_MS });
      if (heldBy > 1) this.#acknowledged.push(route);
    } catch {
      // Not acknowledged: it may be there or not.
    }
  }
}
