// Whether a view keeps every rule of the desired state, whatever the document held: written against the rules, not
// against the reader. Answers the paths of what does not.

import { asAppId } from '../../crdt/ids.ts';
import {
  APPS_MAX,
  choiceProblem,
  commandProblem,
  DESCRIPTION_LENGTH_MAX,
  DISK_BYTES_MAX,
  DISK_BYTES_MIN,
  DROPLET_BYTES_MAX,
  digestProblem,
  domainProblem,
  ENV_KEYS_MAX,
  envKeyProblem,
  envTotalProblem,
  envValueProblem,
  HEALTH_KINDS,
  HEALTH_TIMEOUT_MS_MAX,
  HEALTH_TIMEOUT_MS_MIN,
  healthPathProblem,
  INSTANCES_MAX,
  idProblem,
  integerProblem,
  LABELS_PER_NODE_MAX,
  labelKeyProblem,
  labelValueProblem,
  MAX_SURGE_MAX,
  MAX_UNAVAILABLE_MAX,
  MEMORY_BYTES_MAX,
  MEMORY_BYTES_MIN,
  nameProblem,
  normaliseRoute,
  PARTITION_MODES,
  PROCESS_TYPES_MAX,
  processTypeProblem,
  REASON_LENGTH_MAX,
  ROLES,
  ROUTES_PER_APP_MAX,
  STRATEGIES,
  TIME_MS_MAX,
  TITLE_LENGTH_MAX,
  tokenHashProblem,
} from '../../crdt/limits.ts';
import {
  addressProblem,
  EXPORT_PORT_MAX,
  EXPORT_PORT_MIN,
  exportHostProblem,
  kindProblem,
  ON_LOSS,
  prefixProblem,
  secretProblem,
  VOLUME_BYTES_MAX,
  VOLUME_BYTES_MIN,
  versionProblem,
  volumePathProblem,
} from '../../crdt/limits-data.ts';
import type { AppView, DesiredView, ReleaseView } from '../../crdt/view.ts';

type Check = (path: string, problem: string | undefined) => void;

export function brokenRules(view: DesiredView): string[] {
  const broken: string[] = [];
  const check: Check = (path, problem) => {
    if (problem !== undefined) broken.push(`${path}: ${problem}`);
  };
  check('domain', domainProblem(view.cluster.domain));
  check('cluster', lineProblem(view.cluster.name, 100));
  for (const [id, node] of view.nodes) {
    check(`node ${id}`, idProblem(id) ?? nameProblem(node.name) ?? timeProblem(node.admittedAtMs));
    if (Object.keys(node.labels).length > LABELS_PER_NODE_MAX) check(`node ${id}`, 'too many labels');
    for (const [key, value] of Object.entries(node.labels)) {
      check(`label ${key}`, labelKeyProblem(key) ?? labelValueProblem(value));
    }
  }
  for (const id of view.removedNodes) check(`removed ${id}`, idProblem(id));
  for (const [name, user] of view.users) {
    const named = user.node === undefined ? nameProblem(name) : lineProblem(name, 200);
    check(`user ${name}`, named ?? choiceProblem(user.role, ROLES) ?? tokenHashProblem(user.tokenHash));
    check(`user ${name}`, timeProblem(user.createdAtMs));
  }
  for (const [id, invite] of view.invites) {
    check(`invite ${id}`, idProblem(id) ?? tokenHashProblem(invite.secretHash) ?? timeProblem(invite.expiresAtMs));
  }
  if (view.apps.size > APPS_MAX) check('apps', 'too many');
  for (const app of view.apps.values()) checkApp(app, check);
  for (const [route, app] of view.routes) {
    const normal = normaliseRoute(route);
    check(`route ${route}`, 'route' in normal && normal.route === route ? undefined : 'is not in normal form');
    check(`route ${route}`, view.apps.has(app) ? undefined : 'leads to no app');
  }
  checkData(view, check);
  for (const { record, problem } of view.problems) {
    check('problems', lineProblem(record, 1_000) ?? lineProblem(problem, 1_000));
  }
  return broken;
}

function checkData(view: DesiredView, check: Check): void {
  const mounts = new Set<string>();
  for (const [id, one] of view.volumes) {
    const at = `volume ${id}`;
    check(at, idProblem(id) ?? idProblem(one.owner) ?? idProblem(one.node) ?? idProblem(one.lineage));
    check(at, processTypeProblem(one.process) ?? volumePathProblem(one.path) ?? timeProblem(one.createdAtMs));
    check(at, integerProblem(one.index, { min: 0, max: INSTANCES_MAX - 1 }) ?? choiceProblem(one.onLoss, ON_LOSS));
    check(at, integerProblem(one.sizeBytes, { min: VOLUME_BYTES_MIN, max: VOLUME_BYTES_MAX }));
    if (!one.mounted) continue;
    const mount = `${one.owner} ${one.process} ${one.index} ${one.path}`;
    if (mounts.has(mount)) check(at, 'a second one is mounted in its place');
    mounts.add(mount);
    if (!view.workloads.get(one.owner)?.volumes.includes(one)) check(at, 'is mounted by nobody');
  }
  const addresses = new Set<string>();
  for (const [id, one] of view.services) {
    const at = `service ${id}`;
    check(at, idProblem(id) ?? nameProblem(one.name) ?? kindProblem(one.kind) ?? secretProblem(one.secret));
    if (one.kind === 'user-provided') {
      if (view.workloads.has(asAppId(id))) check(at, 'runs, and is user-provided');
      continue;
    }
    check(at, addressProblem(one.address) ?? versionProblem(one.version) ?? kindProblem(one.plan));
    if (addresses.has(one.address)) check(at, 'has the address of another');
    addresses.add(one.address);
    if (one.export !== undefined) {
      const { id: access, node, host, port, secret } = one.export;
      check(at, idProblem(access) ?? idProblem(node) ?? exportHostProblem(host) ?? secretProblem(secret));
      check(at, integerProblem(port, { min: EXPORT_PORT_MIN, max: EXPORT_PORT_MAX }));
    }
    if (view.workloads.has(asAppId(id)) !== (one.volume !== undefined)) check(at, 'runs without data, or not with it');
  }
  for (const [id, one] of view.bindings) {
    check(`binding ${id}`, idProblem(id) ?? prefixProblem(one.prefix) ?? secretProblem(one.secret));
    if (!view.services.has(one.service) || !view.apps.has(one.app)) check(`binding ${id}`, 'is of nothing');
  }
  for (const app of view.apps.values()) if (view.workloads.get(app.id) !== app) check(app.id, 'is no workload');
}

