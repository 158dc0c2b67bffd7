// What nodes ask of one another of services, their backups and volumes, in the form of methods.ts.

import * as v from 'valibot';
import type { BindingId, LineageId, ServiceId, VolumeId } from '../../crdt/ids.ts';
import { idProblem } from '../../crdt/limits.ts';
import { versionProblem } from '../../crdt/limits-data.ts';
import type { ArchivePiece } from './archives.ts';
import type { Backup, RebuildOrder, UpgradeOrder } from './backups.ts';
import {
  type Bounds,
  count,
  digest,
  KIB,
  type Method,
  MIB,
  method,
  nodeId,
  processType,
  type StreamMethod,
  serviceId,
  size,
  someOf,
  text,
} from './methods.ts';
import type { ServiceStatus, VolumeStatus } from './services-desk.ts';
import type { Orphan, VolumeOrder, VolumeSnapshot } from './snapshots.ts';

const BINDINGS_MAX = 4_000;
const PATH_CHARS_MAX = 4_096;

/** That a node holds, of all services together. */
export const BACKUPS_MAX = 2_000;
/** Pieces of logs of changes: of one busy service there are three thousand a day. */
export const ARCHIVE_PIECES_MAX = 20_000;
const PROOFS = ['proven', 'skipped', 'failed'] as const;
/** Also as a node keeps it on disk. */
const backup: v.GenericSchema<unknown, Backup> = v.object({
  id: v.custom<string>((value) => idProblem(value) === undefined, 'should be the id of a backup'),
  service: serviceId,
  name: text(64),
  kind: text(64),
  version: text(64),
  digest,
  sizeBytes: count,
  takenAtMs: count,
  madeAtMs: v.optional(count),
  takenOn: nodeId,
  proof: v.optional(v.object({ state: v.picklist(PROOFS), atMs: count, text: text(300) })),
}) as unknown as v.GenericSchema<unknown, Backup>;

const volumeId = v.custom<VolumeId>((value) => idProblem(value) === undefined, 'should be the id of a volume');
const bindingId = v.custom<BindingId>((value) => idProblem(value) === undefined, 'should be the id of a binding');
const measured = v.fallback(v.optional(size), undefined);
const serviceStatus = v.object({
  bindings: someOf(bindingId, BINDINGS_MAX),
  connections: measured,
  usedBytes: measured,
  log: v.fallback(v.optional(v.object({ coveredMs: v.optional(count), pieceMs: v.optional(count) })), undefined),
}) as unknown as v.GenericSchema<unknown, ServiceStatus>;
const volumeStatus = v.object({ path: text(PATH_CHARS_MAX), usedBytes: measured }) as unknown as v.GenericSchema<
  unknown,
  VolumeStatus
>;

/** Of all volumes together. */
export const SNAPSHOTS_MAX = 10_000;
const lineageId = v.custom<LineageId>((value) => idProblem(value) === undefined, 'should be the id of a lineage');
const snapshotId = v.custom<string>((value) => idProblem(value) === undefined, 'should be the id of a snapshot');
/** Also as a node keeps it on disk. */
const pieceName = v.pipe(v.string(), v.regex(/^[0-9A-Za-z._-]{1,64}$/, 'is no name of a piece'));
const archivePiece: v.GenericSchema<unknown, ArchivePiece> = v.object({
  id: v.custom<string>((value) => idProblem(value) === undefined, 'should be the id of a piece'),
  service: serviceId,
  lineage: lineageId,
  what: v.picklist(['base', 'log']),
  first: pieceName,
  last: pieceName,
  digest,
  sizeBytes: count,
  takenAtMs: count,
});
const volumeSnapshot: v.GenericSchema<unknown, VolumeSnapshot> = v.object({
  id: snapshotId,
  volume: volumeId,
  lineage: lineageId,
  owner: text(256),
  process: processType,
  index: count,
  path: text(PATH_CHARS_MAX),
  volumeBytes: count,
  digest,
  sizeBytes: count,
  takenAtMs: count,
  takenOn: nodeId,
  frozenMs: size,
});
const volumeOrder: v.GenericSchema<unknown, VolumeOrder> = v.object({
  volume: volumeId,
  lineage: lineageId,
  snapshot: volumeSnapshot,
});

/** Of one node, that are told of. */
export const ORPHANS_MAX = 1_000;
const ORPHAN_REASONS = ['deleted', 'replaced', 'moved', 'unreadable'] as const;
const orphan = v.object({
  volume: volumeId,
  lineage: lineageId,
  why: v.picklist(ORPHAN_REASONS),
  owner: v.optional(text(256)),
  process: v.optional(processType),
  index: v.optional(count),
  path: v.optional(text(PATH_CHARS_MAX)),
  sizeBytes: measured,
  usedBytes: measured,
  createdAtMs: measured,
  sinceMs: measured,
}) as unknown as v.GenericSchema<unknown, Omit<Orphan, 'node'>>;

