// What the document says of service instances, with names and addresses decided, and what each is to run as. Never
// throws, never writes. Part of readView.

import { createHash } from 'node:crypto';
import { asAppId, asBindingId, asDigest, asNodeId, asReleaseId, asServiceId, type ServiceId } from './ids.ts';
import {
  AUTHOR_LENGTH_MAX,
  DISK_BYTES_DEFAULT,
  HEALTH_TIMEOUT_MS_MAX,
  idProblem,
  integerProblem,
  MEMORY_BYTES_DEFAULT,
  MEMORY_BYTES_MAX,
  MEMORY_BYTES_MIN,
  nameProblem,
  RESTART_COUNT_MAX,
  TIME_MS_MAX,
} from './limits.ts';
import {
  addressProblem,
  COPIES_KEPT_MAX,
  COPY_INTERVAL_MS_MAX,
  EXPORT_PORT_MAX,
  EXPORT_PORT_MIN,
  exportHostProblem,
  kindProblem,
  nextAddress,
  SERVICE_PROCESS,
  SERVICES_MAX,
  secretProblem,
  USER_PROVIDED,
  VOLUME_BYTES_MAX,
  VOLUME_BYTES_MIN,
  versionProblem,
} from './limits-data.ts';
import { MAKER_UNKNOWN } from './read-releases.ts';
import { anyText, type Entries, field, flag, integerIn, isMap, line, record } from './read-values.ts';
import type { Place } from './record-problems.ts';
import type { AppView, Conflict, DesiredView, ReleaseView, ServiceView } from './view.ts';

const TIME = { max: TIME_MS_MAX, default: 0 };
const MEMORY = { min: MEMORY_BYTES_MIN, max: MEMORY_BYTES_MAX, default: MEMORY_BYTES_DEFAULT };
const STORAGE = { min: VOLUME_BYTES_MIN, max: VOLUME_BYTES_MAX, default: 1024 ** 3 };

/** In the order of their ids, without their volumes. */
export function readServices(
  docs: Entries,
  { apps, conflicts, place }: { apps: DesiredView['apps']; conflicts: Conflict[]; place: Place },
): Map<ServiceId, ServiceView> {
  const services = new Map<ServiceId, ServiceView>();
  for (const [key, doc] of docs) {
    const at = place.in(key);
    const problem =
      serviceProblem(key, doc) ??
      (apps.has(asAppId(key)) ? 'an app has its id' : undefined) ??
      (services.size < SERVICES_MAX ? undefined : `at most ${SERVICES_MAX} services are allowed`);
    if (problem === undefined) services.set(asServiceId(key), readService(asServiceId(key), doc, at));
    else at.leftOut(problem);
  }
  // They come in the order of ids, and sorting keeps that order among equals.
  const byAge = [...services.values()].sort((a, b) => a.createdAtMs - b.createdAtMs);
  decideNames(services, byAge, conflicts);
  decideAddresses(services, byAge, place);
  return services;
}

/** What says which engine it is must be right: a default would start another one on its data. */
function serviceProblem(id: string, doc: unknown): string | undefined {
  const problem = idProblem(id);
  if (problem !== undefined) return `its id ${problem}`;
  if (!isMap(doc)) return 'must be a map';
  const said = (key: string): string | undefined => anyText(field(doc, key));
  const name = nameProblem(said('name'));
  if (name !== undefined) return `its name ${name}`;
  const kind = kindProblem(said('kind'));
  if (kind !== undefined) return `its kind ${kind}`;
  const secret = secretProblem(said('secret'));
  if (secret !== undefined) return `its secret ${secret}`;
  if (said('kind') === USER_PROVIDED) return undefined;
  const version = versionProblem(said('version'));
  if (version !== undefined) return `its version ${version}`;
  const plan = kindProblem(said('plan'));
  return plan === undefined ? undefined : `its plan ${plan}`;
}

function readService(id: ServiceId, doc: unknown, place: Place): ServiceView {
  const said = (key: string): string => anyText(field(doc, key)) ?? '';
  const runs = said('kind') !== USER_PROVIDED;
  return {
    id,
    name: said('name'),
    ownsName: true,
    kind: said('kind'),
    version: runs ? said('version') : '',
    plan: runs ? said('plan') : '',
    memoryBytes: runs ? integerIn(doc, 'memoryBytes', MEMORY, place) : 0,
    storageBytes: runs ? integerIn(doc, 'storageBytes', STORAGE, place) : 0,
    address: runs ? said('address') : '',
    stopped: flag(doc, 'stopped', place),
    restartCount: integerIn(doc, 'restartCount', { max: RESTART_COUNT_MAX, default: 0 }, place),
    createdAtMs: integerIn(doc, 'createdAtMs', TIME, place),
    createdBy: line(doc, 'createdBy', { lengthMax: AUTHOR_LENGTH_MAX, default: MAKER_UNKNOWN }, place),
    secret: said('secret'),
    backupEveryMs: integerIn(doc, 'backupEveryMs', { max: COPY_INTERVAL_MS_MAX, default: 0 }, place),
    backupsKept: integerIn(doc, 'backupsKept', { max: COPIES_KEPT_MAX, default: 0 }, place),
    ...(runs && field(doc, 'wal') === true ? { wal: true } : {}),
    volume: undefined,
    ...(runs ? readExport(field(doc, 'export'), place.in('export')) : {}),
  };
}

