// What people ask for in the life of a service: a move, a recovery, an upgrade and what is decided after it. Each ends
// with the service running where its data is, or with nothing changed.

import { createHash, randomUUID } from 'node:crypto';
import { asLineageId, type LineageId, type NodeId } from '../../crdt/ids.ts';
import type { ServiceView, VolumeView } from '../../crdt/view.ts';
import { slotOf } from '../core/pins.ts';
import { slotKey } from '../core/slots.ts';
import { compareVersions, reads } from '../core/versions.ts';
import type { HeldBackup } from '../ports/backups.ts';
import type { NodeService } from '../ports/node-service.ts';
import type { ServiceLifeShape } from './data-shapes.ts';
import { ageOf, beforeShape, bindingsOf } from './data-shaping.ts';
import { enginesOf } from './engines.ts';
import { ApiError } from './errors.ts';
import { GRANT_WAIT_MS, untilGranted } from './granted.ts';
import { nodeNamed } from './lookup.ts';
import { pinFor } from './pinning.ts';
import { nodeName } from './placed-data.ts';
import {
  expectAlive,
  instancesOf,
  isAsked,
  isThere,
  type LifeWork,
  moveVolume,
  runsAnew,
  until,
} from './volume-life.ts';

const OUTCOME_UNKNOWN: readonly unknown[] = ['timeout', 'closed', 'unavailable', 'not_replicated'];
const UPGRADED_WITHIN_MS = 30_000;

export type ServiceWork = {
  service: NodeService;
  /** As it was when it was asked for. */
  asked: ServiceView;
  by: string;
  onLine: (text: string) => void;
  signal: AbortSignal;
};

/** With all that it holds, to another node that is alive. */
export async function moveService(work: ServiceWork, to: string): Promise<ServiceLifeShape> {
  const { ready } = await moveVolume(lifeWork(work), to);
  return shapeOf(work, { ready });
}

/** Answers the name of the node that had its data. Fails with `node_has_data` while that is there. */
export function expectLost(service: NodeService, asked: ServiceView): string {
  const { node, movedFrom } = volumeOf(asked);
  const holder = movedFrom ?? node;
  const lost = nodeName(service.view(), holder);
  if (!isThere(service, holder)) return lost;
  const text = `${lost}, which has the data of ${asked.name}, is alive: ${otherWays(asked.name)}`;
  throw new ApiError('node_has_data', text);
}

/**
 * From a backup, the newest proven one unless another is named, when the node that had the data is lost. Refused while
 * that lives.
 */
export async function recoverService(
  work: ServiceWork,
  { to, backup: id }: { to?: string | undefined; backup?: string | undefined },
): Promise<ServiceLifeShape> {
  const { service, asked, by, onLine, signal } = work;
  const { name, version } = asked;
  const lost = expectLost(service, asked);
  const chosen = keepsNothing(work) ? undefined : await backupToRecover(work, { id, lost });
  const node = placeOf(work, version, to);
  expectAlive(lifeWork(work), node);
  const before = instancesOf(lifeWork(work));
  const lineage = asLineageId(randomUUID());
  if (chosen !== undefined) {
    const { holders: _, ...backup } = chosen;
    onLine(`${name} comes back as it was ${agoText(backup.takenAtMs)}, from backup ${backup.id}`);
    const order = { service: asked.id, backup, version, lineage };
    await service.backups.rebuild(node, order, onLine, signal).catch((error: Error & { code?: unknown }) => {
      if (!OUTCOME_UNKNOWN.includes(error.code)) throw error;
      const where = nodeName(service.view(), node);
      throw new ApiError('unavailable', `${where} went away meanwhile, and ${name} is as it was: ask again`);
    });
  }
  expectSame(work);
  await service.write([{ change: 'moveVolume', volume: volumeOf(asked).id, node, lineage }], by);
  onLine(`starting it on ${nodeName(service.view(), node)}`);
  const ready = await started(work, node, before);
  return shapeOf(work, { ready, ...(chosen === undefined ? {} : { made: chosen }) });
}

