// Ports: what the agent, the API and the edges ask of one another. Types only; each says what it guarantees and how it
// fails. Edges implement these and never import one another; main.ts wires them together.

import type { Readable, Writable } from 'node:stream';
import type { NamedChange } from '../crdt/change.ts';
import type { AppId, ClusterId, Digest, InstanceId, NodeId, ReleaseId } from '../crdt/ids.ts';
import type { DesiredView, ImageView } from '../crdt/view.ts';
import type { SlotExplanation, WhatIf } from './core/explain.ts';
import type { Resource } from './core/pressure.ts';
import type {
  AdoptedInstance,
  ClusterEvent,
  InstanceSpec,
  MemberStatus,
  MembershipMessage,
  Report,
  RouteTable,
  Slot,
} from './core/types.ts';

/** Structured log of the daemon itself: the event's name first. Never pass secrets. */
export type Log = {
  debug(event: string, fields?: object): void;
  info(event: string, fields?: object): void;
  warn(event: string, fields?: object): void;
  error(event: string, fields?: object): void;
};

// ---------------------------------------------------------------- runtime (node/runtime)

export type RuntimeEvent =
  /** `host`: as in LocalUpstream. */
  | { type: 'instanceLaunched'; id: InstanceId; port: number | undefined; host?: string }
  | { type: 'instanceReady'; id: InstanceId }
  | { type: 'instanceUnhealthy'; id: InstanceId; reason: string }
  /** `lacks`: what the node ran out of, when that may be why it did not start. */
  | { type: 'instanceExited'; id: InstanceId; reason: string; lacks?: Resource };

/**
 * Runs instances. `start` and `stop` return at once; what became of them arrives as events, in order per instance:
 * launched, then any of ready/unhealthy, then exactly one exited. An instance that is not healthy within its health
 * timeout is ended by the runtime and reported as exited with the reason.
 */
export interface Runtime {
  readonly kind: 'process' | 'docker';
  readonly stacks: readonly string[];
  /** Undefined: it runs droplets only. */
  readonly images?: Images;
  onEvent(listener: (event: RuntimeEvent) => void): void;
  /** Finds what an earlier daemon on this data directory left running, resumes its logs and health checks, removes leftovers of the rest. Called once, before start. */
  adopt(): Promise<AdoptedInstance[]>;
  /** The droplet must be held locally. */
  start(spec: InstanceSpec): void;
  /** TERM, STOP_GRACE_MS, KILL of everything the instance started. Harmless when it is unknown or already stopping. */
  stop(id: InstanceId, reason: string): void;
  /** Says which of the machine's ports instances reach; none before that. Missing where their networks are not of this runtime's making. */
  setMachinePorts?(ports: MachinePorts): Promise<void>;
  /** Resolves when watchers are closed; with keepInstances they run on, to be adopted; otherwise all have been stopped. */
  close(options: { keepInstances: boolean }): Promise<void>;
}

/** TCP ports of this machine: what instances reach of it, and what they do not even where its address is allowed. */
export type MachinePorts = { open: readonly number[]; closed: readonly number[] };

/** Characters, as the terminal of whoever attends shows them. */
export type TerminalSize = { columns: number; rows: number };

export type AttendedCommand = {
  /** Empty: the shell that is there, bash before sh. */
  argv: readonly string[];
  /** With a terminal of this size; without one, pipes. */
  terminal?: TerminalSize;
};

/** How a command ended. `code` follows the shell: 128 + number of the signal. `reason` when the platform ended it: out of memory, the node stops. */
export type CommandExit = { code: number; reason?: string };

/** A command that someone attends to from its start to its end. What is not read or written holds the command back, never the daemon's memory. */
export interface Attended {
  /** Ending it lets the command read end-of-file. Takes no more, without an error, once the command reads no more. */
  readonly stdin: Writable;
  /** With a terminal all output comes here. Ends at the latest shortly after the command. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Harmless without a terminal and after the end. */
  resize(size: TerminalSize): void;
  /** KILLs the command and all that it started. Harmless when it has ended. */
  end(reason: string): void;
  /** Resolves when nothing of it is left. Never rejects. */
  readonly exited: Promise<CommandExit>;
}

