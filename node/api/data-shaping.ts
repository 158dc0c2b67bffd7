// How the shapes of services, bindings and volumes follow from the desired and the observed state. Pure.

import type { BindingView, DesiredView, ServiceView, VolumeView } from '../../crdt/view.ts';
import { serviceHost } from '../core/service-address.ts';
import { compareText } from '../core/text.ts';
import type { ArchiveWindow } from '../ports/archives.ts';
import type { HeldBackup } from '../ports/backups.ts';
import type { NodeService, ObservedView } from '../ports/node-service.ts';
import type {
  ExportAccess,
  ExportDoorState,
  KeptLog,
  KindInfo,
  ServiceStatus,
  VolumeStatus,
} from '../ports/services-desk.ts';
import type { FoundOrphans, HeldSnapshot } from '../ports/snapshots.ts';
import type {
  BackupShape,
  BindingShape,
  KindShape,
  OrphansShape,
  ServiceExportShape,
  ServiceShape,
  ServiceState,
  ServiceSummaryShape,
  SnapshotShape,
  VolumeDetailShape,
  VolumeShape,
} from './data-shapes.ts';
import { enginesOf } from './engines.ts';
import { workloadOf } from './lookup.ts';
import { isWanted, nodeName, restoredShape, statusOf } from './placed-data.ts';
import { reasonText } from './rollout-progress.ts';
import { instanceShape, instancesOf, type Observed } from './shaping.ts';

type Known = { view: DesiredView; observed: ObservedView };

export const bindingsOf = (service: ServiceView, view: DesiredView): BindingView[] =>
  [...view.bindings.values()].filter((one) => one.service === service.id);

const appName = (view: DesiredView, { app }: BindingView): string => view.apps.get(app)?.name ?? app;

/** Names of the apps that are bound to it, sorted. */
export const boundApps = (service: ServiceView, view: DesiredView): string[] =>
  bindingsOf(service, view)
    .map((one) => appName(view, one))
    .sort(compareText);

export function serviceSummaryShape(service: ServiceView, { view, observed }: Known): ServiceSummaryShape {
  return {
    name: service.name,
    id: service.id,
    kind: service.kind,
    plan: service.plan,
    version: service.version,
    node: service.volume === undefined ? null : nodeName(view, service.volume.node),
    state: serviceState(service, { view, observed }),
    bindings: boundApps(service, view),
    ownsName: service.ownsName,
  };
}

/** The one that counts: what runs or comes up, before what is on its way out. */
function instanceOf(service: ServiceView, { view, observed }: Known): Observed | undefined {
  const workload = workloadOf(view, service);
  const found = workload === undefined ? [] : instancesOf(workload, observed);
  return found.find(({ instance }) => instance.state !== 'stopping') ?? found[0];
}

export function serviceState(service: ServiceView, known: Known): ServiceState {
  const { volume } = service;
  if (volume === undefined) return 'provided';
  const running = instanceOf(service, known)?.instance;
  if (running !== undefined && !(service.stopped && running.state === 'crashed')) return running.state;
  if (service.stopped) return 'stopped';
  const status = statusOf(volume.node, known);
  return status === 'alive' || status === 'suspect' ? 'waiting' : `node ${status}`;
}

export function serviceShape(
  service: ServiceView,
  known: Known & Pick<NodeService, 'explain' | 'kinds'> & ExportKnown,
  status: ServiceStatus | undefined,
  { backups, windows }: { backups: readonly HeldBackup[]; windows: readonly ArchiveWindow[] },
): ServiceShape {
  const { view } = known;
  const isProvided = service.volume === undefined;
  const found = instanceOf(service, known);
  const workload = workloadOf(view, service);
  return {
    ...serviceSummaryShape(service, known),
    bindings: bindingsOf(service, view).map((one) => bindingShape(one, view, isProvided, status)),
    address: isProvided ? null : service.address,
    host: isProvided ? null : serviceHost(service.name),
    memoryBytes: service.memoryBytes,
    storageBytes: service.storageBytes,
    usedBytes: status?.usedBytes ?? null,
    connections: status?.connections ?? null,
    connectionsMax: connectionsMax(service, known.kinds()),
    backupEveryMs: service.backupEveryMs,
    backupsKept: service.backupsKept,
    wal: service.wal === true,
    log: service.wal === true ? logShape(windows, status?.log) : null,
    provenBackupAgeMs: provenAgeMs(backups),
    before: beforeShape(service.volume, view),
    createdAtMs: service.createdAtMs,
    createdBy: service.createdBy,
    instance: found === undefined || workload === undefined ? null : instanceShape(found, workload),
    reason: reasonOf(service, known, found),
    export: exportShape(service, known, status),
  };
}

