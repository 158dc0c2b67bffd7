// Whether a named change of a volume, a service or a binding is allowed on top of a view. Part of validateChange;
// changes nothing.

import type { DataChange, NewVolume, SnapshotBase } from './change-data.ts';
import { checkBoolean, checkChoice, checkId, checkInteger, checkName, isRecord, quote } from './checks.ts';
import { ChangeRejected } from './errors.ts';
import { type AppId, asAppId, type BindingId, type NodeId, type ServiceId, type VolumeId } from './ids.ts';
import { INSTANCES_MAX, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, processTypeProblem, TIME_MS_MAX } from './limits.ts';
import {
  addressProblem,
  BINDINGS_MAX,
  COPIES_KEPT_MAX,
  COPY_INTERVAL_MS_MAX,
  COPY_INTERVAL_MS_MIN,
  EXPORT_PORT_MAX,
  EXPORT_PORT_MIN,
  exportHostProblem,
  HARD_QUOTA_BYTES_MIN,
  kindProblem,
  ON_LOSS,
  prefixProblem,
  SERVICE_PROCESS,
  SERVICE_VOLUME_PATH,
  SERVICES_MAX,
  secretProblem,
  USER_PROVIDED,
  VOLUME_BYTES_MAX,
  VOLUME_BYTES_MIN,
  VOLUMES_MAX,
  VOLUMES_PER_CHANGE_MAX,
  VOLUMES_PER_SLOT_MAX,
  versionProblem,
  volumePathProblem,
} from './limits-data.ts';
import type { BindingView, DesiredView, ServiceView, VolumeView } from './view.ts';

type Of<Kind extends DataChange['change']> = Extract<DataChange, { change: Kind }>;

/** One rule for each change of data. */
export const dataRules = {
  createVolumes: validateNewVolumes,
  configureVolume: (view: DesiredView, change: Of<'configureVolume'>): void => {
    const volume = knownVolume(view, change.volume);
    const { hardQuota, sizeBytes } = volume;
    checkVolumeSettings(change);
    if (change.onLoss === 'restore') checkIsNoService(serviceOf(view, volume));
    if (hardQuota && change.sizeBytes !== undefined && change.sizeBytes < sizeBytes) {
      throw new ChangeRejected('invalid_value', 'size: a volume with a hard quota never gets smaller; make a new one.');
    }
  },
  moveVolume: (view: DesiredView, change: Of<'moveVolume'>): void => {
    const { movedFrom, lineage } = knownVolume(view, change.volume);
    checkPin(view, change.node);
    if (change.lineage !== undefined) checkId('lineage', change.lineage);
    if (change.snapshot !== undefined) checkBase(change.snapshot);
    if (movedFrom === undefined || (change.lineage !== undefined && change.lineage !== lineage)) return;
    const from = view.nodes.get(movedFrom)?.name ?? movedFrom;
    throw new ChangeRejected(
      'volume_moving',
      `The volume is still being moved from ${from}; wait until that is done, or recover it if ${from} is lost.`,
    );
  },
  restoreVolume: validateRestoration,
  leaveVolume: (view: DesiredView, change: Of<'leaveVolume'>): void => {
    knownVolume(view, change.volume);
    checkId('node', change.node);
  },
  keepVolume: (view: DesiredView, change: Of<'keepVolume'>): void => {
    if (knownVolume(view, change.volume).movedFrom === change.node) return;
    throw new ChangeRejected('volume_moving', 'The volume is not on its way from that node any more.');
  },
  deleteVolume: (view: DesiredView, change: Of<'deleteVolume'>): void => {
    const volume = knownVolume(view, change.volume);
    const service = serviceOf(view, volume);
    if (service?.volume?.id !== volume.id) return;
    throw new ChangeRejected(
      'volume_in_use',
      `The volume is the data of service ${service.name}; delete the service (\`peer service delete ${service.name}\`).`,
    );
  },
  createService: validateNewService,
  configureService: validateServiceSettings,
  upgradeService: validateUpgrade,
  revertService: (view: DesiredView, change: Of<'revertService'>): void => {
    upgradedService(view, change.service);
    checkId('lineage', change.lineage);
  },
  confirmService: (view: DesiredView, change: Of<'confirmService'>): void => {
    upgradedService(view, change.service);
  },
  setServiceStopped: (view: DesiredView, change: Of<'setServiceStopped'>): void => {
    runningService(view, change.service);
    checkBoolean('stopped', change.stopped);
  },
  restartService: (view: DesiredView, change: Of<'restartService'>): void => {
    runningService(view, change.service);
  },
  deleteService: validateServiceDeletion,
  bindService: validateBinding,
  exportService: validateExport,
  unexportService: (view: DesiredView, change: Of<'unexportService'>): void => {
    const { name, export: open } = knownService(view, change.service);
    if (open !== undefined) return;
    throw new ChangeRejected(
      'not_exported',
      `${name} is not exported; \`peer service export ${name} HOST:PORT\` does it.`,
    );
  },
  unbindService: (view: DesiredView, change: Of<'unbindService'>): void => {
    knownBinding(view, change.binding);
  },
};

