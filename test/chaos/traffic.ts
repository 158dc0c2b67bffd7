// Requests to the apps of a chaos run, through the routers of all nodes that should answer. Counts failures; a wrong
// answer, one of another app than was asked for, is told at once.

import type { LocalCluster, LocalNode } from '../../scripts/local-cluster.ts';

const REQUEST_TIMEOUT_MS = 5_000;
/** Requests that wait for an answer; when there are as many, none is sent. */
const OPEN_MAX = 40;

export type TrafficCounts = { sent: number; failed: number; lastFailure: string | undefined };

export class Traffic {
  readonly #cluster: LocalCluster;
  readonly #apps: readonly string[];
  readonly #through: () => readonly LocalNode[];
  readonly #onWrong: (message: string) => void;
  readonly #timer: NodeJS.Timeout;
  readonly #open = new Set<Promise<void>>();
  #turn = 0;
  #counts: TrafficCounts = { sent: 0, failed: 0, lastFailure: undefined };

  constructor(options: {
    cluster: LocalCluster;
    apps: readonly string[];
    perSecond: number;
    /** Nodes that are asked now. */
    through: () => readonly LocalNode[];
    onWrong: (message: string) => void;
  }) {
    this.#cluster = options.cluster;
    this.#apps = options.apps;
    this.#through = options.through;
    this.#onWrong = options.onWrong;
    this.#timer = setInterval(() => this.#send(), 1_000 / options.perSecond);
  }

  /** What was counted since it was asked last. */
  take(): TrafficCounts {
    const counts = this.#counts;
    this.#counts = { sent: 0, failed: 0, lastFailure: undefined };
    return counts;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
  }

  #send(): void {
    const nodes = this.#through();
    if (nodes.length === 0 || this.#open.size >= OPEN_MAX) return;
    const turn = this.#turn++;
    const node = nodes[turn % nodes.length]!;
    const app = this.#apps[Math.floor(turn / nodes.length) % this.#apps.length]!;
    const asked = this.#ask(node, app).finally(() => this.#open.delete(asked));
    this.#open.add(asked);
  }

  async #ask(node: LocalNode, app: string): Promise<void> {
    const counts = this.#counts;
    counts.sent++;
    try {
      const { status, body } = await this.#cluster.get(node, `${app}.localhost`, '/json', REQUEST_TIMEOUT_MS);
      if (status !== 200) throw new Error(`status ${status}`);
      const answered = (JSON.parse(body) as { app: string }).app;
      if (answered !== app) this.#onWrong(`${node.name} leads ${app} to an instance of ${answered}`);
    } catch (error) {
      counts.failed++;
      counts.lastFailure = `${app} through ${node.name}: ${(error as Error).message}`;
    }
  }
}
