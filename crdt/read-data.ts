// What the document says of volumes, services and bindings, with conflicts decided, and what is to run because of it.
// Never throws, never writes. Part of readView.

import type { BindingId, ServiceId, VolumeId } from './ids.ts';
import { type AppId, asAppId, asBindingId, asLineageId, asNodeId, asServiceId, asVolumeId } from './ids.ts';
import { INSTANCES_MAX, idProblem, integerProblem, processTypeProblem, TIME_MS_MAX } from './limits.ts';
import {
  BINDINGS_MAX,
  COPIES_KEPT_MAX,
  COPY_INTERVAL_MS_MAX,
  ON_LOSS,
  prefixProblem,
  SERVICE_PROCESS,
  SERVICE_VOLUME_PATH,
  secretProblem,
  USER_PROVIDED,
  VOLUME_BYTES_MAX,
  VOLUME_BYTES_MIN,
  VOLUMES_MAX,
  VOLUMES_PER_SLOT_MAX,
  versionProblem,
  volumePathProblem,
} from './limits-data.ts';
import { readServices, workloadOf } from './read-services.ts';
import { anyText, choice, entries, field, flag, integerIn, isMap } from './read-values.ts';
import type { Place } from './record-problems.ts';
import type { AppView, BindingView, Conflict, DesiredView, ServiceView, VolumeView } from './view.ts';

const TIME = { max: TIME_MS_MAX, default: 0 };
const COPY_INTERVAL = { max: COPY_INTERVAL_MS_MAX, default: 0 };
const COPIES_KEPT = { max: COPIES_KEPT_MAX, default: 0 };
const SIZE = { min: VOLUME_BYTES_MIN, max: VOLUME_BYTES_MAX, default: 1024 ** 3 };

type Context = { conflicts: Conflict[]; at: (key: string) => Place };
type DataViews = Pick<DesiredView, 'apps' | 'services' | 'volumes' | 'bindings' | 'workloads'>;

/** `apps` come back with their volumes; the same map when there is no data at all. `at`: the place of a root's map. */
export function readData(doc: unknown, apps: DesiredView['apps'], { conflicts, at }: Context): DataViews {
  const withoutVolumes = readServices(entries(field(doc, 'services')), { apps, conflicts, place: at('services') });
  const owners = { apps, services: withoutVolumes };
  const volumes = readVolumes(field(doc, 'volumes'), owners, { conflicts, place: at('volumes') });
  const mounted = mountedByOwner(volumes.values());
  const services = new Map(
    [...withoutVolumes].map(([id, service]) => [id, withData(service, mounted.get(asAppId(id))?.[0])] as const),
  );
  const bindings = readBindings(field(doc, 'bindings'), { apps, services }, at('bindings'));
  const seen =
    mounted.size === 0 ? apps : new Map([...apps].map(([id, app]) => [id, withVolumes(app, mounted.get(id))]));
  return { apps: seen, services, volumes, bindings, workloads: workloadsOf(seen, services) };
}

/** Its engine is the one that its data is of. */
const withData = (service: ServiceView, volume: VolumeView | undefined): ServiceView => ({
  ...service,
  version: volume?.version ?? service.version,
  volume,
});

const withVolumes = (app: AppView, volumes: readonly VolumeView[] | undefined): AppView =>
  volumes === undefined ? app : { ...app, volumes };

/** A service runs where its volume is: without one, or as a user-provided one, nowhere. */
function workloadsOf(apps: DesiredView['apps'], services: ReadonlyMap<ServiceId, ServiceView>): DesiredView['apps'] {
  const running = [...services.values()].filter((service) => service.volume !== undefined);
  if (running.length === 0) return apps;
  const all = [...apps, ...running.map((service) => [asAppId(service.id), workloadOf(service)] as const)];
  return new Map(all.sort(([a], [b]) => (a < b ? -1 : 1)));
}

type Owners = { apps: DesiredView['apps']; services: ReadonlyMap<ServiceId, ServiceView> };

function readVolumes(
  docs: unknown,
  owners: Owners,
  { conflicts, place }: { conflicts: Conflict[]; place: Place },
): Map<VolumeId, VolumeView> {
  const volumes = new Map<VolumeId, VolumeView>();
  for (const [key, doc] of entries(docs)) {
    const at = place.in(key);
    const problem =
      volumeProblem(key, doc) ??
      (volumes.size < VOLUMES_MAX ? undefined : `at most ${VOLUMES_MAX} volumes are allowed`);
    if (problem === undefined) volumes.set(asVolumeId(key), readVolume(asVolumeId(key), doc, at));
    else at.leftOut(problem);
  }
  decideMounts(volumes, owners, { conflicts, place });
  return volumes;
}