function checkApp(app: AppView, check: Check): void {
  const at = `app ${app.id}`;
  check(at, idProblem(app.id) ?? nameProblem(app.name) ?? timeProblem(app.createdAtMs));
  check(at, integerProblem(app.memoryBytes, { min: MEMORY_BYTES_MIN, max: MEMORY_BYTES_MAX }));
  check(at, integerProblem(app.diskBytes, { min: DISK_BYTES_MIN, max: DISK_BYTES_MAX }));
  check(at, integerProblem(app.maxUnavailable, { min: 1, max: MAX_UNAVAILABLE_MAX }));
  check(at, integerProblem(app.maxSurge, { min: 0, max: MAX_SURGE_MAX }));
  check(at, integerProblem(app.restartCount, { min: 0, max: Number.MAX_SAFE_INTEGER }));
  check(at, choiceProblem(app.strategy, STRATEGIES) ?? choiceProblem(app.partition, PARTITION_MODES));
  check(at, choiceProblem(app.health.kind, HEALTH_KINDS) ?? healthPathProblem(app.health.path));
  check(at, integerProblem(app.health.timeoutMs, { min: HEALTH_TIMEOUT_MS_MIN, max: HEALTH_TIMEOUT_MS_MAX }));
  if (app.routes.length > ROUTES_PER_APP_MAX) check(at, 'too many routes');
  if (Object.keys(app.scale).length > PROCESS_TYPES_MAX + 1) check(at, 'too many process types');
  for (const [type, count] of Object.entries(app.scale)) {
    check(at, processTypeProblem(type) ?? integerProblem(count, { min: 0, max: INSTANCES_MAX }));
  }
  checkEnv(at, app.env, check);
  if (app.release !== undefined && !app.releases.includes(app.release)) check(at, 'runs a release that it has not');
  for (const release of app.releases) checkRelease(release, check);
}

function checkRelease(release: ReleaseView, check: Check): void {
  const at = `release ${release.id}`;
  const { droplet, image, failed } = release;
  check(at, idProblem(release.id) ?? timeProblem(release.createdAtMs) ?? digestProblem(droplet.digest));
  check(at, integerProblem(release.version, { min: 0, max: Number.MAX_SAFE_INTEGER }));
  check(at, integerProblem(droplet.sizeBytes, { min: 0, max: DROPLET_BYTES_MAX }));
  check(at, lineProblem(release.description, DESCRIPTION_LENGTH_MAX) ?? lineProblem(release.createdBy, 200));
  check(at, lineProblem(release.buildpack, TITLE_LENGTH_MAX) ?? lineProblem(droplet.stack, TITLE_LENGTH_MAX));
  if (image !== undefined) check(at, digestProblem(image.id) ?? lineProblem(image.ref, TITLE_LENGTH_MAX));
  if (failed !== undefined) check(at, lineProblem(failed.reason, REASON_LENGTH_MAX) ?? timeProblem(failed.atMs));
  if (Object.keys(release.processes).length > PROCESS_TYPES_MAX) check(at, 'too many process types');
  for (const [type, command] of Object.entries(release.processes)) {
    check(at, processTypeProblem(type) ?? commandProblem(command));
  }
  checkEnv(at, release.env, check);
}

function checkEnv(at: string, env: Readonly<Record<string, string>>, check: Check): void {
  check(at, envTotalProblem(env));
  if (Object.keys(env).length > ENV_KEYS_MAX) check(at, 'too many variables');
  for (const [key, value] of Object.entries(env)) check(at, envKeyProblem(key) ?? envValueProblem(value));
}

const timeProblem = (atMs: number): string | undefined =>
  Object.is(atMs, -0) ? 'is minus zero' : integerProblem(atMs, { min: 0, max: TIME_MS_MAX });

/** One bounded line that steers no terminal. */
export function lineProblem(text: string, lengthMax: number): string | undefined {
  if (typeof text !== 'string') return 'is no text';
  if (text.length > lengthMax) return `is longer than ${lengthMax}`;
  if (!text.isWellFormed()) return 'holds half a character';
  return /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/.test(text) ? 'holds a control character' : undefined;
}