/** What the node that runs the service knows of it. Some engines take seconds over the question. */
export const SERVICE_STATUS = method('service.status', v.object({ service: serviceId }), serviceStatus, {
  timeoutMs: 8_000,
  replyBytesMax: 512 * KIB,
});

/** What the node that holds the volume knows of it. */
export const VOLUME_STATUS = method('volume.status', v.object({ volume: volumeId }), volumeStatus, {
  timeoutMs: 2_000,
  replyBytesMax: 8 * KIB,
});

/** Whether the service's door is open at an address of the node, or could be. */
export const EXPORT_DOOR = method(
  'service.export-door',
  v.object({
    service: serviceId,
    host: text(64),
    port: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535)),
  }),
  v.object({ isOpen: v.boolean(), problem: v.optional(text(256)) }),
  { timeoutMs: 5_000 },
);

/** Content of one kind that several nodes hold (storage/copies.ts). */
export type CopyMethods<Entry, Owner extends string> = {
  entry: v.GenericSchema<unknown, Entry>;
  /** What the node holds: of one owner, or all. */
  held: Method<{ owner?: Owner | undefined }, Entry[]>;
  /** Takes a copy from whoever asks. */
  hold: Method<Entry, { held: true }>;
};

const copyMethods = <Entry, Owner extends string>(
  name: string,
  entry: v.GenericSchema<unknown, Entry>,
  owner: v.GenericSchema<unknown, Owner>,
  { listedMax, hold }: { listedMax: number; hold: Bounds },
): CopyMethods<Entry, Owner> => ({
  entry,
  held: method(`${name}.list`, v.object({ owner: v.optional(owner) }), someOf(entry, listedMax), {
    timeoutMs: 2_000,
    replyBytesMax: 8 * MIB,
  }),
  hold: method(`${name}.hold`, entry, v.object({ held: v.literal(true) }), hold),
});

/** Bringing, packing or unpacking a large volume takes as long. */
const VOLUME_WORK: Bounds = { timeoutMs: 6 * 60 * 60_000, requestBytesMax: 16 * KIB, whileWanted: true };

export const BACKUP_COPIES = copyMethods('backup', backup, serviceId, {
  listedMax: BACKUPS_MAX,
  hold: { timeoutMs: 60 * 60_000, whileWanted: true },
});
export const ARCHIVE_COPIES = copyMethods('archive', archivePiece, serviceId, {
  listedMax: ARCHIVE_PIECES_MAX,
  hold: { timeoutMs: 60 * 60_000, whileWanted: true },
});
export const SNAPSHOT_COPIES = copyMethods('snapshot', volumeSnapshot, volumeId, {
  listedMax: SNAPSHOTS_MAX,
  hold: VOLUME_WORK,
});

/** What happens while a backup is taken or put back, then how it ended. */
export type ServiceStep = { line: string } | { backup: Backup } | { failed: { code: string; message: string } };
const serviceStep: v.GenericSchema<unknown, ServiceStep> = v.union([
  v.object({ line: text(1_000) }),
  v.object({ backup }),
  v.object({ failed: v.object({ code: text(64), message: text(1_000) }) }),
]);
export const BACKUP_SERVICE: StreamMethod<{ service: ServiceId }, ServiceStep> = {
  name: 'backup.take',
  request: v.object({ service: serviceId }),
  requestBytesMax: KIB,
  item: serviceStep,
  itemBytesMax: 8 * KIB,
};
export const RESTORE_SERVICE: StreamMethod<{ service: ServiceId; backup: Backup }, ServiceStep> = {
  name: 'backup.restore',
  request: v.object({ service: serviceId, backup }),
  requestBytesMax: 8 * KIB,
  item: serviceStep,
  itemBytesMax: 8 * KIB,
};

/** Makes a backup of the service's data as it was at that moment. */
export const RECOVER_SERVICE: StreamMethod<{ service: ServiceId; atMs: number }, ServiceStep> = {
  name: 'archive.recover',
  request: v.object({ service: serviceId, atMs: count }),
  requestBytesMax: KIB,
  item: serviceStep,
  itemBytesMax: 8 * KIB,
};
/** Takes one of a volume that the node has. */
export const TAKE_SNAPSHOT = method(
  'snapshot.take',
  v.object({ volume: volumeId }),
  v.object({ snapshot: volumeSnapshot, holders: v.array(nodeId) }),
  { ...VOLUME_WORK, replyBytesMax: 16 * KIB },
);