/** By a last backup into a new instance of the other version, which then takes the place of the old one. */
export async function upgradeService(
  work: ServiceWork,
  { version, to }: { version: string; to?: string | undefined },
): Promise<ServiceLifeShape> {
  const { service, asked, by, onLine, signal } = work;
  expectUpgradeTo(work, version);
  const volume = volumeOf(asked);
  const node = to === undefined ? upgradeNode(work, version) : placeOf(work, version, to);
  const before = instancesOf(lifeWork(work));
  if (keepsNothing(work)) {
    const lineage = asLineageId(randomUUID());
    await service.write([{ change: 'upgradeService', service: asked.id, version, node, lineage }], by);
    return shapeOf(work, { ready: await started(work, node, before) });
  }
  if (![...before.values()].some(({ ready }) => ready)) {
    throw new ApiError(
      'service_not_ready',
      `${asked.name} does not run, and a backup of it is needed: see peer service status ${asked.name}`,
    );
  }
  const isUpgraded = (): boolean => service.view().volumes.get(volume.id)?.before?.lineage === volume.lineage;
  let made: { id: string; takenAtMs: number } | undefined;
  try {
    made = await service.backups.upgrade({ service: asked.id, version, to: node, by }, onLine, signal);
  } catch (error) {
    // The way to its node broke, and the upgrade need not have: what is written says so.
    const isUnknown = OUTCOME_UNKNOWN.includes((error as { code?: unknown }).code) && !signal.aborted;
    if (!isUnknown || !(await until(lifeWork(work), isUpgraded, UPGRADED_WITHIN_MS))) throw error;
  }
  await until(lifeWork(work), isUpgraded);
  onLine(`starting it as ${asked.kind} ${version} on ${nodeName(service.view(), node)}`);
  const ready = await started(work, node, before);
  return shapeOf(work, { ready, ...(made === undefined ? {} : { made }) });
}

/** What was before the upgrade goes, for good. */
export async function confirmUpgrade(work: ServiceWork): Promise<ServiceLifeShape> {
  const { service, asked, by, onLine, signal } = work;
  const { id, before } = upgraded(asked);
  // With a node that was removed its data is gone already.
  if (service.view().nodes.has(before.node)) {
    expectAlive(lifeWork(work), before.node);
    onLine(`removing what was ${asked.kind} ${before.version} on ${nodeName(service.view(), before.node)}`);
    await service.volumes.discard(id, signal);
  }
  await service.write([{ change: 'confirmService', service: asked.id }], by);
  return shapeOf(work, { ready: true });
}

/** What was before the upgrade is the service's data again; what came since is kept as an orphan. */
export async function revertUpgrade(work: ServiceWork): Promise<ServiceLifeShape> {
  const { service, asked, by, onLine, signal } = work;
  const { id, before } = upgraded(asked);
  const node = nodeName(service.view(), before.node);
  expectAlive(lifeWork(work), before.node);
  placeOf(work, before.version, before.node);
  const known = instancesOf(lifeWork(work));
  onLine(`putting ${asked.kind} ${before.version} back on ${node}`);
  const lineage = lineageAfter(before.lineage);
  await service.volumes.putBack(id, lineage, signal);
  expectSame(work);
  await service.write([{ change: 'revertService', service: asked.id, lineage }], by);
  onLine(`starting it on ${node}`);
  return shapeOf(work, { ready: await started(work, before.node, known) });
}

const otherWays = (name: string): string =>
  `peer service move ${name} --to NODE moves it, peer service restore ${name} newest puts a backup in its place`;

