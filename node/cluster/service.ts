// What the API may ask of this node (port NodeService), put together from the parts. Holds no state of its own beyond
// the list of listeners.

import type { NamedChange } from '../../crdt/change.ts';
import { type AppId, asClusterId, type ClusterId, type Digest, type NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { ReportedCandidate } from '../core/candidates.ts';
import { explainSlot, type SlotExplanation, type WhatIf, whatIf } from '../core/explain.ts';
import { rendezvousWeight } from '../core/hash.ts';
import { fullOf, hasDiskRoom, type Pressure, pressureAdvice, pressureText } from '../core/pressure.ts';
import { slotKey } from '../core/slots.ts';
import type { Slot } from '../core/types.ts';
import type { Log } from '../lib/log.ts';
import type { Backups } from '../ports/backups.ts';
import type { BlobExchange, BlobStore, BlobUsage, PushSources, Room } from '../ports/blobs.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { LogLine } from '../ports/logs.ts';
import { HOLD_BLOB, RESTART_SLOT } from '../ports/methods.ts';
import type { DropletCopies, NodeService, ObservedView, RecordedEvent } from '../ports/node-service.ts';
import type { SecretKeeper } from '../ports/secrets.ts';
import type { KindInfo } from '../ports/services-desk.ts';
import type { VolumeLife } from '../ports/snapshots.ts';
import type { Stager } from '../ports/staging.ts';
import type { ClusterReader } from './cluster-reader.ts';
import type { DataReader } from './data-reader.ts';
import type { KnownCluster } from './known-cluster.ts';
import type { Replicator } from './replicator.ts';
import type { UsageReader } from './usage-reader.ts';

/** Copies of a droplet that a release waits for, this node's included; all that have room where those are fewer. */
const DROPLET_HOLDERS_WANTED = 3;
/**
 * A node that could not hold it is asked again for so long, this often: a connection was replaced, or it is not known
 * dead yet.
 */
const HOLD_RETRIES_MS = 5_000;
const HOLD_RETRY_MS = 200;
/** With room, in a message that refuses for want of it. */
const NODES_NAMED_MAX = 3;
/** Listeners hear of changes at most this often. */
const CHANGE_GAP_MS = 20;

/** The droplet could not be copied to enough nodes. Nothing was released; pushing again is safe. */
export class ReplicationError extends Error {
  readonly code = 'droplet_not_replicated';
}

/**
 * This node has run out of something that staging or keeping a copy needs. Nothing was stored; another node may have
 * room.
 */
export class NoRoomError extends Error {
  readonly code = 'no_room';
}

/** Codes of failures that mean the same; a node of another version has others. */
const NO_ROOM_CODES: readonly unknown[] = ['no_room', 'disk_full', 'over_budget'];

export type ServiceParts = {
  self: NodeService['self'];
  cluster: string;
  blobs: BlobStore;
  exchange: BlobExchange;
  /** `room`: what copies that other nodes ask this one to hold may fill. */
  budget: { room(): Room; usage(): BlobUsage };
  gossip: Gossip;
  log: Log;
  reader: ClusterReader;
  replicator: Replicator;
  /** Seals what people set, just before it is written. */
  sealer: { seal(changes: readonly NamedChange[], view: DesiredView): NamedChange[] };
  secrets: SecretKeeper;
  sources: PushSources;
  /**
   * Told of every failure: it looks at once when it was for want of a resource. `look` resolves when what it saw is
   * observed.
   */
  resources: { failed(error: unknown): boolean; look(): Promise<void> };
  stager: Stager;
  sessions: { open: NodeService['openSession'] };
  serviceSessions: { open: NodeService['openServiceSession']; tunnel: NodeService['openServiceTunnel'] };
  createInvite: NodeService['createInvite'];
  usage: Pick<UsageReader, 'usage'>;
  data: Pick<DataReader, 'serviceStatus' | 'volumeStatus' | 'exportDoor'>;
  exportAccess: NodeService['exportAccess'];
  backups: Backups;
  volumes: VolumeLife;
  kinds: readonly KindInfo[];
  known: KnownCluster;
  candidates(): ReportedCandidate[];
  restartSlotHere(slot: Slot): void;
  shutdown(options: { leave: boolean }): void;
};

export class Service implements NodeService {
  readonly self: NodeService['self'];
  readonly cluster: ClusterId;
  readonly sources: PushSources;
  readonly secrets: SecretKeeper;
  readonly backups: Backups;
  readonly volumes: VolumeLife;
  readonly #parts: ServiceParts;
  readonly #listeners = new Set<() => void>();
  #notifying: NodeJS.Timeout | undefined;

  constructor(parts: ServiceParts) {
    this.#parts = parts;
    this.self = parts.self;
    this.secrets = parts.secrets;
    this.backups = parts.backups;
    this.volumes = parts.volumes;
    this.sources = this.#guarded(parts.sources);
    this.cluster = asClusterId(parts.cluster);
    parts.gossip.handle(HOLD_BLOB, (...asked) => this.#holdBlob(...asked));
    parts.gossip.handle(RESTART_SLOT, async (slot) => parts.restartSlotHere(slot));
  }

  view = (): DesiredView => this.#parts.known.view();

  observed = (): ObservedView => this.#parts.known.observed();

  write: NodeService['write'] = async (changes, by) => {
    const sealed = this.#parts.sealer.seal(changes, this.view());
    return this.#watched(this.#parts.replicator.write(sealed, { by, atMs: Date.now() }));
  };

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Called whenever anything changed. */
  notifyChanged(): void {
    if (this.#listeners.size === 0 || this.#notifying !== undefined) return;
    this.#notifying = setTimeout(() => {
      this.#notifying = undefined;
      for (const listener of [...this.#listeners]) listener();
    }, CHANGE_GAP_MS);
  }

  /** Fails with NoRoomError, at once, when this node is full: half a staging would take what is left. */
  stage: NodeService['stage'] = async (request) => {
    await this.#expectRoom('stages nothing');
    return this.#watched(this.#parts.stager.stage(request));
  };

  keepBuildpack: NodeService['keepBuildpack'] = (...buildpack) => this.#parts.stager.keepBuildpack(...buildpack);

  async replicateDroplet(digest: Digest): Promise<DropletCopies> {
    const { blobs, gossip, log } = this.#parts;
    const payload = { digest, sizeBytes: blobs.sizeBytes(digest) };
    const holders: NodeId[] = [this.self.id];
    const failures = new Map<NodeId, string>();
    const noRoom = new Map<NodeId, string>();
    const deadlineMs = performance.now() + HOLD_RETRIES_MS;
    for (;;) {
      // Who died meanwhile is not waited for, nor who has no room.
      const others = this.#parts.known.aliveOtherMembers().filter(({ id }) => !noRoom.has(id));
      const missing = Math.min(DROPLET_HOLDERS_WANTED, others.length + 1) - holders.length;
      // The order spreads droplets over the nodes; those that are full or failed make room for the next.
      const asked = others
        .filter(({ id }) => !holders.includes(id))
        .sort((a, b) => rendezvousWeight(digest, b.id) - rendezvousWeight(digest, a.id))
        .sort((a, b) => Number(!hasDiskRoom(a.report)) - Number(!hasDiskRoom(b.report)))
        .sort((a, b) => Number(failures.has(a.id)) - Number(failures.has(b.id)))
        .slice(0, Math.max(0, missing))
        .map(({ id }) => id);
      if (asked.length === 0) break;
      if (asked.some((node) => failures.has(node))) {
        if (performance.now() >= deadlineMs) throw this.#notReplicated(holders, missing, failures);
        await new Promise((resolve) => setTimeout(resolve, HOLD_RETRY_MS));
      }
      const answers = await Promise.allSettled(asked.map((node) => gossip.request(node, HOLD_BLOB, payload)));
      for (const [index, answer] of answers.entries()) {
        const node = asked[index]!;
        if (answer.status === 'fulfilled') holders.push(node);
        else {
          const { code, message } = answer.reason as Error & { code?: unknown };
          (NO_ROOM_CODES.includes(code) ? noRoom : failures).set(node, message);
        }
      }
    }
    if (failures.size > 0) log.warn('droplet.replication_retried', { digest, failures: [...failures.values()] });
    const short = holders.length < DROPLET_HOLDERS_WANTED;
    return { holders, withoutRoom: short ? [...noRoom].map(([node, reason]) => ({ node, reason })) : [] };
  }

  #notReplicated(holders: NodeId[], missing: number, failures: Map<NodeId, string>): ReplicationError {
    const why = [...failures].map(([node, message]) => `${this.#parts.known.nameOf(node)}: ${message}`).join('; ');
    return new ReplicationError(
      `the droplet reached ${holders.length} of ${holders.length + missing} nodes (${why}): see peer nodes, then push again`,
    );
  }

  createInvite: NodeService['createInvite'] = (options, by) => this.#parts.createInvite(options, by);

  logs(app: AppId, options: { lines: number; follow: boolean; signal: AbortSignal }): AsyncIterable<LogLine> {
    return this.#parts.reader.logs(app, options);
  }

  events(options: { app?: AppId; lines: number; follow: boolean; signal: AbortSignal }): AsyncIterable<RecordedEvent> {
    return this.#parts.reader.events(options);
  }

  blobUsage(): BlobUsage {
    return this.#parts.budget.usage();
  }

  usage: NodeService['usage'] = (app) => this.#parts.usage.usage(app);

  kinds = (): readonly KindInfo[] => this.#parts.kinds;

  serviceStatus: NodeService['serviceStatus'] = (service) => this.#parts.data.serviceStatus(service);

  volumeStatus: NodeService['volumeStatus'] = (volume) => this.#parts.data.volumeStatus(volume);

  exportAccess: NodeService['exportAccess'] = (service) => this.#parts.exportAccess(service);
  exportDoor: NodeService['exportDoor'] = (...asks) => this.#parts.data.exportDoor(...asks);
  openSession: NodeService['openSession'] = (request, io) => this.#parts.sessions.open(request, io);
  openServiceSession: NodeService['openServiceSession'] = (...asks) => this.#parts.serviceSessions.open(...asks);
  openServiceTunnel: NodeService['openServiceTunnel'] = (...asks) => this.#parts.serviceSessions.tunnel(...asks);

  explain(slot: Slot): SlotExplanation {
    return explainSlot(this.view(), this.#parts.candidates(), slot);
  }

  whatIf(without: NodeId[]): WhatIf {
    return whatIf(this.view(), this.#parts.candidates(), without);
  }

  async restartSlot(slot: Slot): Promise<void> {
    const key = slotKey(slot);
    const owners = this.observed().members.filter(
      (member) =>
        (member.status === 'alive' || member.status === 'suspect') &&
        member.report?.instances.some((instance) => slotKey(instance) === key && instance.state !== 'stopping'),
    );
    await Promise.all(
      owners.map(async ({ id }) => {
        if (id === this.self.id) this.#parts.restartSlotHere(slot);
        else await this.#parts.gossip.request(id, RESTART_SLOT, slot);
      }),
    );
  }

  async shutdown(options: { leave: boolean }): Promise<void> {
    this.#parts.shutdown(options);
  }

  /**
   * What this node has run out of, of what storing or staging needs. Nothing is refused for what was so a while ago.
   */
  async #exhausted(): Promise<Pressure[]> {
    const known = (): Pressure[] => {
      const own = this.observed().members.find(({ id }) => id === this.self.id)?.report;
      return fullOf(own ?? {}).filter(({ resource }) => resource !== 'starts');
    };
    if (known().length > 0) await this.#parts.resources.look();
    return known();
  }

  /** Fails with NoRoomError when this node is full, naming what is, and who has room. */
  async #expectRoom(refuses: string): Promise<void> {
    const [first] = await this.#exhausted();
    if (first === undefined) return;
    const roomy = this.observed()
      .members.filter(({ id, status, report }) => {
        if (id === this.self.id || (status !== 'alive' && status !== 'suspect')) return false;
        return report !== undefined && fullOf(report).length === 0;
      })
      .map(({ id }) => this.#parts.known.nameOf(id))
      .slice(0, NODES_NAMED_MAX);
    const elsewhere = roomy.length === 0 ? 'no other node has room' : `push to ${roomy.join(' or ')} (--api URL)`;
    const { name } = this.self;
    const advice = pressureAdvice(first, name);
    throw new NoRoomError(`${name} ${pressureText(first)}, so it ${refuses}: ${elsewhere}, or ${advice}`);
  }

  /** Failures are passed on, and looked at. */
  async #watched<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      this.#parts.resources.failed(error);
      throw error;
    }
  }

  /** What is pushed to a full node is refused before any of it travels. */
  #guarded(sources: PushSources): PushSources {
    return {
      missing: async (...question) => {
        await this.#expectRoom('takes no push');
        return this.#watched(sources.missing(...question));
      },
      take: (...chunks) => this.#watched(sources.take(...chunks)),
      assemble: (...list) => this.#watched(sources.assemble(...list)),
      read: (digest) => sources.read(digest),
    };
  }

  async #holdBlob(
    { digest, sizeBytes }: { digest: Digest; sizeBytes: number },
    from: NodeId,
    signal: AbortSignal,
  ): Promise<{ held: true }> {
    const { blobs, exchange } = this.#parts;
    if (!blobs.has(digest)) {
      const full = (await this.#exhausted()).find((one) => !hasDiskRoom({ pressure: [one] }));
      if (full !== undefined) throw new NoRoomError(pressureText(full));
      const room = this.#parts.budget.room();
      await this.#watched(exchange.fetch(digest, { sizeBytesMax: sizeBytes, holders: [from], room, signal }));
    }
    return { held: true };
  }
}