/** A run of an app's droplet or image that fills no slot: without port, health check and second try. */
export type TaskSpec = {
  /** Unique among instances and tasks, and in the same alphabet. */
  id: InstanceId;
  app: { id: AppId; name: string };
  /** What its logs and its people call it. */
  name: string;
  release: { id: ReleaseId; version: number };
  droplet: { digest: Digest; sizeBytes: number; stack: string };
  /** The droplet is the archive of this image: the command is one of its programs, with its environment and folder. */
  image?: ImageView;
  env: Readonly<Record<string, string>>;
  memoryBytes: number;
  diskBytes: number;
  uris: string[];
};

/** The part of a runtime that runs what people ask for at once. Both fail with an error with a `code`, and then leave nothing behind. */
export interface CommandRunner {
  /**
   * In a running instance: its files, processes, network, environment, user and limits. Fails with `not_running`. The
   * command ends with the instance, and never outlives the daemon.
   */
  exec(id: InstanceId, command: AttendedCommand): Promise<Attended>;
  /**
   * In a sandbox of its own, isolated and limited like an instance. The droplet must be held locally. An empty argv is a
   * shell here too. When it has exited nothing of it is left; it never outlives the daemon.
   */
  runTask(task: TaskSpec, command: AttendedCommand): Promise<Attended>;
}

/** What an instance uses now. What could not be measured is missing. */
export type InstanceUsage = {
  id: InstanceId;
  /** Without what the kernel would drop of cached files. */
  memoryBytes?: number;
  /** Processors kept busy since the look before, a quarter of a second ago or up to a minute: 1 is one of them. */
  cpu?: number;
  diskBytes?: number;
};

/** The part of a runtime that tells what its instances use. */
export interface UsageMeter {
  /** Of the app's instances that run here. Costs nothing while nobody asks, and no more when many do. */
  usage(app: AppId): Promise<InstanceUsage[]>;
}

/** Images of the node's container engine, as releases: each is a blob with its archive. Fail with RuntimeError. */
export interface Images {
  /** One that the engine holds. */
  pack(request: { ref: string; signal: AbortSignal }): Promise<StagedDroplet>;
  /** From the Dockerfile of a folder; `source`: its tar, compressed or not; not trusted. */
  build(request: {
    app: AppId;
    source: AsyncIterable<Uint8Array>;
    onLine: (text: string) => void;
    signal: AbortSignal;
    timeoutMs?: number;
  }): Promise<StagedDroplet>;
}

/** One path made visible inside a sandbox. `from` is on the host. */
export type Bind = { from: string; to: string; writable: boolean };

export type SandboxRun = {
  /** Used for the cgroup and in messages; unique among running ones: letters, digits, dashes. */
  name: string;
  argv: string[];
  /** Inside the sandbox. */
  cwd: string;
  env: Record<string, string>;
  binds: Bind[];
  memoryBytes: number;
  pidsMax: number;
  /** Absent: the public internet and the machine's name servers, and what `reach` names. */
  network?: 'none';
  /** URLs that the daemon's own settings name, and that may lead to private addresses: proxies and registries. */
  reach?: readonly string[];
  timeoutMs: number;
  stdin?: NodeJS.ReadableStream;
  /** Called with raw output as it comes; the runner pauses the command while the promise is pending. Already bounded: after outputBytesMax the rest is dropped and `truncated` is set. */
  onOutput?: (chunk: Buffer, stream: 'out' | 'err') => void | Promise<void>;
  outputBytesMax: number;
  signal?: AbortSignal;
};

/** How a sandboxed command ended. */
export type SandboxResult = {
  code: number | null;
  signal: string | null;
  timedOut: boolean;
  outOfMemory: boolean;
  aborted: boolean;
  truncated: boolean;
};

