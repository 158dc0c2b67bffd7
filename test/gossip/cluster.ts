// Starts real gossip hosts on loopback for the tests and takes them down again.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { NodeId } from '../../crdt/ids.ts';
import type { MembershipMessage, Report } from '../../node/core/types.ts';
import { createGossip } from '../../node/gossip/gossip.ts';
import type { GossipOptions } from '../../node/gossip/gossip-options.ts';
import type { Gossip } from '../../node/ports/gossip.ts';
import { CLUSTER, type Identity, newIdentity, PSK } from './fixtures.ts';
import { collectingLog, SetSource } from './twins.ts';

export class TestNode {
  readonly gossip: Gossip;
  readonly id: NodeId;
  readonly identity: Identity;
  readonly desired: SetSource;
  readonly log: ReturnType<typeof collectingLog>;
  readonly dataDir: string;
  readonly reports: Report[] = [];
  readonly membership: MembershipMessage[] = [];
  readonly changes: { changes: Uint8Array[]; from: NodeId }[] = [];
  /** `+id` and `-id`, as they were told. */
  readonly connections: string[] = [];

  constructor(
    gossip: Gossip,
    parts: {
      identity: Identity;
      desired: SetSource;
      log: ReturnType<typeof collectingLog>;
      dataDir: string;
    },
  ) {
    this.gossip = gossip;
    this.id = gossip.self;
    this.identity = parts.identity;
    this.desired = parts.desired;
    this.log = parts.log;
    this.dataDir = parts.dataDir;
    gossip.on({
      connected: (node) => this.connections.push(`+${node}`),
      disconnected: (node) => this.connections.push(`-${node}`),
      report: (report) => this.reports.push(report),
      membership: (message) => this.membership.push(message),
      changes: (changes, from) => this.changes.push({ changes, from }),
    });
  }

  rejected(kind: string): boolean {
    return this.log.lines.some((line) => line.event === 'gossip.rejected' && line.fields.kind === kind);
  }

  admit(...others: TestNode[]): void {
    this.gossip.setAdmitted(
      new Map([...others, this].map((node) => [node.id, { addresses: node.gossip.addresses() }])),
    );
  }
}

/** The nodes of one test; `close` ends them and deletes what they wrote. */
export class TestCluster {
  readonly #nodes: TestNode[] = [];
  readonly #dirs: string[] = [];

  async node(
    options: Partial<
      Pick<GossipOptions, 'psk' | 'listen' | 'identity' | 'dataDir' | 'advertise' | 'desired' | 'standstill'>
    > = {},
  ): Promise<TestNode> {
    const dataDir = options.dataDir ?? this.folder();
    const identity = options.identity ?? (await newIdentity());
    const desired = new SetSource();
    const log = collectingLog();
    const gossip = await createGossip({
      clusterId: CLUSTER,
      psk: PSK,
      listen: '127.0.0.1:0',
      desired,
      ...options,
      identity,
      dataDir,
      log,
    });
    const node = new TestNode(gossip, { identity, desired, log, dataDir });
    this.#nodes.push(node);
    await gossip.start();
    return node;
  }

  folder(): string {
    const dir = mkdtempSync(join(tmpdir(), 'peer-gossip-'));
    this.#dirs.push(dir);
    return dir;
  }

  /** That many nodes that admit and have reached one another. */
  async connected(count: number): Promise<TestNode[]> {
    const nodes = await Promise.all(Array.from({ length: count }, () => this.node()));
    for (const node of nodes) node.admit(...nodes);
    await allConnected(nodes);
    return nodes;
  }

  async close(): Promise<void> {
    await Promise.all(this.#nodes.splice(0).map((node) => node.gossip.stop()));
    for (const dir of this.#dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
  }
}

export async function allConnected(nodes: TestNode[]): Promise<void> {
  await expect
    .poll(() => nodes.map((node) => node.gossip.connected().length), { timeout: 20_000, interval: 20 })
    .toEqual(nodes.map(() => nodes.length - 1));
}