function validateRestoration(view: DesiredView, change: Of<'restoreVolume'>): void {
  const volume = knownVolume(view, change.volume);
  checkPin(view, change.node);
  for (const key of ['lost', 'lostLineage', 'lineage'] as const) checkId(key, change[key]);
  checkBase(change.snapshot);
  if (volume.onLoss !== 'restore') {
    throw new ChangeRejected('volume_in_use', 'The volume waits for its node (on-loss wait): a person may recover it.');
  }
  checkIsNoService(serviceOf(view, volume));
  const isAsSeen = volume.lineage === change.lostLineage && (volume.movedFrom ?? volume.node) === change.lost;
  if (isAsSeen && change.node !== change.lost && change.lineage !== volume.lineage) return;
  throw new ChangeRejected('volume_moving', 'The volume is elsewhere, or another, by now; see `peer volumes`.');
}

/** The newest backup of a service may be older than its engine's own copies: a person says what is to be done. */
function checkIsNoService(service: ServiceView | undefined): void {
  if (service === undefined) return;
  throw new ChangeRejected(
    'invalid_value',
    `The data of service ${service.name} waits for its node; only volumes of apps can be restored by themselves.`,
  );
}

function checkBase(base: SnapshotBase): void {
  if (!isRecord(base)) throw new ChangeRejected('invalid_value', 'snapshot: must say its id and when it was taken.');
  checkId('snapshot', base.id);
  checkInteger('takenAtMs', base.takenAtMs, { min: 0, max: TIME_MS_MAX });
}

function check(what: string, value: unknown, problem: string | undefined): void {
  if (problem !== undefined) throw new ChangeRejected('invalid_value', `${what} ${quote(value)}: ${problem}.`);
}

/** Never shown: it is sealed, or should be. */
function checkSecret(secret: unknown): void {
  const problem = secretProblem(secret);
  if (problem !== undefined) throw new ChangeRejected('invalid_value', `secret: ${problem}.`);
}

function knownVolume(view: DesiredView, id: VolumeId): VolumeView {
  const volume = view.volumes.get(id);
  if (volume !== undefined) return volume;
  throw new ChangeRejected('volume_unknown', `Volume ${quote(id)} does not exist; see \`peer volumes\`.`);
}

function knownService(view: DesiredView, id: ServiceId): ServiceView {
  const service = view.services.get(id);
  if (service !== undefined) return service;
  throw new ChangeRejected('service_unknown', `Service ${quote(id)} does not exist; see \`peer services\`.`);
}

function runningService(view: DesiredView, id: ServiceId): ServiceView {
  const service = knownService(view, id);
  if (service.kind !== USER_PROVIDED) return service;
  throw new ChangeRejected(
    'service_provided',
    `${service.name} is user-provided: it runs elsewhere, and Peer has its credentials alone.`,
  );
}

/** With what was before its upgrade. */
function upgradedService(view: DesiredView, id: ServiceId): void {
  const { name, volume } = runningService(view, id);
  if (volume?.movedFrom !== undefined) throw isMoving(name);
  if (volume?.before !== undefined) return;
  throw new ChangeRejected('no_upgrade', `${name} has no upgrade that waits to be confirmed or reverted.`);
}

const isMoving = (name: string): ChangeRejected =>
  new ChangeRejected('volume_moving', `The data of ${name} is being moved; wait until that is done.`);