/** Runs one command to its end as an unprivileged user, isolated like an instance. Everything it started is gone when it resolves. */
export interface Sandbox {
  run(run: SandboxRun): Promise<SandboxResult>;
  /**
   * Whether the sandbox's user is another than the daemon's. Then what runs inside cannot exchange a folder that it was
   * given for a link: the one above stays the daemon's.
   */
  readonly ownUser: boolean;
  /** Makes the directories and all in them belong to the sandbox's user. */
  giveTo(...paths: string[]): Promise<void>;
}

// ---------------------------------------------------------------- logs (node/runtime)

export type LogLine = {
  /** Unix ms of the node that wrote it. */
  atMs: number;
  app: AppId;
  /** APP: the app itself; STG: staging; CELL: the platform about an instance (started, crashed: why). */
  source: 'APP' | 'STG' | 'CELL';
  process?: string;
  index?: number;
  instance?: InstanceId;
  node: NodeId;
  stream: 'out' | 'err';
  /** Without the newline; cut at LOG_LINE_BYTES_MAX. */
  text: string;
};

export interface LogStore {
  append(line: Omit<LogLine, 'node' | 'atMs'>): void;
  /** Last `lines` lines of the app held on this node, oldest first; fewer when they are so long that no reply would hold them. */
  tail(app: AppId, lines: number): Promise<LogLine[]>;
  /** Lines of the app from now on; a reader that is too slow loses the oldest. */
  follow(app: AppId, listener: (line: LogLine) => void): () => void;
  /** Every app that has logs on this node. */
  apps(): Promise<AppId[]>;
  /** Deletes the app's logs. */
  remove(app: AppId): Promise<void>;
}

// ---------------------------------------------------------------- blobs (node/blobs)

/** Bytes `from` to before `to` of a blob that this node holds. */
export type BlobRange = { digest: Digest; from: number; to: number };

/**
 * Content of this node, named by a digest that it can be checked against. A blob that is there is whole and verified. Stored
 * in compressed chunks that blobs share; the digest is the hash of the list of its chunks' hashes (manifest.ts of blobs).
 */
export interface BlobStore {
  has(digest: Digest): boolean;
  list(): Digest[];
  /** The content of a blob that is there, from its beginning, as fast as the reader takes it. Fails at once with BlobError `not_held`. */
  read(digest: Digest): AsyncIterable<Uint8Array>;
  /**
   * Writes the content, or the first `bytesMax` of it, into the named pipe `into`, which has a reader, away from the daemon's
   * own thread. Resolves when the pipe is open; `done` when all has been taken, and fails when it was not: BlobError
   * `not_held`, `corrupt`, `aborted`, or an error of the pipe when its reader went.
   */
  pour(
    digest: Digest,
    options: { into: string; bytesMax: number; signal?: AbortSignal },
  ): Promise<{ done: Promise<void> }>;
  sizeBytes(digest: Digest): number;
  /**
   * Temporary name, fsync, verify, rename. Fails with BlobError `too_large`, `corrupt` (digest differs from expected),
   * `disk_full`. Nothing is left behind on failure. The same content has the same digest on every node, whether it comes as
   * bytes or as a range of another blob, which is not read for it; `not_held` or `corrupt` when that cannot be.
   */
  put(
    source: AsyncIterable<Uint8Array | BlobRange>,
    options: { sizeBytesMax: number; expected?: Digest },
  ): Promise<{ digest: Digest; sizeBytes: number }>;
  remove(digest: Digest): Promise<void>;
  onChange(listener: () => void): void;
}

/** `bytes`: as stored, of what is not here yet. `refusal`: one line for people, with what to do. */
export type Room = { bytes: number; refusal: string };

/** What blobs and build caches of this node take on its disk, and may take. */
export type BlobUsage = { usedBytes: number; budgetBytes: number };

/** Brings blobs from other nodes into the local store, over their links. */
export interface BlobExchange {
  /**
   * From several holders at once; every chunk is verified, only those that are not here travel, and what has come stays when
   * the fetch fails. Concurrent calls for one digest share a download. `passing`: as a source, not as a blob. `room`: the
   * disk decides when it is absent. Fails with BlobError `unavailable` (no holder delivers it), `too_large`, `disk_full`,
   * `over_budget`, `busy`, `aborted`.
   */
  fetch(
    digest: Digest,
    options: { sizeBytesMax: number; holders: NodeId[]; passing?: boolean; room?: Room; signal?: AbortSignal },
  ): Promise<void>;
}