/** What says where it listens, and for whom, must be right: a default would open something else. */
function readExport(doc: unknown, place: Place): Pick<ServiceView, 'export'> {
  if (doc === undefined) return {};
  const said = (key: string): string => anyText(field(doc, key)) ?? '';
  const port = field(doc, 'port');
  const problem = isMap(doc)
    ? (idProblem(said('id')) ??
      idProblem(said('node')) ??
      exportHostProblem(said('host')) ??
      integerProblem(port, { min: EXPORT_PORT_MIN, max: EXPORT_PORT_MAX }) ??
      secretProblem(said('secret')))
    : 'must be a map';
  if (problem !== undefined) {
    place.leftOut(problem);
    return {};
  }
  return {
    export: {
      id: asBindingId(said('id')),
      node: asNodeId(said('node')),
      host: said('host'),
      port: (port as number) + 0,
      secret: said('secret'),
      createdAtMs: integerIn(doc, 'createdAtMs', TIME, place),
      createdBy: line(doc, 'createdBy', { lengthMax: AUTHOR_LENGTH_MAX, default: MAKER_UNKNOWN }, place),
    },
  };
}

/** The oldest owns the name. */
function decideNames(
  services: Map<ServiceId, ServiceView>,
  byAge: readonly ServiceView[],
  conflicts: Conflict[],
): void {
  const owners = new Map<string, ServiceId>();
  for (const { id, name } of byAge) {
    const owner = owners.get(name);
    if (owner === undefined) {
      owners.set(name, id);
      continue;
    }
    services.set(id, { ...services.get(id)!, ownsName: false });
    conflicts.push({ kind: 'serviceName', name, winner: owner, loser: id });
  }
}

/**
 * The oldest has the address it says. Another gets the next one that nobody says, the same on every node; where
 * services were deleted since, it may get its own back.
 */
function decideAddresses(services: Map<ServiceId, ServiceView>, byAge: readonly ServiceView[], place: Place): void {
  const said = byAge.filter(({ kind }) => kind !== USER_PROVIDED);
  const taken = new Set(said.map(({ address }) => address));
  const given = new Set<string>();
  for (const { id, address } of said) {
    const problem = addressProblem(address) ?? (given.has(address) ? 'is the address of another service' : undefined);
    const decided = problem === undefined ? address : (nextAddress(address, taken) ?? '');
    given.add(decided);
    taken.add(decided);
    if (problem === undefined) continue;
    place.in(id).in('address').replaced(problem);
    services.set(id, { ...services.get(id)!, address: decided });
  }
}

const NO_DROPLET = { digest: asDigest(`sha256:${'0'.repeat(64)}`), sizeBytes: 0, stack: '' };

/** A service that runs here, in the shape of an app with one slot. */
export function workloadOf(service: ServiceView): AppView {
  const release = releaseOf(service);
  return {
    id: asAppId(service.id),
    name: service.name,
    ownsName: service.ownsName,
    createdAtMs: service.createdAtMs,
    owner: service.createdBy,
    members: [],
    stopped: service.stopped,
    restartCount: service.restartCount,
    env: record<string>([]),
    scale: record([[SERVICE_PROCESS, 1]]),
    // An engine that recovers after a crash may take long until it answers.
    health: { kind: 'process', path: '/', timeoutMs: HEALTH_TIMEOUT_MS_MAX },
    memoryBytes: service.memoryBytes,
    diskBytes: DISK_BYTES_DEFAULT,
    strategy: 'recreate',
    partition: 'serve',
    maxUnavailable: 1,
    maxSurge: 0,
    release,
    releases: [release],
    routes: [],
    volumes: service.volume === undefined ? [] : [service.volume],
  };
}

function releaseOf(service: ServiceView): ReleaseView {
  return {
    id: asReleaseId(releaseIdOf(service)),
    version: 1,
    createdAtMs: service.createdAtMs,
    createdBy: service.createdBy,
    description: `${service.kind} ${service.version}`,
    droplet: NO_DROPLET,
    service,
    buildpack: '',
    processes: record([[SERVICE_PROCESS, '']]),
    env: record<string>([]),
    failed: undefined,
  };
}

/** Of all that its engine is started with: another one starts it anew. */
function releaseIdOf({ id, version, plan, memoryBytes, wal }: ServiceView): string {
  const hex = createHash('sha256')
    .update(JSON.stringify([id, version, plan, memoryBytes, ...(wal === true ? ['wal'] : [])]))
    .digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}
