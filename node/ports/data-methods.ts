// What nodes ask of one another when data is moved, made anew or upgraded, beside what is in methods.ts, and in the
// same form.

import * as v from 'valibot';
import { versionProblem } from '../../crdt/limits-data.ts';
import type { RebuildOrder, UpgradeOrder } from './backups.ts';
import {
  type Bounds,
  backup,
  count,
  KIB,
  lineageId,
  method,
  nodeId,
  type ServiceStep,
  type StreamMethod,
  serviceId,
  serviceStep,
  text,
  volumeId,
} from './methods.ts';

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
