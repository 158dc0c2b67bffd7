// What requests about services, bindings and volumes may hold: schemas, as in validate.ts.

import * as v from 'valibot';
import * as limits from '../../crdt/limits.ts';
import * as data from '../../crdt/limits-data.ts';
import { appName, flag, memoryBytes, object, ruled, whole } from './schema-parts.ts';

/** Of credentials of one's own, as JSON; sealed, it has to fit where secrets stand. */
const CREDENTIALS_BYTES_MAX = 32 * 1024;
const SERVICES_ASKED_MAX = 50;

const word = ruled(data.kindProblem);
const version = ruled(data.versionProblem);
const sizeBytes = whole(data.VOLUME_BYTES_MIN, data.VOLUME_BYTES_MAX, ' bytes');
const everyMessage = `should be 0, for never, or from ${data.COPY_INTERVAL_MS_MIN} to ${data.COPY_INTERVAL_MS_MAX} ms`;
const backupEveryMs = v.union(
  [v.literal(0), whole(data.COPY_INTERVAL_MS_MIN, data.COPY_INTERVAL_MS_MAX)],
  everyMessage,
);
const backupsKept = whole(1, data.COPIES_KEPT_MAX);
const prefix = ruled(data.prefixProblem);

const serviceEntries = {
  plan: v.optional(word),
  version: v.optional(version),
  memoryBytes: v.optional(memoryBytes),
  storageBytes: v.optional(sizeBytes),
  node: v.optional(v.string('should be text')),
  backupEveryMs: v.optional(backupEveryMs),
  backupsKept: v.optional(backupsKept),
  wal: v.optional(v.boolean('should be true or false')),
};
export const createServiceBody = object({ name: appName, kind: word, ...serviceEntries });

const { version: _, node: __, ...configurable } = serviceEntries;
export const configureServiceBody = object(configurable);
export type ConfigureServiceBody = v.InferOutput<typeof configureServiceBody>;

export const provideBody = object({
  credentials: v.pipe(
    v.record(v.string(), v.unknown(), 'should be an object, such as {"uri": "https://…"}'),
    v.check((value) => Object.keys(value).length > 0, 'is empty'),
    v.check(
      (value) => limits.byteLength(JSON.stringify(value)) <= CREDENTIALS_BYTES_MAX,
      `should be at most ${CREDENTIALS_BYTES_MAX / 1024} KiB`,
    ),
  ),
});
export const confirmQuery = object({ confirm: v.optional(v.string()) });
/** `backup`: its id, or `newest`, of the service itself. */
export const restoreBody = object({
  backup: ruled((text) =>
    limits.idProblem(text) === undefined ? undefined : 'should be the id of a backup, or newest',
  ),
});
/** Unix ms. */
export const momentBody = object({ atMs: whole(0, limits.TIME_MS_MAX) });
export const bindBody = object({
  app: v.string('should be text'),
  prefix: v.optional(prefix),
  rotate: v.optional(v.boolean('should be true or false')),
});
export const unbindBody = object({ app: v.string('should be text') });
/** `host`: an address of the node, which is that of the service unless it is said. */
export const exportBody = object({
  host: ruled(data.exportHostProblem),
  port: whole(data.EXPORT_PORT_MIN, data.EXPORT_PORT_MAX),
  node: v.optional(v.string('should be text')),
});
/** `session`: the id that `connect` has answered with. */
export const tunnelOptions = object({ session: ruled(limits.idProblem) });
export const accessQuery = object({ binding: ruled(limits.idProblem) });

const snapshotEveryMs = backupEveryMs;
const snapshotsKept = whole(0, data.COPIES_KEPT_MAX);
const onLoss = v.picklist(data.ON_LOSS, `should be one of ${data.ON_LOSS.join(', ')}`);
export const volumeEntries = {
  path: ruled(data.volumePathProblem),
  sizeBytes: v.optional(sizeBytes),
  snapshotEveryMs: v.optional(snapshotEveryMs),
  snapshotsKept: v.optional(snapshotsKept),
  onLoss: v.optional(onLoss),
  hardQuota: v.optional(v.boolean('should be true or false')),
};
/** Of a push or a scaling. */
export const volumeWishes = v.pipe(
  v.array(object(volumeEntries), 'should be a list'),
  v.maxLength(data.VOLUMES_PER_SLOT_MAX, `should be at most ${data.VOLUMES_PER_SLOT_MAX}`),
);
export const configureVolumeBody = object({
  sizeBytes: v.optional(sizeBytes),
  snapshotEveryMs: v.optional(snapshotEveryMs),
  snapshotsKept: v.optional(snapshotsKept),
  onLoss: v.optional(onLoss),
});
const node = v.string('should be text');
export const restoreVolumeBody = object({ snapshot: v.string('should be text'), node: v.optional(node) });
export const moveVolumeBody = object({ node });
export const recoverVolumeBody = object({ node: v.optional(node) });
export const moveServiceBody = moveVolumeBody;
/** `backup`: the id of one, instead of the newest proven one. */
export const recoverServiceBody = object({ node: v.optional(node), backup: v.optional(ruled(limits.idProblem)) });
export const upgradeServiceBody = object({ version, node: v.optional(node) });
/** Of a node that is to go: its data stays there, out of reach. */
export const strandQuery = object({ strand: flag });
export const addVolumeBody = object({ ...volumeEntries, process: v.optional(ruled(limits.processTypeProblem)) });
/** `kind`: makes it, where there is none of the name. */
export const serviceWishes = v.pipe(
  v.array(object({ name: appName, kind: v.optional(word), ...serviceEntries }), 'should be a list'),
  v.maxLength(SERVICES_ASKED_MAX, `should be at most ${SERVICES_ASKED_MAX}`),
);
/** `volumes`: they go with the app, which keeps them otherwise. */
export const deleteAppQuery = object({ volumes: flag });