/** What people push, on its way to staging: chunks that come by themselves, then the blob they make. Bounded; the oldest go. */
export interface SourceStore {
  /** Numbers of those chunks that this node does not have. `hashes`: SHA-256 of each, one after the other. */
  missing(hashes: Uint8Array): Promise<number[]>;
  /** Stores framed chunks (chunk-frames.ts of blobs), each checked. What came whole stays, also when the source fails. Fails with BlobError `corrupt`, `too_large`, `disk_full`. */
  take(source: AsyncIterable<Uint8Array>, options: { bytesMax: number }): Promise<void>;
  /** The blob that is made of these chunks: hash and size (u32) of each. Fails with BlobError `not_held` when one is not here, `too_large`, `corrupt`. */
  assemble(chunks: Uint8Array, options: { sizeBytesMax: number }): Promise<{ digest: Digest; sizeBytes: number }>;
  has(digest: Digest): boolean;
  /** Fails at once with BlobError `not_held`. */
  read(digest: Digest): AsyncIterable<Uint8Array>;
  list(): Digest[];
  remove(digest: Digest): Promise<void>;
}

/** What the API may ask of the sources: those of the store, with what the rest of the cluster has of an app's last push. */
export type PushSources = Pick<SourceStore, 'take' | 'read'> & {
  missing(app: string, hashes: Uint8Array): Promise<number[]>;
  /** As in the store; remembered as the app's, also for other nodes. */
  assemble(app: string, chunks: Uint8Array): Promise<{ digest: Digest; sizeBytes: number }>;
};

// ---------------------------------------------------------------- staging (node/staging)

export type StageRequest = {
  app: { id: AppId; name: string };
  /** A tar of the app's folder, as uploaded; not trusted. */
  source: AsyncIterable<Uint8Array>;
  /** Whether the source is compressed with gzip. Default true. */
  compressed?: boolean;
  /** Built-in names, git URLs with an optional #ref, URLs of .tgz archives, what keepBuildpack said, or absolute paths on this node; in order. Empty: detect. */
  buildpacks: string[];
  /** Instead of the source: an image that this node's engine holds. */
  image?: string;
  /** The folder has a Dockerfile, to be built when this node has a container engine. */
  dockerfile?: boolean;
  /** Start command of `web`; wins over the buildpack's and the Procfile's. */
  command?: string;
  env: Record<string, string>;
  /** Progress and the buildpacks' output, a line at a time, live. */
  onLine: (text: string) => void;
  signal: AbortSignal;
};

export type StagedDroplet = {
  digest: Digest;
  sizeBytes: number;
  stack: string;
  buildpack: string;
  processes: Record<string, string>;
  /** The droplet is the archive of this image; `processes` says what it runs by itself. */
  image?: { id: string; ref: string };
};

/** Fails with StagingError: a code (errors.ts of staging), one line that says what went wrong and what to do. Leaves nothing behind but its cache. */
export interface Stager {
  stage(request: StageRequest): Promise<StagedDroplet>;
  /** Keeps a buildpack for a staging on this node within the next minutes; returns what StageRequest calls it. */
  keepBuildpack(name: string, source: AsyncIterable<Uint8Array>, sizeBytesMax: number): Promise<string>;
}

/** Build caches that other nodes hold. */
export interface CachePeers {
  /**
   * Brings the newest cache of the app that another node has, when it is newer than `version`, as a blob of this node, which
   * is the caller's to remove. Undefined: there is none, or it did not come. Never fails, and is bounded in time.
   */
  bringNewer(
    app: AppId,
    options: { version: number; signal: AbortSignal },
  ): Promise<{ version: number; digest: Digest; from: NodeId } | undefined>;
}

// ---------------------------------------------------------------- gossip (node/gossip)