function validateUpgrade(view: DesiredView, change: Of<'upgradeService'>): void {
  const { name, version, volume } = runningService(view, change.service);
  check('version', change.version, versionProblem(change.version));
  checkId('lineage', change.lineage);
  checkPin(view, change.node);
  if (volume === undefined) throw new ChangeRejected('volume_unknown', `${name} has no data to upgrade.`);
  if (volume.movedFrom !== undefined) throw isMoving(name);
  if (volume.before !== undefined) {
    throw new ChangeRejected(
      'upgrade_unconfirmed',
      `${name} was upgraded from ${volume.before.version} before; \`peer service upgrade ${name} --confirm\` or \`--revert\` first.`,
    );
  }
  if (change.version !== version && change.lineage !== volume.lineage) return;
  throw new ChangeRejected('invalid_value', `${name} is ${version} already.`);
}

function knownBinding(view: DesiredView, id: BindingId): BindingView {
  const binding = view.bindings.get(id);
  if (binding !== undefined) return binding;
  throw new ChangeRejected('not_bound', `Binding ${quote(id)} does not exist; see \`peer services\`.`);
}

/** The service whose data it is, or was. */
const serviceOf = (view: DesiredView, volume: VolumeView): ServiceView | undefined =>
  [...view.services.values()].find((one) => asAppId(one.id) === volume.owner);

function checkPin(view: DesiredView, node: NodeId): void {
  if (view.nodes.has(node)) return;
  throw new ChangeRejected(
    'node_unknown',
    `Node ${quote(node)} is not a node of this cluster; see \`peer nodes\` for those that are.`,
  );
}

type Copies = { snapshotEveryMs?: number; snapshotsKept?: number; backupEveryMs?: number; backupsKept?: number };

function checkCopies(copies: Copies): void {
  for (const key of ['snapshotEveryMs', 'backupEveryMs'] as const) {
    const every = copies[key];
    if (every === undefined || every === 0) continue;
    checkInteger(key, every, { min: COPY_INTERVAL_MS_MIN, max: COPY_INTERVAL_MS_MAX });
  }
  for (const key of ['snapshotsKept', 'backupsKept'] as const) {
    if (copies[key] !== undefined) checkInteger(key, copies[key], { min: 0, max: COPIES_KEPT_MAX });
  }
}

function checkVolumeSettings(settings: Copies & { sizeBytes?: number; onLoss?: string }): void {
  checkCopies(settings);
  if (settings.sizeBytes !== undefined) checkSize('size', settings.sizeBytes);
  if (settings.onLoss !== undefined) checkChoice('on-loss', settings.onLoss, ON_LOSS);
}

const checkSize = (what: string, bytes: unknown): void =>
  checkInteger(what, bytes, { min: VOLUME_BYTES_MIN, max: VOLUME_BYTES_MAX });

const slotKey = ({ owner, process, index }: Pick<NewVolume, 'owner' | 'process' | 'index'>): string =>
  `${owner} ${process} ${index}`;

function validateNewVolumes(view: DesiredView, { volumes }: Of<'createVolumes'>): void {
  if (!Array.isArray(volumes) || volumes.length === 0 || volumes.length > VOLUMES_PER_CHANGE_MAX) {
    throw new ChangeRejected('limit_reached', `volumes: must be 1 to ${VOLUMES_PER_CHANGE_MAX} at once.`);
  }
  const taken = new Map<string, string[]>();
  for (const one of view.volumes.values()) {
    if (one.mounted) taken.set(slotKey(one), [...(taken.get(slotKey(one)) ?? []), one.path]);
  }
  const ids = new Set<string>(view.volumes.keys());
  for (const volume of volumes) {
    checkNewVolume(view, volume);
    const app = view.apps.get(volume.owner);
    if (app === undefined) {
      throw new ChangeRejected('app_unknown', `App ${quote(volume.owner)} does not exist; see \`peer apps\`.`);
    }
    const slot = `${app.name}/${volume.process === 'web' ? '' : `${volume.process}/`}${volume.index}`;
    const paths = taken.get(slotKey(volume)) ?? [];
    if (ids.has(volume.id) || paths.includes(volume.path)) {
      throw new ChangeRejected('volume_exists', `${slot} has a volume at ${volume.path} already.`);
    }
    if (paths.length >= VOLUMES_PER_SLOT_MAX) {
      throw new ChangeRejected('limit_reached', `${slot} has ${VOLUMES_PER_SLOT_MAX} volumes, the most there may be.`);
    }
    ids.add(volume.id);
    taken.set(slotKey(volume), [...paths, volume.path]);
  }
  checkVolumeCount(ids.size);
}

