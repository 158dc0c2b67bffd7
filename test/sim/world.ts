// The world of one simulation: the nodes, their network, the checkers and the trace. Knows the truth that no node
// knows.

import { createHash } from 'node:crypto';
import type { NamedChange } from '../../crdt/change.ts';
import { DesiredDocument } from '../../crdt/document.ts';
import { asClusterId, asNodeId, type Digest, type NodeId } from '../../crdt/ids.ts';
import type { Effect, Event } from '../../node/core/types.ts';
import type { Violation } from './checkers/checker.ts';
import { Checkers } from './checkers/checkers.ts';
import { Clock } from './clock.ts';
import { ENGINE } from './data-users.ts';
import { Network } from './network.ts';
import { SimNode } from './node.ts';
import { hexOf, Prng } from './prng.ts';
import type { WriteResult } from './replicator.ts';
import type { Quality } from './runtime.ts';
import type { Shape } from './shape.ts';
import { SimStore } from './store.ts';
import { Processors } from './thread.ts';
import { MIB } from './users.ts';

/** When simulations begin, Unix ms: for people to read, never for decisions. */
const EPOCH_MS = 1_750_000_000_000;
const FSYNC_MAX_MS = 4;
/** Changes of one founding write. */
const ADMISSIONS_PER_WRITE = 10;

export class World {
  readonly clock = new Clock();
  readonly shape: Shape;
  readonly rng: Prng;
  readonly network: Network;
  readonly processors: Processors;
  readonly nodes: SimNode[] = [];
  readonly checkers: Checkers;
  readonly qualities = new Map<Digest, Quality>();
  readonly slowDisks = new Map<number, number>();
  readonly counts = { steps: 0, starts: 0, stops: 0, writes: 0, acknowledged: 0, handshakes: 0 };
  violation: Violation | undefined;
  faultsOver = false;
  #lastMoveAtMs = 0;
  readonly #indexOf = new Map<NodeId, number>();
  readonly #hash = createHash('sha256');
  readonly #print: ((line: string) => void) | undefined;
  readonly #fsyncRng: Prng;

  constructor(options: { seed: number; shape: Shape; print?: (line: string) => void }) {
    this.shape = options.shape;
    this.rng = new Prng(`world/${options.seed}`);
    this.#fsyncRng = this.rng.fork('fsync');
    this.#print = options.print;
    const conditions = { delayMinMs: 0.2, delayMaxMs: options.shape.delayMaxMs, loss: 0, duplication: 0 };
    this.network = new Network({ clock: this.clock, rng: this.rng.fork('network'), conditions });
    this.processors = new Processors(options.shape.processors ?? Number.POSITIVE_INFINITY);
    this.checkers = new Checkers(this);
    this.#found();
  }