/** What says whose it is and where must be right: a default would mount it elsewhere. */
function volumeProblem(id: string, doc: unknown): string | undefined {
  const problem = idProblem(id);
  if (problem !== undefined) return `its id ${problem}`;
  if (!isMap(doc)) return 'must be a map';
  const of = (
    key: string,
    found: (value: unknown) => string | undefined,
    value: unknown = anyText(field(doc, key)),
  ) => {
    const problem = found(value);
    return problem === undefined ? undefined : `its ${key} ${problem}`;
  };
  const index = (value: unknown) => integerProblem(value, { min: 0, max: INSTANCES_MAX - 1 });
  return (
    of('owner', idProblem) ??
    of('process', processTypeProblem) ??
    of('index', index, field(doc, 'index')) ??
    of('path', volumePathProblem) ??
    of('node', idProblem, anyText(field(field(doc, 'home'), 'node'))) ??
    of('lineage', idProblem, anyText(field(field(doc, 'home'), 'lineage')))
  );
}

const readVolume = (id: VolumeId, doc: unknown, place: Place): VolumeView => ({
  id,
  owner: asAppId(anyText(field(doc, 'owner')) ?? ''),
  process: anyText(field(doc, 'process')) ?? '',
  index: (field(doc, 'index') as number) + 0,
  path: anyText(field(doc, 'path')) ?? '',
  sizeBytes: integerIn(doc, 'sizeBytes', SIZE, place),
  ...(flag(doc, 'hardQuota', place) ? { hardQuota: true as const } : {}),
  node: asNodeId(anyText(field(field(doc, 'home'), 'node')) ?? ''),
  lineage: asLineageId(anyText(field(field(doc, 'home'), 'lineage')) ?? ''),
  ...readMove(doc),
  ...readOrigin(doc),
  ...readUpgrade(field(doc, 'home')),
  snapshotEveryMs: integerIn(doc, 'snapshotEveryMs', COPY_INTERVAL, place),
  snapshotsKept: integerIn(doc, 'snapshotsKept', COPIES_KEPT, place),
  onLoss: choice(doc, 'onLoss', { choices: ON_LOSS, default: 'wait' }, place),
  createdAtMs: integerIn(doc, 'createdAtMs', TIME, place),
  mounted: false,
});

/** Nobody uses it until the node before says that it has left this very move. */
function readMove(doc: unknown): Pick<VolumeView, 'movedFrom'> {
  const home = field(doc, 'home');
  const from = anyText(field(home, 'from'));
  if (from === undefined || idProblem(from) !== undefined || from === anyText(field(home, 'node'))) return {};
  const movedAtMs = field(home, 'movedAtMs');
  return movedAtMs !== undefined && movedAtMs === field(doc, 'left') ? {} : { movedFrom: asNodeId(from) };
}

/** For people, and to find what the lineage is newer than: what is odd of it is left out. */
function readOrigin(doc: unknown): Pick<VolumeView, 'base' | 'restored'> {
  const home = field(doc, 'home');
  const timeAt = (key: string): number | undefined => {
    const value = field(home, key);
    return integerProblem(value, { min: 0, max: TIME_MS_MAX }) === undefined ? (value as number) + 0 : undefined;
  };
  const idAt = (key: string): string | undefined => {
    const id = anyText(field(home, key));
    return id === undefined || idProblem(id) !== undefined ? undefined : id;
  };
  const [id, takenAtMs, lost, atMs] = [idAt('snapshot'), timeAt('snapshotAtMs'), idAt('lost'), timeAt('restoredAtMs')];
  return {
    ...(id === undefined || takenAtMs === undefined ? {} : { base: { id, takenAtMs } }),
    ...(lost === undefined || atMs === undefined ? {} : { restored: { lost: asNodeId(lost), atMs } }),
  };
}

/** The version is one that an engine is looked for by: what is none is as if it were not said. */
function readUpgrade(home: unknown): Pick<VolumeView, 'version' | 'before'> {
  const version = anyText(field(home, 'version'));
  if (version === undefined || versionProblem(version) !== undefined) return {};
  const was = field(home, 'before');
  const [node, lineage, old] = ['node', 'lineage', 'version'].map((key) => anyText(field(was, key)));
  const isWhole = idProblem(node) === undefined && idProblem(lineage) === undefined && !versionProblem(old);
  if (!isWhole || lineage === anyText(field(home, 'lineage'))) return { version };
  return { version, before: { node: asNodeId(node!), lineage: asLineageId(lineage!), version: old! } };
}

