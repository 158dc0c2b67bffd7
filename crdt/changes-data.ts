// What each named change of a volume, a service or a binding does to the document, once it has been found allowed.
// Part of applyChange.

import { Counter } from '@automerge/automerge';
import type { ChangeAuthor } from './change.ts';
import type { DataChange, NewVolume, SnapshotBase } from './change-data.ts';
import { type Draft, drop, increment, mapIn, put, putMap } from './draft.ts';
import { type AppId, asServiceId, type ServiceId } from './ids.ts';
import { AUTHOR_LENGTH_MAX, oneLine } from './limits.ts';
import { anyText, field } from './read-values.ts';
import type { VolumeHomeDoc } from './schema.ts';
import type { DesiredView, VolumeView } from './view.ts';

type Of<Kind extends DataChange['change']> = Extract<DataChange, { change: Kind }>;
type Applied = { author: ChangeAuthor; view: DesiredView };

/** What each change of data does; it may count on all that validation has checked. */
export const dataEffects = {
  createVolumes: (doc: Draft, { volumes }: Of<'createVolumes'>, { author }: Applied): void => {
    for (const volume of volumes) createVolume(doc, volume, author);
  },
  configureVolume: (doc: Draft, change: Of<'configureVolume'>): void => {
    const volume = mapIn(doc, 'volumes')[change.volume]!;
    putGiven(volume, change, ['sizeBytes', 'snapshotEveryMs', 'snapshotsKept', 'onLoss']);
  },
  moveVolume,
  restoreVolume: (doc: Draft, change: Of<'restoreVolume'>, { author }: Applied): void => {
    const { node, lineage, lost } = change;
    const home = { node, lineage, ...baseOf(change.snapshot), lost, restoredAtMs: author.atMs };
    putMap(mapIn(doc, 'volumes')[change.volume]!, 'home', home);
  },
  leaveVolume: (doc: Draft, change: Of<'leaveVolume'>, { view }: Applied): void => {
    const volume = mapIn(doc, 'volumes')[change.volume]!;
    const movedAtMs = volume.home.movedAtMs;
    if (view.volumes.get(change.volume)?.movedFrom !== change.node || typeof movedAtMs !== 'number') return;
    put(volume, 'left', movedAtMs);
  },
  keepVolume: (doc: Draft, change: Of<'keepVolume'>, { view }: Applied): void => {
    const volume = view.volumes.get(change.volume)!;
    putHome(doc, volume, { ...upgradeOf(volume, view), node: change.node, lineage: volume.lineage });
  },
  deleteVolume: (doc: Draft, { volume }: Of<'deleteVolume'>): void => drop(mapIn(doc, 'volumes'), volume),
  createService,
  configureService,
  upgradeService: (doc: Draft, { service, version, node, lineage }: Of<'upgradeService'>, { view }: Applied): void => {
    const { volume, version: old } = view.services.get(service)!;
    const before = { node: volume!.node, lineage: volume!.lineage, version: old };
    putHome(doc, volume!, { node, lineage, version, before });
    put(mapIn(doc, 'services')[service]!, 'version', version);
  },
  revertService: (doc: Draft, { service, lineage }: Of<'revertService'>, { view }: Applied): void => {
    const volume = view.services.get(service)!.volume!;
    const { node, version } = volume.before!;
    putHome(doc, volume, { node, lineage, version });
    put(mapIn(doc, 'services')[service]!, 'version', version);
  },
  confirmService: (doc: Draft, { service }: Of<'confirmService'>, { view }: Applied): void => {
    const { version, volume } = view.services.get(service)!;
    putHome(doc, volume!, { node: volume!.node, lineage: volume!.lineage, version });
  },
  setServiceStopped: (doc: Draft, { service, stopped }: Of<'setServiceStopped'>): void =>
    put(mapIn(doc, 'services')[service]!, 'stopped', stopped),
  restartService: (doc: Draft, { service }: Of<'restartService'>): void =>
    increment(mapIn(doc, 'services')[service]!, 'restartCount'),
  deleteService: (doc: Draft, { service }: Of<'deleteService'>): void => {
    drop(mapIn(doc, 'services'), service);
    const volumes = mapIn(doc, 'volumes');
    for (const [id, volume] of Object.entries(volumes)) if (says(volume, 'owner', service)) drop(volumes, id);
    dropBindings(doc, (binding) => says(binding, 'service', service));
  },
  exportService: (doc: Draft, change: Of<'exportService'>, { author }: Applied): void => {
    const { export: id, node, host, port, secret } = change;
    const made = { createdAtMs: author.atMs, createdBy: oneLine(author.by, AUTHOR_LENGTH_MAX) };
    putMap(mapIn(doc, 'services')[change.service]!, 'export', { id, node, host, port, secret, ...made });
  },
  unexportService: (doc: Draft, { service }: Of<'unexportService'>): void =>
    drop(mapIn(doc, 'services')[service]!, 'export'),
  bindService: (doc: Draft, change: Of<'bindService'>, { author }: Applied): void => {
    dropPair(doc, change);
    putMap(mapIn(doc, 'bindings'), change.binding, {
      service: change.service,
      app: change.app,
      prefix: change.prefix,
      secret: change.secret,
      createdAtMs: author.atMs,
      createdBy: oneLine(author.by, AUTHOR_LENGTH_MAX),
    });
    increment(mapIn(doc, 'apps')[change.app]!, 'restartCount');
  },
  unbindService: (doc: Draft, { binding }: Of<'unbindService'>, { view }: Applied): void => {
    const bound = view.bindings.get(binding)!;
    dropPair(doc, bound);
    increment(mapIn(doc, 'apps')[bound.app]!, 'restartCount');
  },
};

