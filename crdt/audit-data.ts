// What the history shows of a named change of data. Part of describeChange; never a secret.

import type { HistoryChange } from './audit.ts';
import type { NamedChange } from './change.ts';
import type { DataChange } from './change-data.ts';
import { type AppId, asServiceId, type NodeId, type ServiceId, type VolumeId } from './ids.ts';
import type { DesiredView } from './view.ts';

const DATA_CHANGES: readonly string[] = [
  'createVolumes',
  'configureVolume',
  'moveVolume',
  'restoreVolume',
  'leaveVolume',
  'keepVolume',
  'deleteVolume',
  'createService',
  'configureService',
  'upgradeService',
  'revertService',
  'confirmService',
  'setServiceStopped',
  'restartService',
  'deleteService',
  'bindService',
  'unbindService',
  'exportService',
  'unexportService',
] satisfies DataChange['change'][];

export const isDataChange = (change: NamedChange): change is DataChange => DATA_CHANGES.includes(change.change);

export function describeDataChange(change: DataChange, view: DesiredView): HistoryChange {
  return { change: change.change, ...details(change, view) };
}

/** Lists exactly what is shown, as for every other change. */
function details(change: DataChange, view: DesiredView): Omit<HistoryChange, 'change'> {
  switch (change.change) {
    case 'createVolumes': {
      const [first] = change.volumes;
      const nodes = [...new Set(change.volumes.map((one) => nodeName(view, one.node)))];
      return { ...ownerOf(view, first?.owner), count: change.volumes.length, path: first?.path, nodes };
    }
    case 'configureVolume': {
      const { sizeBytes, snapshotEveryMs, snapshotsKept, onLoss } = change;
      return { ...volumeOf(view, change.volume), sizeBytes, snapshotEveryMs, snapshotsKept, onLoss };
    }
    case 'moveVolume': {
      const recovered = change.lineage === undefined ? {} : { recovered: true };
      return { ...volumeOf(view, change.volume), to: nodeName(view, change.node), ...recovered };
    }
    case 'restoreVolume':
      return {
        ...volumeOf(view, change.volume),
        ...{ from: nodeName(view, change.lost), to: nodeName(view, change.node), recovered: true },
      };
    case 'leaveVolume':
      return { ...volumeOf(view, change.volume), from: nodeName(view, change.node) };
    case 'keepVolume':
      return { ...volumeOf(view, change.volume), kept: nodeName(view, change.node) };
    case 'deleteVolume':
      return volumeOf(view, change.volume);
    case 'createService': {
      const { service, name, kind, version, plan, volume } = change;
      return { service, name, kind, version, plan, ...(volume && { to: nodeName(view, volume.node) }) };
    }
    case 'configureService': {
      const { plan, memoryBytes, storageBytes, version, backupEveryMs, backupsKept, wal } = change;
      const credentials = change.secret === undefined ? {} : { credentials: true };
      const sizes = { plan, memoryBytes, storageBytes, version, backupEveryMs, backupsKept, wal };
      return { ...serviceOf(view, change.service), ...sizes, ...credentials };
    }
    case 'upgradeService': {
      const { version, node } = change;
      return { ...serviceOf(view, change.service), version, to: nodeName(view, node) };
    }
    case 'revertService':
    case 'confirmService':
      return {
        ...serviceOf(view, change.service),
        version: view.services.get(change.service)?.volume?.before?.version,
      };
    case 'setServiceStopped':
      return { ...serviceOf(view, change.service), stopped: change.stopped };
    case 'restartService':
    case 'deleteService':
      return serviceOf(view, change.service);
    case 'exportService': {
      const { service, node, host, port } = change;
      return { ...serviceOf(view, service), to: nodeName(view, node), address: formatAddress(host, port) };
    }
    case 'unexportService':
      return serviceOf(view, change.service);
    case 'bindService':
      return { ...bound(view, change), rotated: change.replaces === undefined ? undefined : true };
    case 'unbindService': {
      const binding = view.bindings.get(change.binding);
      return binding === undefined ? {} : bound(view, binding);
    }
  }
}

const formatAddress = (host: string, port: number): string =>
  host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;

const nodeName = (view: DesiredView, node: NodeId): string => view.nodes.get(node)?.name ?? node;

const serviceOf = (view: DesiredView, service: ServiceId) => ({ service, name: view.services.get(service)?.name });

const bound = (view: DesiredView, { service, app }: { service: ServiceId; app: AppId }) => ({
  app,
  service,
  name: view.apps.get(app)?.name,
  to: view.services.get(service)?.name,
});

/** The app or the service that it is a volume of. */
function ownerOf(view: DesiredView, owner: AppId | undefined): Pick<HistoryChange, 'app' | 'service' | 'name'> {
  if (owner === undefined) return {};
  const service = view.services.get(asServiceId(owner));
  if (service !== undefined) return { service: service.id, name: service.name };
  return { app: owner, name: view.apps.get(owner)?.name };
}

function volumeOf(view: DesiredView, id: VolumeId): Omit<HistoryChange, 'change'> {
  const volume = view.volumes.get(id);
  if (volume === undefined) return {};
  const { owner, process, index, path } = volume;
  return { ...ownerOf(view, owner), process, index, path };
}