/** Always the same of one: what was cut off after the renaming is done once it is asked for again. */
function lineageAfter(lineage: LineageId): LineageId {
  const hex = createHash('sha256').update(`put back ${lineage}`).digest('hex');
  return asLineageId(
    [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-'),
  );
}

const lifeWork = ({ asked, ...work }: ServiceWork): LifeWork => ({ ...work, volume: volumeOf(asked) });

function volumeOf({ name, volume }: ServiceView): VolumeView {
  if (volume !== undefined) return volume;
  throw new ApiError('service_provided', `${name} was provided: its data is elsewhere, and is looked after there`);
}

function upgraded(asked: ServiceView): { id: VolumeView['id']; before: NonNullable<VolumeView['before']> } {
  const { id, before } = volumeOf(asked);
  if (before !== undefined) return { id, before };
  throw new ApiError('no_upgrade', `${asked.name} has no upgrade that waits to be confirmed or reverted`);
}

/** Also of one whose kind nobody knows here, which says so when it is tried. */
const keepsNothing = ({ service, asked }: ServiceWork): boolean =>
  service.kinds().find(({ name }) => name === asked.kind)?.keepsData === false;

async function backupToRecover(
  { service, asked }: ServiceWork,
  { id, lost }: { id: string | undefined; lost: string },
): Promise<HeldBackup> {
  const { name } = asked;
  // After an upgrade that was taken back there are some of the newer version.
  const all = (await service.backups.list(asked.id)).filter((one) => reads(asked.version, one.version));
  const found =
    id === undefined ? all.find(({ proof }) => proof?.state === 'proven') : all.find((one) => one.id === id);
  if (found !== undefined) return found;
  if (id !== undefined) {
    throw new ApiError(
      'backup_unknown',
      `no node that answers holds a backup ${id} of ${name}: see peer service backups ${name}`,
    );
  }
  const [unproven] = all.filter(({ proof }) => proof?.state !== 'failed');
  const advice =
    unproven === undefined
      ? `all that it held would be lost: wait for ${lost}, or peer service delete ${name} and create it anew`
      : `the newest that is not proven is ${unproven.id}, ${agoText(unproven.takenAtMs)}: peer service recover ${name} --backup ${unproven.id}`;
  throw new ApiError('backup_unknown', `no node that answers holds a proven backup of ${name}; ${advice}`);
}

/** To the second: what came since is lost. */
function agoText(takenAtMs: number): string {
  const seconds = Math.round(ageOf(takenAtMs) / 1000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ];
  const told = parts.slice(parts.findIndex(([count], at) => count > 0 || at === parts.length - 1));
  const age = told.map(([count, unit]) => `${count} ${unit}`).join(' ');
  return `${age} ago (${new Date(takenAtMs).toISOString()})`;
}

/** Only versions that a node has, and none that is older than what the data is. */
function expectUpgradeTo({ service, asked }: ServiceWork, version: string): void {
  const { name, kind } = asked;
  const before = volumeOf(asked).before;
  if (before !== undefined) {
    throw new ApiError(
      'upgrade_unconfirmed',
      `${name} was upgraded from ${before.version} before: peer service upgrade ${name} --confirm or --revert first`,
    );
  }
  const found = enginesOf(kind, service.observed());
  const newer = found.filter((one) => compareVersions(one.version, asked.version) > 0);
  const there =
    newer.length === 0
      ? `no living node has a newer one`
      : `there is ${newer.map((one) => `${one.version} on ${one.nodes.map((node) => node.name).join(', ')}`).join('; ')}`;
  if (newer.some((one) => one.version === version)) return;
  if (version === asked.version) throw new ApiError('bad_request', `${name} is ${kind} ${version} already: ${there}`);
  if (compareVersions(version, asked.version) < 0) {
    throw new ApiError(
      'bad_request',
      `${name} is ${kind} ${asked.version}, and an older engine does not read its backups: ${there}`,
    );
  }
  throw new ApiError('version_unknown', `no living node has ${kind} ${version}: ${there}`);
}

/** Where it is, if that has the version, or another. */
function upgradeNode(work: ServiceWork, version: string): NodeId {
  const { service, asked } = work;
  const { node } = volumeOf(asked);
  const found = enginesOf(asked.kind, service.observed()).find((one) => one.version === version);
  return placeOf(work, version, found?.nodes.some(({ id }) => id === node) === true ? node : undefined);
}

/** A node that can run it in that version; `only`: that one, by name or id. Fails with `no_node_for_data`. */
function placeOf({ service, asked }: ServiceWork, version: string, only?: string): NodeId {
  const view = service.view();
  const volume = volumeOf(asked);
  const slot = slotOf(volume);
  return pinFor(
    { view, observed: service.observed(), pending: [], replaced: [slot] },
    {
      owner: volume.owner,
      key: slotKey(slot),
      memoryBytes: asked.memoryBytes,
      needs: { service: { kind: asked.kind, version } },
    },
    asked.name,
    only === undefined ? undefined : nodeNamed(view, only).id,
  );
}

/** Somebody else may have moved, recovered or deleted it while its data was being made. */
function expectSame({ service, asked, signal }: ServiceWork): void {
  signal.throwIfAborted();
  const now = service.view().volumes.get(volumeOf(asked).id);
  const was = volumeOf(asked);
  if (now?.lineage === was.lineage && now.node === was.node && now.movedFrom === was.movedFrom) return;
  throw new ApiError(
    'volume_moving',
    `${asked.name} was moved, recovered or deleted by someone else meanwhile: see peer service status ${asked.name}`,
  );
}

/** Ready, and the apps that are bound to it are let in again: what was made anew knows none of them yet. */
async function started(work: ServiceWork, node: NodeId, before: ReadonlyMap<string, unknown>): Promise<boolean> {
  const { service, asked, signal, onLine } = work;
  const life = lifeWork(work);
  await until(life, () => runsAnew(life, node, before) || !isAsked(life));
  if (!isAsked(life) || !runsAnew(life, node, before)) return false;
  for (const { id } of bindingsOf(asked, service.view())) {
    const question = { service: asked.id, binding: id, timeoutMs: GRANT_WAIT_MS, signal };
    const warning = await untilGranted(service, question);
    if (warning !== undefined) onLine(warning);
  }
  return true;
}

function shapeOf(
  { service, asked }: ServiceWork,
  { ready, made }: { ready: boolean; made?: { id: string; takenAtMs: number } },
): ServiceLifeShape {
  const view = service.view();
  const now = view.services.get(asked.id) ?? asked;
  return {
    name: asked.name,
    node: nodeName(view, volumeOf(now).node),
    version: now.version,
    ready,
    backup: made?.id ?? null,
    ageMs: made === undefined ? null : ageOf(made.takenAtMs),
    before: beforeShape(now.volume, view),
  };
}