/** Makes a new lineage of a snapshot. */
export const RECEIVE_VOLUME = method(
  'volume.receive',
  volumeOrder,
  v.object({ received: v.literal(true) }),
  VOLUME_WORK,
);

/**
 * Makes the lineage that was moved there from whoever asks; what it has of it already is older, and goes. `passing`:
 * snapshots that were made for the move alone.
 */
export const TAKE_OVER_VOLUME = method(
  'volume.take-over',
  v.object({ order: volumeOrder, passing: v.array(snapshotId) }),
  v.object({ received: v.literal(true) }),
  VOLUME_WORK,
);

/** Makes files of a snapshot of a volume of whoever asks, which is to move there; no volume yet. */
export const LAY_OUT_VOLUME = method(
  'volume.lay-out',
  volumeOrder,
  v.object({ laidOut: v.literal(true) }),
  VOLUME_WORK,
);

/**
 * What the volume has beyond what was laid out of that snapshot and the differences before this one, which is number
 * `round`. `last`: it makes the lineage, as `volume.take-over` does.
 */
export type DifferenceOrder = v.InferOutput<typeof differenceOrder>;
const differenceOrder = v.object({
  volume: volumeId,
  lineage: lineageId,
  snapshot: snapshotId,
  round: count,
  last: v.boolean(),
  digest,
  sizeBytes: count,
  passing: v.array(snapshotId),
});
export const ADD_DIFFERENCE = method(
  'volume.add-difference',
  differenceOrder,
  v.object({ received: v.literal(true) }),
  VOLUME_WORK,
);

/** Removes what whoever asks had laid out there. */
export const DROP_LAID_OUT = method(
  'volume.drop-laid-out',
  v.object({ volume: volumeId }),
  v.object({ done: v.literal(true) }),
  { timeoutMs: 30_000 },
);

/** Moves the volumes of a slot, which the node has, to another; answered when that is written. */
export const MOVE_VOLUME = method(
  'volume.move',
  v.object({ volume: volumeId, to: nodeId, by: text(256) }),
  v.object({ moved: v.literal(true) }),
  VOLUME_WORK,
);

/** Files of volumes that nothing refers to any more, on the node that is asked. */
export const LIST_ORPHANS = method('volume.orphans', v.object({}), someOf(orphan, ORPHANS_MAX), {
  timeoutMs: 5_000,
  replyBytesMax: 2 * MIB,
});

/** For good. */
export const REMOVE_ORPHAN = method(
  'volume.remove-orphan',
  v.object({ volume: volumeId, lineage: lineageId, by: text(256) }),
  v.object({ removed: v.literal(true) }),
  VOLUME_WORK,
);

/** Says that the node has room for a volume that is to come, of so many bytes. */
export const EXPECT_VOLUME = method(
  'volume.expect',
  v.object({ volume: volumeId, sizeBytes: count }),
  v.object({ fits: v.literal(true) }),
  { timeoutMs: 5_000 },
);

const ofLineage = v.object({ volume: volumeId, lineage: lineageId });
const done = v.object({ done: v.literal(true) });
const LINEAGE_WORK: Bounds = { timeoutMs: 60_000, whileWanted: true };
/** What the volume was before an upgrade, which the node has, is that lineage from now on. */
export const RENAME_LINEAGE = method('volume.put-back', ofLineage, done, LINEAGE_WORK);
/** Removes what the volume was before an upgrade, which the node has. */
export const DISCARD_LINEAGE = method('volume.discard', ofLineage, done, { ...LINEAGE_WORK, timeoutMs: 30 * 60_000 });

const version = v.custom<string>((value) => versionProblem(value) === undefined, 'should be a version');
/** Makes a service's data of a backup, under a lineage that nothing mounts yet. */
export const REBUILD_SERVICE: StreamMethod<RebuildOrder, ServiceStep> = {
  name: 'backup.rebuild',
  request: v.object({ service: serviceId, backup, version, lineage: lineageId }),
  requestBytesMax: 8 * KIB,
  item: serviceStep,
  itemBytesMax: 8 * KIB,
};
/** Upgrades a service that runs on the node. */
export const UPGRADE_SERVICE: StreamMethod<UpgradeOrder, ServiceStep> = {
  name: 'service.upgrade',
  request: v.object({ service: serviceId, version, to: nodeId, by: text(256) }),
  requestBytesMax: 2 * KIB,
  item: serviceStep,
  itemBytesMax: 8 * KIB,
};