/** The node that runs it alone knows that nothing was written since the last piece: then the last row goes on. */
function logShape(windows: readonly ArchiveWindow[], kept: KeptLog | undefined): ServiceShape['log'] {
  const [first, last] = [windows[0], windows.at(-1)];
  return {
    fromMs: first?.fromMs ?? null,
    toMs: last === undefined ? null : Math.max(last.toMs, kept?.coveredMs ?? 0),
    rows: windows.length,
    pieceAgeMs: kept?.pieceMs === undefined ? null : ageOf(kept.pieceMs),
  };
}

export const beforeShape = (volume: VolumeView | undefined, view: DesiredView): ServiceShape['before'] =>
  volume?.before === undefined ? null : { version: volume.before.version, node: nodeName(view, volume.before.node) };

function exportShape(
  { export: exported }: ServiceView,
  { view, door, access }: Known & ExportKnown,
  status: ServiceStatus | undefined,
): ServiceExportShape | null {
  if (exported === undefined) return null;
  const { id, host, port, node, createdAtMs, createdBy } = exported;
  return {
    ...{ host, port, node: nodeName(view, node), createdAtMs, createdBy },
    isOpen: door?.isOpen ?? null,
    problem: door?.problem ?? null,
    granted: status === undefined ? null : status.bindings.includes(id),
    certificate: access?.certificate ?? null,
    fingerprint: access?.fingerprint ?? null,
  };
}

/** What its nodes say of an export, and what is known of it here. */
type ExportKnown = { door?: ExportDoorState | undefined; access?: ExportAccess | undefined };

/** Of the newest that was restored for a test; the clock of another node may be ahead. */
export function provenAgeMs(backups: readonly HeldBackup[]): number | null {
  const ages = backups.filter(({ proof }) => proof?.state === 'proven').map(({ takenAtMs }) => ageOf(takenAtMs));
  return ages.length === 0 ? null : Math.min(...ages);
}

export const ageOf = (atMs: number): number => Math.max(0, Date.now() - atMs);

export function backupShape({ holders, proof, takenOn, ...backup }: HeldBackup, view: DesiredView): BackupShape {
  return {
    ...backup,
    ageMs: ageOf(backup.takenAtMs),
    takenOn: nodeName(view, takenOn),
    proof: proof === undefined ? null : { state: proof.state, ageMs: ageOf(proof.atMs), text: proof.text },
    heldBy: holders.map((node) => nodeName(view, node)).sort(compareText),
  };
}

function bindingShape(
  binding: BindingView,
  view: DesiredView,
  isProvided: boolean,
  status: ServiceStatus | undefined,
): BindingShape {
  const { id, prefix, createdAtMs } = binding;
  const granted = isProvided ? true : status === undefined ? null : status.bindings.includes(id);
  return { id, app: appName(view, binding), prefix, createdAtMs, granted };
}

function connectionsMax({ kind, plan }: ServiceView, kinds: readonly KindInfo[]): number | null {
  const plans = kinds.find(({ name }) => name === kind)?.plans as Readonly<Record<string, { connections: number }>>;
  return plans !== undefined && Object.hasOwn(plans, plan) ? plans[plan]!.connections : null;
}

/** What its instance says of itself; without one, why its node starts none. */
function reasonOf(service: ServiceView, known: Known & Pick<NodeService, 'explain'>, found: Observed | undefined) {
  if (found?.instance.reason !== undefined) return found.instance.reason;
  const { volume } = service;
  if (volume === undefined || found !== undefined || service.stopped) return null;
  const name = nodeName(known.view, volume.node);
  const status = statusOf(volume.node, known);
  if (status !== 'alive' && status !== 'suspect') return `its data is on ${name}, which ${STATUS_TEXT[status]}`;
  const { considered } = known.explain({ app: volume.owner, process: volume.process, index: volume.index });
  const own = considered.find(({ node }) => node === volume.node);
  const [reason] = own !== undefined && 'reasons' in own ? own.reasons : [];
  return reason === undefined ? null : `${name} ${reasonText(reason)}`;
}

