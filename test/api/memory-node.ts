// A NodeService that lives in memory: the real rules and view of the desired state, and a scripted cluster below them.
// Every slot is filled at once by an instance in the state that the test asks for.

import { createHash, randomUUID } from 'node:crypto';
import { type Duplex, Readable } from 'node:stream';
import type { ChangeAuthor, NamedChange } from '../../crdt/change.ts';
import { applyChange } from '../../crdt/changes.ts';
import { plainCopy } from '../../crdt/draft.ts';
import {
  type AppId,
  asAppId,
  asClusterId,
  asDigest,
  asInstanceId,
  asNodeId,
  type Digest,
  type NodeId,
  type ServiceId,
  type VolumeId,
} from '../../crdt/ids.ts';
import { readView } from '../../crdt/read.ts';
import type { DesiredDoc, Role } from '../../crdt/schema.ts';
import { bindingContext } from '../../crdt/sealed.ts';
import type { AppView, DesiredView } from '../../crdt/view.ts';
import { openChunk } from '../../node/blobs/chunk-codec.ts';
import { ChunkFrames } from '../../node/blobs/chunk-frames.ts';
import { BlobError } from '../../node/blobs/errors.ts';
import type { ReportedCandidate } from '../../node/core/candidates.ts';
import { explainSlot, type SlotExplanation, type WhatIf, whatIf } from '../../node/core/explain.ts';
import { fullOf, type Pressure } from '../../node/core/pressure.ts';
import { slotsOf } from '../../node/core/slots.ts';
import type { InstanceReport, InstanceState, Report, Slot } from '../../node/core/types.ts';
import type { Log } from '../../node/lib/log.ts';
import type { PushSources } from '../../node/ports/blobs.ts';
import type { DuplexHandler, DuplexRequests } from '../../node/ports/gossip.ts';
import type { LogLine } from '../../node/ports/logs.ts';
import type {
  DropletCopies,
  MemberView,
  NodeService,
  ObservedView,
  RecordedEvent,
} from '../../node/ports/node-service.ts';
import type { InstanceUsage } from '../../node/ports/runtime.ts';
import type { KindInfo, ServiceStatus, VolumeStatus } from '../../node/ports/services-desk.ts';
import type { StagedDroplet, StageRequest } from '../../node/ports/staging.ts';
import { Keyring } from '../../node/secrets/keyring.ts';
import { newKeyFor } from '../../node/secrets/new-key.ts';
import { sealChanges } from '../../node/secrets/seal-changes.ts';
import { ServiceSessions } from '../../node/sessions/service-sessions.ts';
import { Sessions } from '../../node/sessions/sessions.ts';
import { ENGINES, KINDS } from './data-fixtures.ts';
import { MemoryBackups } from './memory-backups.ts';
import { MemoryVolumes } from './memory-volumes.ts';
import { PlainRunner } from './plain-runner.ts';

export const tokenOf = (role: Role): string =>
  `peer_${createHash('sha256').update(`the ${role} of the tests`).digest('hex')}`;
const hashOf = (token: string): string => createHash('sha256').update(token).digest('hex');

export const NODE_MEMORY_BYTES = 1024 ** 3;

/** How long sessions of services may be idle, and how often they are looked at. */
export type SessionTimes = { beatMs?: number; idleMsMax?: number };