/** The oldest of a slot's path is mounted, the smaller id among equals; and no more than a slot may have. */
function decideMounts(
  volumes: Map<VolumeId, VolumeView>,
  { apps, services }: Owners,
  { conflicts, place }: { conflicts: Conflict[]; place: Place },
): void {
  const mounts = new Map<string, Map<string, VolumeView>>();
  // They come in the order of ids, and sorting keeps that order among equals.
  for (const volume of [...volumes.values()].sort((a, b) => a.createdAtMs - b.createdAtMs)) {
    const service = services.get(asServiceId(volume.owner));
    if (!apps.has(volume.owner) && !(service !== undefined && isDataOf(service, volume))) continue;
    const slot = `${volume.owner} ${volume.process} ${volume.index}`;
    const paths = mounts.get(slot) ?? new Map<string, VolumeView>();
    mounts.set(slot, paths);
    const winner = paths.get(volume.path);
    if (winner !== undefined) conflicts.push({ kind: 'volume', winner: winner.id, loser: volume.id });
    else if (paths.size >= VOLUMES_PER_SLOT_MAX) {
      place.in(volume.id).replaced(`a slot mounts at most ${VOLUMES_PER_SLOT_MAX} volumes, and not this one`);
    } else {
      const mounted = { ...volume, mounted: true };
      paths.set(volume.path, mounted);
      volumes.set(volume.id, mounted);
    }
  }
}

const isDataOf = (service: ServiceView, { process, index, path }: VolumeView): boolean =>
  service.kind !== USER_PROVIDED && process === SERVICE_PROCESS && index === 0 && path === SERVICE_VOLUME_PATH;

/** By (process, index, path). */
function mountedByOwner(volumes: Iterable<VolumeView>): Map<AppId, VolumeView[]> {
  const byOwner = new Map<AppId, VolumeView[]>();
  for (const volume of volumes) {
    if (!volume.mounted) continue;
    const known = byOwner.get(volume.owner);
    if (known === undefined) byOwner.set(volume.owner, [volume]);
    else known.push(volume);
  }
  for (const list of byOwner.values()) list.sort(byPlace);
  return byOwner;
}

function byPlace(a: VolumeView, b: VolumeView): number {
  if (a.process !== b.process) return a.process < b.process ? -1 : 1;
  return a.index - b.index || (a.path < b.path ? -1 : 1);
}

/**
 * One for each service and app: the newest, as whoever made it meant new credentials; the larger id among equals.
 */
function readBindings(docs: unknown, { apps, services }: Owners, place: Place): Map<BindingId, BindingView> {
  const newest = new Map<string, BindingView>();
  let count = 0;
  for (const [key, doc] of entries(docs)) {
    const at = place.in(key);
    const problem =
      bindingProblem(key, doc) ?? (count < BINDINGS_MAX ? undefined : `at most ${BINDINGS_MAX} bindings are allowed`);
    if (problem !== undefined) {
      at.leftOut(problem);
      continue;
    }
    count++;
    const binding = readBinding(asBindingId(key), doc, at);
    // Of what was deleted on the other side of a partition: it goes with it.
    if (!services.has(binding.service) || !apps.has(binding.app)) continue;
    const pair = `${binding.service} ${binding.app}`;
    const other = newest.get(pair);
    const loser = other === undefined || other.createdAtMs <= binding.createdAtMs ? other : binding;
    if (loser !== binding) newest.set(pair, binding);
    if (loser !== undefined) place.in(loser.id).leftOut('a newer binding of the same service and app exists');
  }
  return new Map([...newest.values()].map((one) => [one.id, one] as const).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function bindingProblem(id: string, doc: unknown): string | undefined {
  const problem = idProblem(id);
  if (problem !== undefined) return `its id ${problem}`;
  if (!isMap(doc)) return 'must be a map';
  const service = idProblem(anyText(field(doc, 'service'))) ?? idProblem(anyText(field(doc, 'app')));
  if (service !== undefined) return `the service and the app it names: each ${service}`;
  const prefix = field(doc, 'prefix') === undefined ? undefined : prefixProblem(anyText(field(doc, 'prefix')));
  if (prefix !== undefined) return `its prefix ${prefix}`;
  const secret = secretProblem(anyText(field(doc, 'secret')));
  return secret === undefined ? undefined : `its secret ${secret}`;
}

const readBinding = (id: BindingId, doc: unknown, place: Place): BindingView => ({
  id,
  service: asServiceId(anyText(field(doc, 'service')) ?? ''),
  app: asAppId(anyText(field(doc, 'app')) ?? ''),
  prefix: anyText(field(doc, 'prefix')) ?? '',
  secret: anyText(field(doc, 'secret')) ?? '',
  createdAtMs: integerIn(doc, 'createdAtMs', TIME, place),
});
