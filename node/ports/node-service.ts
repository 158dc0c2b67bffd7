// What the API may ask of the node. Types only; each says what it guarantees and how it fails.

import type { NamedChange } from '../../crdt/change.ts';
import type { AppId, ClusterId, Digest, NodeId, ServiceId, VolumeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { SlotExplanation, WhatIf } from '../core/explain.ts';
import type { ClusterEvent, MemberStatus, Report, Slot } from '../core/types.ts';
import type { Backups } from './backups.ts';
import type { BlobUsage, PushSources } from './blobs.ts';
import type { AttendedCommand } from './commands.ts';
import type { LogLine } from './logs.ts';
import type { InstanceUsage } from './runtime.ts';
import type { SecretKeeper } from './secrets.ts';
import type { ExportAccess, ExportDoorState, KindInfo, ServiceStatus, VolumeStatus } from './services-desk.ts';
import type { VolumeLife } from './snapshots.ts';
import type { StagedDroplet, StageRequest, Stager } from './staging.ts';

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
  target: { kind: 'exec'; process: string; index: number } | TaskTarget;
};

/** `slot`: whose volumes it sees, where the slot has some; without one it sees none. */
export type TaskTarget = { kind: 'task'; name: string; slot?: { process: string; index: number } | undefined };

/** Frames of whoever attends. Its end is theirs, as is the signal's abort. */
export type SessionIo = { input: AsyncIterable<Uint8Array>; signal: AbortSignal };

/** A person who connects to a service. `isAllowed`: asked from time to time; once it says no the session ends. */
export type ServiceSessionRequest = { by: string; service: ServiceId; isAllowed(): boolean };

/** One connection of such a session, which was opened through the same node by the same person. */
export type ServiceTunnelRequest = { by: string; session: string };

/** `withoutRoom`: alive nodes that could not take a copy for want of room, with what each said. */
export type DropletCopies = { holders: NodeId[]; withoutRoom: { node: NodeId; reason: string }[] };

/**
 * Everything behind the API. Writes are acknowledged writes: they resolve once another alive member holds them too, or
 * at once when there is none with room.
 */
export interface NodeService {
  readonly self: { id: NodeId; name: string; version: string; pid: number; dataDir: string };
  readonly cluster: ClusterId;
  /** Opens what the view holds sealed. */
  readonly secrets: SecretKeeper;
  view(): DesiredView;
  observed(): ObservedView;
  /**
   * Fails with ChangeRejected (bad input, nothing changed). `heldBy` includes this node. Values of the environment are
   * given in clear, and are sealed before they are written.
   */
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
  /**
   * What the app's instances use now, asked of the nodes that run them; those of a node that does not answer are left
   * out.
   */
  usage(app: AppId): Promise<InstanceUsage[]>;
  blobUsage(): BlobUsage;
  /** Every kind of service that there is, whether a node has its engine or not. */
  kinds(): readonly KindInfo[];
  /** Asked of the node that its data is on; undefined when that does not answer, or nothing of it runs. */
  serviceStatus(service: ServiceId): Promise<ServiceStatus | undefined>;
  /** The same of a volume. */
  volumeStatus(volume: VolumeId): Promise<VolumeStatus | undefined>;
  /** Asked of the node that is to listen there; undefined when it does not answer. */
  exportDoor(
    node: NodeId,
    service: ServiceId,
    listen: { host: string; port: number },
  ): Promise<ExportDoorState | undefined>;
  /** Fails with `secret_unreadable`, and with `not_exported`. */
  exportAccess(service: ServiceId): ExportAccess;
  /** Backups of services, wherever they run and are held. */
  readonly backups: Backups;
  /** Snapshots of volumes, and their moves. */
  readonly volumes: VolumeLife;
  /** Why the slot is where it is, as this node's core sees the cluster now. Also of a slot that nobody asks for. */
  explain(slot: Slot): SlotExplanation;
  /** Where slots would go at once without the nodes, in the same view. Nothing changes. */
  whatIf(without: NodeId[]): WhatIf;
  /**
   * Runs the command on the node that has the instance, or on one that can run the task, and attends to it from here:
   * frames (lib/session-frames.ts) in both directions. Resolves when it has started; fails with an error with a `code`
   * otherwise. When the input ends or the signal is aborted the command ends too.
   */
  openSession(
    request: SessionRequest,
    io: { input: AsyncIterable<Uint8Array>; signal: AbortSignal },
  ): Promise<AsyncIterable<Uint8Array>>;
  /**
   * Credentials for a person, from the frame `started` ({session, node, user, password, database}) until the input
   * ends, the signal is aborted, or the frame `exit` says why ({code, reason}). Fails at the first
   * read, as openSession does.
   */
  openServiceSession(request: ServiceSessionRequest, io: SessionIo): AsyncIterable<Uint8Array>;
  /** A connection to the service of the session: its bytes as those of a command. It ends with the session. */
  openServiceTunnel(request: ServiceTunnelRequest, io: SessionIo): AsyncIterable<Uint8Array>;
  /** Asks the node that runs the slot to restart it. */
  restartSlot(slot: Slot): Promise<void>;
  /** leave: drain, wait for replacements, remove itself from the members. Resolves when the shutdown has begun. */
  shutdown(options: { leave: boolean }): Promise<void>;
}