  #found(): void {
    const { shape } = this;
    for (let index = 0; index < shape.nodes; index++) {
      // Ids look like real ones, and the part that instance ids are made of is unique.
      const id = asNodeId(`12D3KooW${hexOf(`node/${index}`, 4)}${String(index).padStart(4, '0')}`);
      const rng = this.rng.fork(`node/${index}`);
      const self = {
        node: id,
        name: `n${index}`,
        version: '0',
        addresses: [],
        link: `10.0.0.${index}:7000`,
        api: '',
        http: '',
        arch: 'x64',
        stacks: ['debian12-x64'],
        runtimes: ['process'],
        ...(shape.data ? { services: [ENGINE] } : {}),
        labels: (shape.zones > 0 ? { zone: `z${index % shape.zones}` } : {}) as Record<string, string>,
        memoryBytes: shape.nodeMemoryMib * MIB,
      };
      const clockRate = 1 + shape.clockDrift * (2 * rng.share() - 1);
      const { startMs, stopMaxMs } = shape;
      const node = new SimNode(this, { index, self, clockRate, rng, startMs, stopMaxMs });
      this.nodes.push(node);
      this.network.add(node);
      this.#indexOf.set(id, index);
    }
    const clusterId = asClusterId(hexOf('cluster', 16));
    const author = { by: 'founder', atMs: EPOCH_MS };
    let document = DesiredDocument.create({ clusterId, name: 'sim', domain: 'localhost', author }, 'f0'.repeat(16));
    for (let from = 0; from < this.nodes.length; from += ADMISSIONS_PER_WRITE) {
      const changes = this.nodes
        .slice(from, from + ADMISSIONS_PER_WRITE)
        .map((node): NamedChange => ({ change: 'admitNode', node: node.id, name: node.self.name }));
      const written = document.write(changes, author)!;
      document.free();
      document = written.next;
    }
    const snapshot = document.save();
    document.free();
    for (const node of this.nodes) {
      SimStore.install(node.disk, clusterId, snapshot);
      this.clock.at(node.rng.between(0, 300), () => node.boot());
    }
  }

  idOf(index: number): NodeId {
    return this.nodes[index]!.id;
  }

  indexOf(id: NodeId): number {
    return this.#indexOf.get(id)!;
  }

  /** Each node's wall clock is wrong by up to a minute. */
  wallMs(index: number): number {
    return EPOCH_MS + this.clock.nowMs + ((index * 17_000) % 60_000);
  }

  qualityOf(digest: Digest): Quality {
    return this.qualities.get(digest) ?? 'good';
  }

  fsyncMs(node: SimNode): number {
    return (this.slowDisks.get(node.index) ?? 0) + 0.3 + this.#fsyncRng.share() * FSYNC_MAX_MS;
  }

  write(node: SimNode, changes: NamedChange[]): void {
    this.counts.writes++;
    this.trace(node, 'user-write', JSON.stringify(changes));
    this.checkers.asked(changes);
    node.replicator?.write(changes, { by: 'ada', atMs: node.wallMs() }, (result) => this.written(node, result));
  }

  written(node: SimNode, result: WriteResult): void {
    this.trace(node, 'written', result.kind === 'refused' ? `refused ${result.reason}` : result.kind);
    if (result.kind !== 'acknowledged' || result.hash === undefined) return;
    this.counts.acknowledged++;
    this.checkers.acknowledged(result.hash, result.heldBy);
  }

  cutsChanged(): void {
    this.checkers.cutsChanged();
  }

  /** The first violation counts; the run ends with it. */
  fail(checker: string, message: string, kind: Violation['kind'] = 'safety'): void {
    if (this.violation !== undefined) return;
    this.violation = { checker, kind, message, atMs: this.clock.nowMs };
    this.#line(`${this.clock.nowMs} VIOLATION ${checker} ${message}`);
  }

  /** A node has shaken hands for a connection, whether or not there will be one. */
  shookHands(node: SimNode): void {
    this.counts.handshakes++;
    this.#lastMoveAtMs = this.clock.nowMs;
    this.checkers.shookHands(node);
  }

  lostConnection(node: SimNode, other: number): void {
    this.#lastMoveAtMs = this.clock.nowMs;
    this.checkers.lostConnection(node, other);
  }

  /** How long no core has started, stopped or suspected anything, and no connection has come or gone, ms. */
  quietMs(): number {
    return this.clock.nowMs - this.#lastMoveAtMs;
  }

  trace(node: SimNode, what: string, detail: string): void {
    this.#line(`${this.clock.nowMs} ${node.self.name} ${what} ${detail}`);
  }

  traceStep(node: SimNode, event: Event, effects: readonly Effect[]): void {
    this.counts.steps++;
    this.#line(`${this.clock.nowMs} ${node.self.name} ${textOfEvent(event)}`);
    for (const effect of effects) {
      if (effect.type === 'startInstance' || effect.type === 'stopInstance') {
        this.#lastMoveAtMs = this.clock.nowMs;
        if (effect.type === 'startInstance') this.counts.starts++;
        else this.counts.stops++;
      }
      if (effect.type === 'publishMembership' && effect.message.kind === 'suspect')
        this.#lastMoveAtMs = this.clock.nowMs;
      this.#line(`  ${textOfEffect(effect)}`);
    }
  }

  traceHash(): string {
    return this.#hash.copy().digest('hex');
  }

  /** Gives the documents' memory back. */
  close(): void {
    for (const node of this.nodes) node.store?.close();
  }

  #line(text: string): void {
    this.#hash.update(text).update('\n');
    this.#print?.(text);
  }
}

function textOfEvent(event: Event): string {
  switch (event.type) {
    case 'desiredChanged':
      return `desiredChanged ${event.heads.map((head) => head.slice(0, 8)).join(' ')}`;
    case 'reportReceived': {
      const { node, incarnation, sequence, instances } = event.report;
      const states = instances.map((one) => `${one.id}:${one.app}/${one.index}:${one.state}`).join(' ');
      return `reportReceived ${node} ${incarnation}.${sequence} ${states}`;
    }
    default:
      return `${event.type} ${JSON.stringify(event, (key, value) => (key === 'type' ? undefined : value))}`;
  }
}

function textOfEffect(effect: Effect): string {
  switch (effect.type) {
    case 'publishReport':
      return `publishReport ${effect.report.incarnation}.${effect.report.sequence}`;
    case 'startInstance':
      return `startInstance ${effect.spec.id} ${effect.spec.app.name}/${effect.spec.index} v${effect.spec.release.version}`;
    case 'setRoutes':
      return `setRoutes ${effect.table.routes.map((one) => `${one.route}=${one.upstreams.map((up) => up.instance)}`).join(' ')}`;
    default:
      return JSON.stringify(effect);
  }
}