/** Answers one request of another admitted node. Throwing sends the message to the caller as a RemoteError. `signal`: the caller has gone. */
export type RpcHandler = (payload: unknown, from: NodeId, signal: AbortSignal) => Promise<unknown>;
/** Answers with a stream of JSON values until done or the caller goes away (signal). */
export type RpcStreamHandler = (payload: unknown, from: NodeId, signal: AbortSignal) => AsyncIterable<unknown>;

/**
 * The node-to-node control plane. Only admitted nodes get past the connection gate; every message is authenticated,
 * validated and bounded before a listener sees it. Listeners are called with what another node authored, never with what
 * a third node claims it said.
 */
export interface Gossip {
  readonly self: NodeId;
  /** Addresses other nodes can dial, with the peer id. */
  addresses(): string[];
  /** This machine has lost an address: connections that do not answer any more are replaced at once. */
  checkConnections(): void;
  /** Nodes that it should have a connection to, and cannot dial. */
  unreachable(): Unreached[];
  start(): Promise<void>;
  stop(): Promise<void>;
  /** Closes connections to nodes that are no longer admitted; dials new ones. Called at every desired change. */
  setAdmitted(nodes: ReadonlyMap<NodeId, { addresses: string[] }>): void;
  /** Adds addresses learnt from reports or an invite; remembered on disk by the caller of onAddresses. */
  learnAddresses(node: NodeId, addresses: string[]): void;
  connected(): NodeId[];
  /** `relay`: neighbours pass it on. Otherwise it goes to the connected nodes alone, over their connections. */
  publishReport(report: Report, how: { relay: boolean }): void;
  publishMembership(message: MembershipMessage): void;
  /** Changes of the desired state, as Automerge change bytes. */
  publishChanges(changes: Uint8Array[]): void;
  probe(node: NodeId, timeoutMs: number): Promise<'ok' | 'refused' | 'timeout' | 'error'>;
  request(
    node: NodeId,
    method: string,
    payload: unknown,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<unknown>;
  requestStream(
    node: NodeId,
    method: string,
    payload: unknown,
    options: { signal: AbortSignal },
  ): AsyncIterable<unknown>;
  /** `whileWanted`: it is not called for a request that had waited while this node stood still, when its caller has given up. */
  handle(method: string, handler: RpcHandler, options?: { whileWanted?: boolean }): void;
  handleStream(method: string, handler: RpcStreamHandler): void;
  /** Runs anti-entropy with the node until heads agree or it fails; one at a time per node. */
  syncDesired(node: NodeId): Promise<void>;
  on(listener: GossipListener): void;
}

/**
 * Bytes in both directions between two nodes, each side held back while the other is busy. Both sides have to say something
 * from time to time (SESSION_BEAT_MS): a silent one is taken for gone. The input's end closes that direction alone.
 */
export interface DuplexRequests {
  /** Fails, at the first read at the latest, with a RemoteError when the other node's handler does. */
  requestDuplex(
    node: NodeId,
    method: string,
    payload: unknown,
    options: { input: AsyncIterable<Uint8Array>; signal: AbortSignal },
  ): AsyncIterable<Uint8Array>;
  handleDuplex(method: string, handler: DuplexHandler): void;
}
/** `signal`: the caller has gone. */
export type DuplexHandler = (
  payload: unknown,
  from: NodeId,
  input: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
) => AsyncIterable<Uint8Array>;

/** A node that does not let itself be reached. `why`: a few words for people. `sinceMs`: for how long, by now. */
export type Unreached = { node: NodeId; why: string; sinceMs: number };

export type GossipListener = {
  connected(node: NodeId): void;
  disconnected(node: NodeId): void;
  /** The newest of its author, or one of an earlier life: then its author has not heard of the later one. */
  report(report: Report): void;
  membership(message: MembershipMessage): void;
  changes(changes: Uint8Array[], from: NodeId): void;
};

// ---------------------------------------------------------------- router (node/router)

/** The router process as the daemon sees it. */
export interface RouterHandle {
  /** Addresses it listens on, `host:port`. */
  readonly http: string;
  readonly link: string;
  setTable(table: RouteTable): void;
  /** Calls back with every link that cannot be used, whenever that changes; `link` is its `host:port`. */
  onUnreachable(listener: (links: (Unreached & { link: string })[]) => void): void;
  /** Called when a request to join arrives at the link from a TLS client with the given identity. */
  onJoin(handler: (request: unknown, from: NodeId) => Promise<unknown>): void;
  close(): Promise<void>;
}

// ---------------------------------------------------------------- what the API may ask of the node

export type MemberView = {
  id: NodeId;
  name: string;
  status: MemberStatus;
  draining: boolean;
  report: Report | undefined /** ms since its last report arrived here. */;
  reportAgeMs: number | undefined;
};

export type ObservedView = { members: MemberView[] };

/** `node` is the one that recorded it; `subject` the one it is about, if any. */
export type RecordedEvent = Omit<ClusterEvent, 'node'> & { atMs: number; node: NodeId; subject?: NodeId };

/** A command that a person asks for. */
export type SessionRequest = {
  by: string;
  app: AppId;
  command: AttendedCommand;
  /** Where: in the instance of a slot, or in a task of its own, by its name. */
  target: { kind: 'exec'; process: string; index: number } | { kind: 'task'; name: string };
};

/** `withoutRoom`: alive nodes that could not take a copy for want of room, with what each said. */
export type DropletCopies = { holders: NodeId[]; withoutRoom: { node: NodeId; reason: string }[] };

/** Everything behind the API. Writes are acknowledged writes: they resolve once another alive member holds them too, or at once when there is none with room. */
export interface NodeService {
  readonly self: { id: NodeId; name: string; version: string; pid: number; dataDir: string };
  readonly cluster: ClusterId;
  view(): DesiredView;
  observed(): ObservedView;
  /** Fails with ChangeRejected (bad input, nothing changed). `heldBy` includes this node. */
  write(changes: NamedChange[], by: string): Promise<{ heldBy: NodeId[] }>;
  /** Called after every change of the desired or the observed state; coalesced. */
  onChange(listener: () => void): () => void;
  stage(request: StageRequest): Promise<StagedDroplet>;
  keepBuildpack: Stager['keepBuildpack'];