function checkVolumeCount(count: number): void {
  if (count <= VOLUMES_MAX) return;
  throw new ChangeRejected(
    'limit_reached',
    `The cluster may hold ${VOLUMES_MAX} volumes; delete some that nobody needs (\`peer volumes\`).`,
  );
}

function checkNewVolume(view: DesiredView, volume: NewVolume): void {
  if (!isRecord(volume)) throw new ChangeRejected('invalid_value', 'volume: must be a record.');
  checkId('volume', volume.id);
  checkId('lineage', volume.lineage);
  check('process type', volume.process, processTypeProblem(volume.process));
  checkInteger('index', volume.index, { min: 0, max: INSTANCES_MAX - 1 });
  check('path of a volume', volume.path, volumePathProblem(volume.path));
  checkSize('size', volume.sizeBytes);
  if (volume.hardQuota !== undefined) {
    checkBoolean('hard quota', volume.hardQuota);
    checkInteger('size of a volume with a hard quota', volume.sizeBytes, {
      min: HARD_QUOTA_BYTES_MIN,
      max: VOLUME_BYTES_MAX,
    });
  }
  checkVolumeSettings(volume);
  for (const key of ['snapshotEveryMs', 'snapshotsKept', 'onLoss'] as const) {
    if (volume[key] === undefined) throw new ChangeRejected('invalid_value', `volume: must say its ${key}.`);
  }
  checkPin(view, volume.node);
}

function validateNewService(view: DesiredView, change: Of<'createService'>): void {
  checkId('service', change.service);
  checkName('service name', change.name);
  check('kind', change.kind, kindProblem(change.kind));
  checkSecret(change.secret);
  if (change.wal !== undefined) checkBoolean('wal', change.wal);
  checkInteger('backupsKept', change.backupsKept, { min: 0, max: COPIES_KEPT_MAX });
  checkInteger('backupEveryMs', change.backupEveryMs, { min: 0, max: COPY_INTERVAL_MS_MAX });
  checkCopies(change);
  const namesake = [...view.services.values()].some((one) => one.name === change.name);
  if (namesake || view.services.has(change.service) || view.workloads.has(asAppId(change.service))) {
    throw new ChangeRejected('service_exists', `There is a service ${change.name} already; choose another name.`);
  }
  if (view.services.size >= SERVICES_MAX) {
    throw new ChangeRejected('limit_reached', `The cluster holds ${SERVICES_MAX} services, the most there may be.`);
  }
  if (change.kind === USER_PROVIDED) checkProvided(change);
  else checkRun(view, change);
}

function checkProvided({ version, plan, address, memoryBytes, storageBytes, volume }: Of<'createService'>): void {
  const empty = version === '' && plan === '' && address === '' && memoryBytes === 0 && storageBytes === 0;
  if (empty && volume === undefined) return;
  throw new ChangeRejected(
    'invalid_value',
    'A user-provided service runs elsewhere: it has neither a version, a plan, sizes, an address nor a volume.',
  );
}

function checkRun(view: DesiredView, change: Of<'createService'>): void {
  check('version', change.version, versionProblem(change.version));
  check('plan', change.plan, kindProblem(change.plan));
  checkInteger('memory', change.memoryBytes, { min: MEMORY_BYTES_MIN, max: MEMORY_BYTES_MAX });
  checkSize('storage', change.storageBytes);
  check('address', change.address, addressProblem(change.address));
  if ([...view.services.values()].some((one) => one.address === change.address)) {
    throw new ChangeRejected('address_taken', `Another service has the address ${change.address}; take another.`);
  }
  const { volume } = change;
  if (volume === undefined) throw new ChangeRejected('invalid_value', 'A service that runs here needs a volume.');
  checkNewVolume(view, volume);
  const own =
    volume.owner === asAppId(change.service) &&
    volume.process === SERVICE_PROCESS &&
    volume.index === 0 &&
    volume.path === SERVICE_VOLUME_PATH;
  if (!own || view.volumes.has(volume.id)) {
    throw new ChangeRejected('invalid_value', `The volume of a service must be new, its own, and at /data.`);
  }
  checkVolumeCount(view.volumes.size + 1);
}