/** With the app its bindings go; its volumes stay, and nobody mounts them. */
export function dropBindingsOf(doc: Draft, app: AppId): void {
  dropBindings(doc, (binding) => says(binding, 'app', app));
}

/** Also those that lost against another of the same service and app, made apart. */
function dropPair(doc: Draft, { service, app }: { service: ServiceId; app: AppId }): void {
  dropBindings(doc, (binding) => says(binding, 'service', service) && says(binding, 'app', app));
}

function dropBindings(doc: Draft, which: (binding: unknown) => boolean): void {
  const bindings = mapIn(doc, 'bindings');
  for (const [id, binding] of Object.entries(bindings)) if (which(binding)) drop(bindings, id);
}

const says = (record: unknown, key: string, text: string): boolean => anyText(field(record, key)) === text;

function putGiven<C extends object, K extends keyof C & string>(record: object, change: C, keys: readonly K[]): void {
  for (const key of keys) {
    const value = change[key] as string | number | undefined;
    if (value !== undefined) put(record as Record<string, unknown>, key, value);
  }
}

function createVolume(doc: Draft, { id, ...volume }: NewVolume, author: ChangeAuthor): void {
  const { owner, process, index, path, sizeBytes, node, lineage, snapshotEveryMs, snapshotsKept, onLoss } = volume;
  const place = { owner, process, index, path, sizeBytes, home: { node, lineage } };
  putMap(mapIn(doc, 'volumes'), id, {
    ...place,
    ...{ snapshotEveryMs, snapshotsKept, onLoss },
    ...(volume.hardQuota ? { hardQuota: true } : {}),
    createdAtMs: author.atMs,
  });
}

/** Which engine its data is for goes where the data goes; what was before an upgrade stays where it is. */
function upgradeOf({ owner, before }: VolumeView, view: DesiredView): Pick<VolumeHomeDoc, 'version' | 'before'> {
  const version = view.services.get(asServiceId(owner))?.version;
  return { ...(version === undefined ? {} : { version }), ...(before === undefined ? {} : { before: { ...before } }) };
}

/** One value, replaced as a whole. */
const putHome = (doc: Draft, { id }: Pick<VolumeView, 'id'>, home: VolumeHomeDoc): void =>
  putMap(mapIn(doc, 'volumes')[id]!, 'home', { ...home });

function moveVolume(doc: Draft, change: Of<'moveVolume'>, { author, view }: Applied): void {
  const volume = view.volumes.get(change.volume)!;
  const { node, lineage, base } = volume;
  const begun = change.lineage !== undefined && change.lineage !== lineage;
  if (change.node === node && !begun) return;
  const home = begun
    ? { node: change.node, lineage: change.lineage!, ...baseOf(change.snapshot) }
    : { node: change.node, lineage, from: node, movedAtMs: author.atMs, ...baseOf(base) };
  putHome(doc, volume, { ...upgradeOf(volume, view), ...home });
}

const baseOf = (base: SnapshotBase | undefined) =>
  base === undefined ? {} : { snapshot: base.id, snapshotAtMs: base.takenAtMs };

function createService(doc: Draft, change: Of<'createService'>, { author }: Applied): void {
  const { name, kind, version, plan, memoryBytes, storageBytes, address, secret, backupEveryMs, backupsKept } = change;
  const services = mapIn(doc, 'services');
  putMap(services, change.service, {
    ...{ name, kind, version, plan, memoryBytes, storageBytes, address, secret, backupEveryMs, backupsKept },
    ...(change.wal === true ? { wal: true } : {}),
    stopped: false,
    createdAtMs: author.atMs,
    createdBy: oneLine(author.by, AUTHOR_LENGTH_MAX),
  });
  (services[change.service] as unknown as { restartCount: Counter }).restartCount = new Counter(0);
  if (change.volume !== undefined) createVolume(doc, change.volume, author);
}

function configureService(doc: Draft, change: Of<'configureService'>, { view }: Applied): void {
  const service = mapIn(doc, 'services')[change.service]!;
  const sizes = ['memoryBytes', 'storageBytes', 'backupEveryMs', 'backupsKept'] as const;
  putGiven(service, change, ['plan', 'version', 'secret', ...sizes]);
  if (change.wal !== undefined) put(service, 'wal', change.wal);
  const volume = view.services.get(change.service)?.volume;
  if (volume !== undefined && change.storageBytes !== undefined) {
    put(mapIn(doc, 'volumes')[volume.id]!, 'sizeBytes', change.storageBytes);
  }
}