const STATUS_TEXT = {
  dead: 'is dead: it runs again when that is back; if it never is: peer service recover',
  left: 'has left the cluster',
  unknown: 'has not been heard of',
  removed: 'was removed from the cluster',
} as const;

export function kindShapes(kinds: readonly KindInfo[], observed: ObservedView): KindShape[] {
  return kinds.map(({ name, tags, plans, debianPackage }) => ({
    kind: name,
    tags: [...tags],
    plans: Object.fromEntries(Object.entries(plans).map(([plan, limits]) => [plan, { ...limits }])),
    versions: enginesOf(name, observed).map(({ version, nodes }) => ({
      version,
      nodes: nodes.map((node) => node.name),
    })),
    debianPackage,
  }));
}

export function volumeShape(volume: VolumeView, known: Known): VolumeShape {
  const { view } = known;
  const owner = ownerOf(volume, view);
  return {
    id: volume.id,
    owner: owner?.name ?? volume.owner,
    ownerKind: owner?.kind ?? 'gone',
    process: volume.process,
    index: volume.index,
    path: volume.path,
    sizeBytes: volume.sizeBytes,
    hardQuota: volume.hardQuota === true,
    node: nodeName(view, volume.node),
    nodeStatus: statusOf(volume.node, known),
    wanted: isWanted(volume, view),
    mounted: volume.mounted,
    snapshotEveryMs: volume.snapshotEveryMs,
    snapshotsKept: volume.snapshotsKept,
    onLoss: volume.onLoss,
    restored: restoredShape(volume, view),
    createdAtMs: volume.createdAtMs,
  };
}

export const volumeDetailShape = (
  volume: VolumeView,
  known: Known,
  status: VolumeStatus | undefined,
): VolumeDetailShape => ({
  ...volumeShape(volume, known),
  hostPath: status?.path ?? null,
  usedBytes: status?.usedBytes ?? null,
});

export const snapshotShape = (snapshot: HeldSnapshot, view: DesiredView): SnapshotShape => {
  const { id, volume, owner, process, index, path, sizeBytes, takenAtMs, takenOn, frozenMs, holders } = snapshot;
  return {
    ...{ id, volume, owner, process, index, path, sizeBytes, takenAtMs, frozenMs },
    takenOn: nodeName(view, takenOn),
    holders: holders.map((node) => nodeName(view, node)).sort(compareText),
  };
};

export const orphansShape = ({ orphans, silent }: FoundOrphans, { view, observed }: Known): OrphansShape => ({
  orphans: orphans
    .map((one) => ({
      node: nodeName(view, one.node),
      ...{ volume: one.volume, lineage: one.lineage, why: one.why },
      ...{ owner: one.owner ?? null, process: one.process ?? null, index: one.index ?? null, path: one.path ?? null },
      ...{ sizeBytes: one.sizeBytes ?? null, usedBytes: one.usedBytes ?? null },
      ...{ createdAtMs: one.createdAtMs ?? null, sinceMs: one.sinceMs ?? null },
    }))
    .sort((a, b) => compareText(a.node, b.node) || compareText(a.owner ?? '', b.owner ?? '')),
  silent: [...view.nodes.values()]
    .filter(({ id }) => silent.includes(id) || statusOf(id, { view, observed }) !== 'alive')
    .map(({ name }) => name)
    .sort(compareText),
});

/** Every volume, by the name of its owner, then its slot and path. */
export function volumeShapes(known: Known): VolumeShape[] {
  return [...known.view.volumes.values()]
    .map((volume) => volumeShape(volume, known))
    .sort(
      (a, b) =>
        compareText(a.owner, b.owner) ||
        compareText(a.process, b.process) ||
        a.index - b.index ||
        compareText(a.path, b.path) ||
        compareText(a.id, b.id),
    );
}

function ownerOf({ owner }: VolumeView, view: DesiredView): { name: string; kind: 'app' | 'service' } | undefined {
  const app = view.apps.get(owner);
  if (app !== undefined) return { name: app.name, kind: 'app' };
  const service = [...view.services.values()].find(({ id }) => (id as string) === owner);
  return service === undefined ? undefined : { name: service.name, kind: 'service' };
}