  /** Where `peer push` sends what has changed in a folder. */
  readonly sources: PushSources;
  /** Copies the droplet to other nodes until enough hold it: three, or all that have room where those are fewer. */
  replicateDroplet(digest: Digest): Promise<DropletCopies>;
  createInvite(options: { ttlMs: number; uses: number }, by: string): Promise<{ invite: string; expiresAtMs: number }>;
  logs(app: AppId, options: { lines: number; follow: boolean; signal: AbortSignal }): AsyncIterable<LogLine>;
  events(options: { app?: AppId; lines: number; follow: boolean; signal: AbortSignal }): AsyncIterable<RecordedEvent>;
  /** What the app's instances use now, asked of the nodes that run them; those of a node that does not answer are left out. */
  usage(app: AppId): Promise<InstanceUsage[]>;
  blobUsage(): BlobUsage;
  /** Why the slot is where it is, as this node's core sees the cluster now. Also of a slot that nobody asks for. */
  explain(slot: Slot): SlotExplanation;
  /** Where slots would go at once without the nodes, in the same view. Nothing changes. */
  whatIf(without: NodeId[]): WhatIf;
  /**
   * Runs the command on the node that has the instance, or on one that can run the task, and attends to it from here:
   * frames (sessions/frames.ts) in both directions. Resolves when it has started; fails with an error with a `code`
   * otherwise. When the input ends or the signal is aborted the command ends too.
   */
  openSession(
    request: SessionRequest,
    io: { input: AsyncIterable<Uint8Array>; signal: AbortSignal },
  ): Promise<AsyncIterable<Uint8Array>>;
  /** Asks the node that runs the slot to restart it. */
  restartSlot(slot: Slot): Promise<void>;
  /** leave: drain, wait for replacements, remove itself from the members. Resolves when the shutdown has begun. */
  shutdown(options: { leave: boolean }): Promise<void>;
}