export class StagingFailure extends Error {
  override readonly name = 'StagingError';
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export class MemoryNode implements NodeService {
  readonly cluster = asClusterId('0123456789abcdef0123456789abcdef');
  readonly self: NodeService['self'];
  /** State that a new instance takes, by slot and release version. */
  fate: (slot: Slot, version: number) => { state: InstanceState; reason?: string } = () => ({ state: 'ready' });
  /** Runs after the source was read; throw to fail the staging. */
  onStage: (request: StageRequest, sourceBytes: number) => Promise<void> | void = (request) =>
    request.onLine('-----> Sample buildpack');
  processes: Record<string, string> = { web: './start' };
  /** What an instance uses; the processor as often as its index says. */
  used: { memoryBytes: number; cpu: number } | undefined;
  stagedStack = 'debian12';
  /** By name of the node. */
  readonly pressures = new Map<string, Pressure[]>();
  /** Engines of a node, by its name; those of ENGINES where nothing is said. */
  readonly engines = new Map<string, string[]>();
  /** What the node of a service says; by default that it has every access. */
  onServiceStatus: (service: ServiceId) => Promise<ServiceStatus | undefined> = async (service) => ({
    bindings: [
      ...[...this.#view.bindings.values()].filter((one) => one.service === service).map(({ id }) => id),
      ...[this.#view.services.get(service)?.export?.id ?? []].flat(),
    ],
    connections: 3,
    usedBytes: 40 * 1024 ** 2,
  });
  /** Nodes that take no copy of a droplet. */
  withoutRoom: DropletCopies['withoutRoom'] = [];
  /** Set where no node can give a volume a disk of its own. */
  withoutHardQuotas = false;
  /** Set to make the next pushes images. */
  stagedImage: { id: string; ref: string } | undefined;
  /** Folders that they declare as volumes. */
  stagedImageVolumes: string[] = [];
  /** Set to make the next calls fail with it. */
  failWrites: Error | undefined;
  readonly writes: { changes: NamedChange[]; by: string }[] = [];
  readonly staged: StageRequest['app'][] = [];
  readonly shutdowns: { leave: boolean }[] = [];
  readonly logged: LogLine[] = [];
  readonly recorded: RecordedEvent[] = [];
  onShutdown: () => void = () => {};
  #doc: DesiredDoc;
  #view: DesiredView;
  #nodes: { id: NodeId; name: string; status: MemberView['status']; instances: InstanceReport[] }[] = [];
  #listeners = new Set<() => void>();
  #lineListeners = new Set<(line: LogLine) => void>();
  #counter = 0;
  readonly runner = new PlainRunner();
  readonly #sessions: Sessions;
  readonly #serviceSessions: ServiceSessions;
  /** Those whom a service lets in beside what is bound, by their users. */
  readonly guests = new Map<string, string>();
  /** Where connections to services lead. */
  onOpenService: (service: ServiceId) => Promise<Duplex> = async () => {
    throw new Error('no service is there');
  };
  readonly #sessionTimes: SessionTimes;
  readonly volumes = new MemoryVolumes(this);
  /** Lineages that each instance mounts. */
  readonly #mounted = new Map<string, string>();
  /** The real one: what is written is sealed. */
  readonly secrets: Keyring;
  readonly backups: MemoryBackups;

  constructor(options: { nodes?: string[]; pid?: number; dataDir?: string; sessionTimes?: SessionTimes } = {}) {
    const names = options.nodes ?? ['alpha', 'beta'];
    this.#sessionTimes = options.sessionTimes ?? {};
    this.#doc = {
      schemaVersion: 1,
      cluster: { id: this.cluster, name: 'tests', domain: 'localhost', createdAtMs: 0 },
      nodes: {},
      users: {},
      invites: {},
      apps: {},
      routes: {},
      removedNodes: {},
      volumes: {},
      services: {},
      bindings: {},
      keys: {},
    };
    const author = { by: 'tests', atMs: 1_700_000_000_000 };
    for (const name of names) {
      const id = asNodeId(`12D3KooW${name}`);
      this.#nodes.push({ id, name, status: 'alive', instances: [] });
      this.#apply({ change: 'admitNode', node: id, name }, author);
    }
    for (const role of ['admin', 'developer', 'viewer'] as const) {
      this.#apply({ change: 'addUser', name: `the-${role}`, role, tokenHash: hashOf(tokenOf(role)) }, author);
    }
    this.#view = readView(this.#doc);
    const { id: self } = this.#nodes[0]!;
    this.secrets = new Keyring({ self, seed: new Uint8Array(32), view: () => this.#view });
    const { sealKey } = this.secrets;
    this.#apply({ change: 'admitNode', node: self, name: names[0]!, sealKey }, author);
    this.#apply(newKeyFor([{ id: self, sealKey }]), author);
    this.#view = readView(this.#doc);
    this.self = {
      id: self,
      name: names[0]!,
      version: '0.0.0-test',
      pid: options.pid ?? process.pid,
      dataDir: options.dataDir ?? '/nowhere',
    };
    this.backups = new MemoryBackups({
      serviceOf: (id) => this.#view.services.get(id),
      isReady: (id) => this.instances(asAppId(id)).some((one) => one.state === 'ready'),
      holders: this.#nodes.map((node) => node.id),
      write: (...asks) => this.write(...asks),
    });
    // Every node of this cluster is this one.
    const local = new Map<string, DuplexHandler<never>>();
    const duplex: DuplexRequests = {
      handleDuplex: ({ name }, handler) => void local.set(name, handler as never),
      requestDuplex: (_node, { name }, payload, { input, signal }) =>
        local.get(name)!(payload as never, this.self.id, input, signal),
    };
    this.#serviceSessions = this.#makeServiceSessions(duplex);
    this.#sessions = new Sessions({
      self: this.self,
      runner: this.runner,
      duplex,
      logs: { append: (line) => void this.logged.push({ ...line, node: this.self.id, atMs: 1_700_000_000_000 }) },
      log: memoryLog(),
      view: () => this.#view,
      environmentOf: (app, own) => ({ env: this.secrets.openEnv(app, own), hosts: [] }),
      candidates: () => this.#candidates(),
      holds: () => true,
      fetchBlob: async () => {},
      record: (event) => void this.recorded.push({ ...event, node: this.self.id, atMs: 1_700_000_000_000 }),
    });
  }

  #makeServiceSessions(duplex: DuplexRequests): ServiceSessions {
    return new ServiceSessions({
      self: this.self,
      duplex,
      guests: {
        admit: async (service, whom) => {
          const user = `guest${this.guests.size + 1}`;
          this.guests.set(user, whom);
          return { user, password: 'letters', database: this.#view.services.get(service)!.name };
        },
        dismiss: (_service, user) => void this.guests.delete(user),
      },
      view: () => this.#view,
      nodeOf: () => this.self.id,
      openService: (service) => this.onOpenService(service),
      record: (event) => void this.recorded.push({ ...event, node: this.self.id, atMs: 1_700_000_000_000 }),
      log: memoryLog(),
      ...this.#sessionTimes,
    });
  }

  #apply(change: NamedChange, author: ChangeAuthor): void {
    applyChange(this.#doc, change, author);
  }

  view(): DesiredView {
    return this.#view;
  }

  observed(): ObservedView {
    return {
      members: this.#nodes.map((node) => ({
        id: node.id,
        name: node.name,
        status: node.status,
        draining: this.#view.nodes.get(node.id)?.draining ?? false,
        report: this.#reportOf(node),
        reportAgeMs: 5,
      })),
    };
  }

  #reportOf(node: { id: NodeId; name: string; instances: InstanceReport[] }): Report {
    return {
      node: node.id,
      incarnation: 1,
      sequence: 1,
      name: node.name,
      status: 'alive',
      version: '0.0.0-test',
      addresses: [`/ip4/10.0.0.1/tcp/7601/p2p/${node.id}`],
      link: '10.0.0.1:7602',
      api: '127.0.0.1:7600',
      http: '10.0.0.1:8080',
      arch: 'x64',
      stacks: ['debian12'],
      runtimes: this.stagedImage === undefined ? ['process'] : ['docker'],
      services: this.engines.get(node.name) ?? ENGINES,
      hardQuota: !this.withoutHardQuotas,
      labels: {},
      pressure: this.pressures.get(node.name) ?? [],
      disk: { freeBytes: 1024 ** 3, totalBytes: 4 * 1024 ** 3 },
      memoryBytes: NODE_MEMORY_BYTES,
      load: 0.25,
      instances: node.instances,
      droplets: [],
      heads: [],
    };
  }

  async write(changes: NamedChange[], by: string): Promise<{ heldBy: NodeId[] }> {
    if (this.failWrites !== undefined) throw this.failWrites;
    const before = this.#doc;
    this.#doc = plainCopy(before) as DesiredDoc;
    try {
      for (const change of sealChanges(changes, this.#view, this.secrets))
        this.#apply(change, { by, atMs: Date.now() });
    } catch (error) {
      this.#doc = before;
      throw error;
    }
    this.writes.push({ changes, by });
    this.#view = readView(this.#doc);
    this.reconcile();
    return { heldBy: this.#nodes.map((node) => node.id) };
  }

  /** The environment of an app or of its release, by the app's name, as it was set. */
  envOf(name: string, of: 'app' | 'release' = 'app'): Record<string, string> {
    const app = [...this.#view.apps.values()].find((one) => one.name === name)!;
    return { ...this.secrets.openEnv(app.id, of === 'app' ? app.env : app.release!.env) };
  }

  /** What another side of a partition wrote arrives: no rule is asked. */
  arrive(edit: (doc: DesiredDoc) => void): void {
    this.#doc = plainCopy(this.#doc) as DesiredDoc;
    edit(this.#doc);
    this.#view = readView(this.#doc);
    this.reconcile();
  }

  /** Fills every slot at once, and tells the listeners in a later turn, as the real one does. */
  reconcile(): void {
    const wanted = new Map<string, { app: AppView; slot: Slot }>();
    for (const app of this.#view.workloads.values()) {
      for (const slot of slotsOf(app)) wanted.set(`${slot.app}/${slot.process}/${slot.index}`, { app, slot });
    }
    for (const node of this.#nodes) {
      node.instances = node.instances.filter((instance) => {
        const app = wanted.get(`${instance.app}/${instance.process}/${instance.index}`)?.app;
        const pin = app === undefined ? undefined : pinOf(app, instance);
        const isHere = pin === undefined || pin === node.id;
        if (app !== undefined && this.#mounted.get(instance.id) !== lineagesOf(app, instance)) return false;
        return isHere && instance.release === app?.release?.id && instance.restartCount >= (app?.restartCount ?? 0);
      });
    }
    for (const { app, slot } of wanted.values()) {
      const filled = this.#nodes.some((node) =>
        node.instances.some((one) => one.app === slot.app && one.process === slot.process && one.index === slot.index),
      );
      if (!filled) this.#start(app, slot);
    }
    this.changed();
  }

  #start(app: AppView, slot: Slot): void {
    const isFull = (name: string): boolean => fullOf({ pressure: this.pressures.get(name) ?? [] }).length > 0;
    const alive = this.#nodes.filter((node) => node.status === 'alive' && !isFull(node.name));
    const pin = pinOf(app, slot);
    const node = pin === undefined ? alive[slot.index % alive.length] : alive.find(({ id }) => id === pin);
    if (node === undefined || app.memoryBytes > NODE_MEMORY_BYTES) return;
    const fate = this.fate(slot, app.release!.version);
    this.#counter++;
    const id = asInstanceId(`${node.name}-1-${this.#counter}`);
    this.#mounted.set(id, lineagesOf(app, slot));
    node.instances.push({
      id,
      app: app.id,
      process: slot.process,
      index: slot.index,
      release: app.release!.id,
      restartCount: app.restartCount,
      state: fate.state,
      sinceMs: 10,
      crashes: fate.state === 'crashed' ? 3 : 0,
      memoryBytes: app.memoryBytes,
      port: 30_000 + this.#counter,
      ...(fate.reason === undefined ? {} : { reason: fate.reason }),
    });
  }

  changed(): void {
    setImmediate(() => {
      for (const listener of this.#listeners) listener();
    });
  }

  /** Every instance of the app, to be edited in place; call changed() afterwards. */
  instances(app: AppId): InstanceReport[] {
    return this.#nodes.flatMap((node) => node.instances.filter((instance) => instance.app === app));
  }

  setStatus(name: string, status: MemberView['status']): void {
    for (const node of this.#nodes) if (node.name === name) node.status = status;
    this.changed();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  listenersCount(): number {
    return this.#listeners.size + this.#lineListeners.size;
  }

  async keepBuildpack(name: string, source: AsyncIterable<Uint8Array>): Promise<string> {
    const hash = createHash('sha256');
    for await (const chunk of source) hash.update(chunk);
    return `upload:sha256:${hash.digest('hex')}:${name}`;
  }

  /** Chunks as they were sent, by hash; a source is the chunks that its list names. */
  readonly chunks = new Map<string, Buffer>();
  readonly #sources = new Map<Digest, Buffer>();
  readonly sources: PushSources = {
    missing: async (_app, hashes) => {
      const keys = Array.from({ length: hashes.length / 32 }, (_, at) =>
        Buffer.from(hashes.subarray(at * 32, at * 32 + 32)).toString('hex'),
      );
      return keys.flatMap((key, at) => (this.chunks.has(key) ? [] : [at]));
    },
    take: async (source) => {
      const frames = new ChunkFrames();
      for await (const bytes of source) {
        for (const { hash, bytes: size, stored } of frames.read(bytes)) {
          this.chunks.set(hash.toString('hex'), Buffer.from(openChunk(stored, { hash, bytes: size })!));
        }
      }
      frames.end();
    },
    assemble: async (_app, list) => {
      const parts: Buffer[] = [];
      for (let at = 0; at < list.length; at += 36) {
        const part = this.chunks.get(Buffer.from(list.subarray(at, at + 32)).toString('hex'));
        if (part === undefined) throw new BlobError('not_held', 'part of the upload is not on this node any more');
        parts.push(part);
      }
      const source = Buffer.concat(parts);
      const digest = asDigest(`sha256:${createHash('sha256').update(list).digest('hex')}`);
      this.#sources.set(digest, source);
      return { digest, sizeBytes: source.length };
    },
    read: (digest) => Readable.from([this.#sources.get(digest)!]),
  };

  async stage(request: StageRequest): Promise<StagedDroplet> {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of request.source) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    await this.onStage(request, bytes);
    this.staged.push(request.app);
    return {
      digest: asDigest(`sha256:${hash.digest('hex')}`),
      sizeBytes: bytes,
      stack: this.stagedStack,
      ...(this.stagedImage === undefined ? {} : { image: this.stagedImage, imageVolumes: this.stagedImageVolumes }),
      buildpack: request.buildpacks[0] ?? 'sample',
      processes: { ...this.processes },
    };
  }

  kinds(): readonly KindInfo[] {
    return KINDS;
  }

  serviceStatus(service: ServiceId): Promise<ServiceStatus | undefined> {
    return this.onServiceStatus(service);
  }

  async volumeStatus(volume: VolumeId): Promise<VolumeStatus | undefined> {
    return { path: `/var/lib/peer/volumes/${volume}`, usedBytes: 10 * 1024 ** 2 };
  }

  blobUsage() {
    return { usedBytes: 3 * 1024 ** 2, budgetBytes: 10 * 1024 ** 3 };
  }

  async usage(app: AppId): Promise<InstanceUsage[]> {
    const instances = this.observed().members.flatMap(({ report }) => report?.instances ?? []);
    return instances
      .filter((one) => one.app === app)
      .flatMap(({ id, index }) => (this.used === undefined ? [] : [{ ...this.used, id, cpu: this.used.cpu * index }]));
  }

  async replicateDroplet(_digest: Digest): Promise<DropletCopies> {
    return { holders: this.#nodes.map((node) => node.id), withoutRoom: this.withoutRoom };
  }

  async createInvite(options: { ttlMs: number; uses: number }, by: string) {
    const expiresAtMs = Date.now() + options.ttlMs;
    await this.write(
      [{ change: 'createInvite', id: randomUUID(), secretHash: hashOf('x'), expiresAtMs, usesMax: options.uses }],
      by,
    );
    return { invite: `peer-invite-${options.uses}`, expiresAtMs };
  }

  say(app: AppId, text: string): void {
    const line: LogLine = {
      atMs: 1_700_000_000_000,
      app,
      source: 'APP',
      process: 'web',
      index: 0,
      node: this.self.id,
      stream: 'out',
      text,
    };
    this.logged.push(line);
    for (const listener of this.#lineListeners) listener(line);
  }

  async *logs(app: AppId, options: { lines: number; follow: boolean; signal: AbortSignal }): AsyncGenerator<LogLine> {
    const own = this.logged.filter((line) => line.app === app);
    yield* own.slice(Math.max(0, own.length - options.lines));
    if (!options.follow) return;
    const waiting: LogLine[] = [];
    let wake = () => {};
    const listener = (line: LogLine) => {
      if (line.app === app) waiting.push(line);
      wake();
    };
    this.#lineListeners.add(listener);
    try {
      while (!options.signal.aborted) {
        const line = waiting.shift();
        if (line !== undefined) yield line;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
            options.signal.addEventListener('abort', () => resolve(), { once: true });
          });
        }
      }
    } finally {
      this.#lineListeners.delete(listener);
    }
  }

  async *events(options: { app?: AppId; lines: number }): AsyncGenerator<RecordedEvent> {
    const own = this.recorded.filter((event) => options.app === undefined || event.app === options.app);
    yield* own.slice(Math.max(0, own.length - options.lines));
  }

  /** What the real rules say of this scripted cluster. */
  explain(slot: Slot): SlotExplanation {
    return explainSlot(this.#view, this.#candidates(), slot);
  }

  whatIf(without: NodeId[]): WhatIf {
    return whatIf(this.#view, this.#candidates(), without);
  }

  #candidates(): ReportedCandidate[] {
    return this.observed().members.flatMap(({ id, status, draining, report }) =>
      report === undefined || status === 'dead' || status === 'left'
        ? []
        : [{ node: id, status, draining, report, labels: {}, freeBytes: report.memoryBytes }],
    );
  }

  /** Commands run for real, as plain processes of this machine. */
  /** What nodes say of addresses that services are to be exported at. */
  onExportDoor: NodeService['exportDoor'] = async (_node, service) => ({
    isOpen: this.#view.services.get(service)?.export !== undefined,
  });
  exportDoor: NodeService['exportDoor'] = (...asks) => this.onExportDoor(...asks);
  exportAccess: NodeService['exportAccess'] = (id) => {
    const { name, export: exported } = this.#view.services.get(id)!;
    const password = this.secrets.open(bindingContext(exported!.id), exported!.secret);
    return { user: 'exported', password, database: name, certificate: 'PEM\n', fingerprint: 'ab'.repeat(32) };
  };
  openSession: NodeService['openSession'] = (request, io) => this.#sessions.open(request, io);
  openServiceSession: NodeService['openServiceSession'] = (...asks) => this.#serviceSessions.open(...asks);
  openServiceTunnel: NodeService['openServiceTunnel'] = (...asks) => this.#serviceSessions.tunnel(...asks);

  async restartSlot(slot: Slot): Promise<void> {
    for (const node of this.#nodes) {
      node.instances = node.instances.filter(
        (one) => one.app !== slot.app || one.process !== slot.process || one.index !== slot.index,
      );
    }
    this.reconcile();
  }

  async shutdown(options: { leave: boolean }): Promise<void> {
    this.shutdowns.push(options);
    this.onShutdown();
  }
}

const lineagesOf = (app: AppView, { process, index }: Slot | InstanceReport): string =>
  app.volumes
    .filter((one) => one.process === process && one.index === index)
    .map(({ lineage }) => lineage)
    .join();

/** Where the slot's data is, if it has any. */
const pinOf = (app: AppView, slot: Pick<Slot, 'process' | 'index'>): NodeId | undefined =>
  app.volumes.find(({ process, index }) => process === slot.process && index === slot.index)?.node;

/** A log that remembers. */
export function memoryLog(): Log & { entries: { level: string; event: string; fields: object }[] } {
  const entries: { level: string; event: string; fields: object }[] = [];
  const at =
    (level: string) =>
    (event: string, fields: object = {}) => {
      entries.push({ level, event, fields });
    };
  return { entries, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}