function validateServiceSettings(view: DesiredView, change: Of<'configureService'>): void {
  const service = knownService(view, change.service);
  checkCopies(change);
  if (change.secret !== undefined) checkSecret(change.secret);
  if (change.wal !== undefined) {
    runningService(view, service.id);
    checkBoolean('wal', change.wal);
  }
  const { plan, version, memoryBytes, storageBytes } = change;
  if (plan === undefined && version === undefined && memoryBytes === undefined && storageBytes === undefined) return;
  runningService(view, service.id);
  if (plan !== undefined) check('plan', plan, kindProblem(plan));
  if (version !== undefined) check('version', version, versionProblem(version));
  if (memoryBytes !== undefined) checkInteger('memory', memoryBytes, { min: MEMORY_BYTES_MIN, max: MEMORY_BYTES_MAX });
  if (storageBytes !== undefined) checkSize('storage', storageBytes);
}

function validateServiceDeletion(view: DesiredView, change: Of<'deleteService'>): void {
  const service = knownService(view, change.service);
  const bound = [...view.bindings.values()].filter((binding) => binding.service === service.id);
  if (bound.length === 0) return;
  const names = bound.map((binding) => view.apps.get(binding.app)?.name ?? binding.app);
  throw new ChangeRejected(
    'service_bound',
    `${service.name} is bound to ${names.slice(0, 10).join(', ')}; unbind it first (\`peer service unbind ${service.name} ${names[0]}\`).`,
  );
}

function validateExport(view: DesiredView, change: Of<'exportService'>): void {
  const { name, export: open } = runningService(view, change.service);
  checkId('export', change.export);
  checkPin(view, change.node);
  check('host', change.host, exportHostProblem(change.host));
  checkInteger('port', change.port, { min: EXPORT_PORT_MIN, max: EXPORT_PORT_MAX });
  checkSecret(change.secret);
  if (open !== undefined) {
    throw new ChangeRejected(
      'already_exported',
      `${name} is exported at ${open.host} port ${open.port} already; close that first (\`peer service export ${name} --stop\`).`,
    );
  }
  const other = [...view.services.values()].find(
    (one) => one.export?.node === change.node && one.export.port === change.port,
  );
  if (other === undefined) return;
  throw new ChangeRejected(
    'already_exported',
    `Port ${change.port} of that node is where ${other.name} is exported; choose another port.`,
  );
}

function validateBinding(view: DesiredView, change: Of<'bindService'>): void {
  checkId('binding', change.binding);
  const service = knownService(view, change.service);
  const app = view.apps.get(change.app as AppId);
  if (app === undefined) {
    throw new ChangeRejected('app_unknown', `App ${quote(change.app)} does not exist; see \`peer apps\`.`);
  }
  check('prefix', change.prefix, prefixProblem(change.prefix));
  checkSecret(change.secret);
  const present = [...view.bindings.values()].find((one) => one.service === service.id && one.app === app.id);
  if (change.replaces !== undefined && present?.id !== change.replaces) {
    throw new ChangeRejected('not_bound', `${app.name} is not bound to ${service.name} by that binding.`);
  }
  if (present !== undefined && change.replaces === undefined) {
    throw new ChangeRejected(
      'already_bound',
      `${app.name} is bound to ${service.name} already; give it new credentials with \`peer service bind ${service.name} ${app.name} --rotate\`.`,
    );
  }
  if (view.bindings.has(change.binding)) {
    throw new ChangeRejected('already_bound', 'A binding of this id exists already; make it under another id.');
  }
  if (view.bindings.size >= BINDINGS_MAX && present === undefined) {
    throw new ChangeRejected('limit_reached', `The cluster holds ${BINDINGS_MAX} bindings, the most there may be.`);
  }
}
