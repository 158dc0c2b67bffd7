// What people ask for in the life of a volume, step by step: a restore, a move, a recovery. Each ends with the slot
// where its data is, or with nothing changed.

import { randomUUID } from 'node:crypto';
import type { NamedChange } from '../../crdt/change.ts';
import { asLineageId, type NodeId } from '../../crdt/ids.ts';
import { SERVICE_PROCESS } from '../../crdt/limits-data.ts';
import type { VolumeView } from '../../crdt/view.ts';
import { quotaReason } from '../core/feasibility.ts';
import { newestSnapshot } from '../core/newest-snapshot.ts';
import { slotKey } from '../core/slots.ts';
import type { NodeService } from '../ports/node-service.ts';
import type { HeldSnapshot } from '../ports/snapshots.ts';
import type { LifeResultShape as LifeResult } from './data-shapes.ts';
import { ApiError } from './errors.ts';
import { nodeNamed } from './lookup.ts';
import { hardQuotaBytes } from './new-volumes.ts';
import { pinFor } from './pinning.ts';
import { isWanted, nodeName } from './placed-data.ts';
import { reasonText } from './rollout-progress.ts';

/** What a busy machine takes to stop and start an instance; then it is said that it does not run yet. */
const READY_WITHIN_MS = 120_000;
/** Bringing what has changed since the first copy; a large volume that is packed anew takes long. */
const BROUGHT_WITHIN_MS = 6 * 60 * 60_000;
/** What another node has written is here by then; a move may have been called off by then, too. */
const HEARD_WITHIN_MS = 10_000;
/** Looked through for why a move was called off. */
const EVENTS_LOOKED_AT = 100;

export type LifeWork = {
  service: NodeService;
  volume: VolumeView;
  by: string;
  onLine: (text: string) => void;
  signal: AbortSignal;
};

/** Puts what the snapshot holds in the volume's place, on the node that has it or on another. */
export async function restoreVolume(work: LifeWork, snapshotId: string, to?: string): Promise<LifeResult> {
  const { service, volume } = work;
  const view = service.view();
  const node = to === undefined ? volume.node : nodeNamed(view, to).id;
  if (node !== volume.node && ofItsSlot(work).length > 1) {
    throw new ApiError('bad_request', `its slot has further volumes, which are on ${nodeName(view, volume.node)}`);
  }
  expectAlive(work, node);
  expectQuota(work, node);
  const snapshot = snapshotNamed(await service.volumes.list(volume.id), snapshotId);
  return bringBack(work, [{ volume, snapshot }], node);
}

/** The slot's volumes, from their newest snapshots, when the node that had them is gone. */
export async function recoverVolume(work: LifeWork, to?: string): Promise<LifeResult> {
  const { service, volume } = work;
  const view = service.view();
  const lost = [volume.node, volume.movedFrom].find((node) => node !== undefined && !isThere(service, node));
  if (lost === undefined) {
    const name = nodeName(view, volume.node);
    throw new ApiError('volume_in_use', `${name}, which has the volume, is alive: peer volume move or restore instead`);
  }
  if (volume.process === SERVICE_PROCESS) {
    throw new ApiError(
      'bad_request',
      `it is the data of a service, which comes back from a backup: ${recoverOf(work)}`,
    );
  }
  const together = ofItsSlot(work);
  const found = await Promise.all(
    together.map(async (one) => ({ volume: one, snapshot: newestSnapshot(one, await service.volumes.list(one.id)) })),
  );
  const without = found.find(({ snapshot }) => snapshot === undefined);
  if (without !== undefined) {
    throw new ApiError(
      'not_found',
      `no node that answers holds a snapshot of ${without.volume.path}: wait for ${nodeName(view, lost)}, or delete the volume with peer volume delete and push again for an empty one`,
    );
  }
  const node = to === undefined ? placeFor(work, together) : nodeNamed(view, to).id;
  expectAlive(work, node);
  expectQuota(work, node);
  return bringBack(
    work,
    found.map((one) => ({ volume: one.volume, snapshot: one.snapshot! })),
    node,
  );
}

/** The slot's volumes, with all that they hold, to another node that is alive. */
export async function moveVolume(work: LifeWork, to: string): Promise<LifeResult> {
  const { service, volume, by, onLine, signal } = work;
  const view = service.view();
  const node = nodeNamed(view, to).id;
  if (node === volume.node) throw new ApiError('bad_request', `the volume is on ${nodeName(view, node)} already`);
  if (!isThere(service, volume.node)) {
    const name = nodeName(view, volume.node);
    throw new ApiError('unavailable', `${name}, which has the volume, is not alive: ${recoverOf(work)} instead`);
  }
  expectAlive(work, node);
  expectQuota(work, node);
  placeFor(work, ofItsSlot(work), node);
  const before = instancesOf(work);
  onLine(`bringing what it holds to ${nodeName(view, node)} while it runs`);
  await service.volumes.move(volume.id, node, by, signal);
  onLine('stopping it, and bringing what has changed since');
  const isOver = (): boolean =>
    service.view().volumes.get(volume.id)?.movedFrom === undefined || !isThere(service, volume.node);
  // What was written there may not have come here yet.
  await until(work, () => service.view().volumes.get(volume.id)?.node !== volume.node, HEARD_WITHIN_MS);
  await until(work, isOver, BROUGHT_WITHIN_MS);
  if (!signal.aborted) await expectBrought(work, node);
  const ready = await until(work, () => runsAnew(work, node, before) || !isAsked(work));
  return { node: nodeName(service.view(), node), ready: ready && isAsked(work), snapshot: null, ageMs: null };
}

/** Fails with why it was not, as far as is known. */
async function expectBrought({ service, volume, signal, ...work }: LifeWork, node: NodeId): Promise<void> {
  const now = service.view().volumes.get(volume.id);
  if (now === undefined) throw new ApiError('not_found', 'the volume was deleted meanwhile');
  if (now.node === node && now.movedFrom === undefined) return;
  if (now.movedFrom !== undefined) {
    const from = nodeName(service.view(), now.movedFrom);
    throw new ApiError(
      'unavailable',
      `${from} went away before all was brought, which goes on when it is back; if it never is: ${recoverOf({ service, volume, signal, ...work })}`,
    );
  }
  let reason = `it is on ${nodeName(service.view(), now.node)}: see peer events`;
  const events = service.events({ app: volume.owner, lines: EVENTS_LOOKED_AT, follow: false, signal });
  for await (const event of events) if (event.name === 'volume.move_called_off') reason = event.message;
  throw new ApiError('move_called_off', reason);
}

/** What brings it back when its node is lost. */
const recoverOf = ({ service, volume }: LifeWork): string =>
  volume.process === SERVICE_PROCESS
    ? `peer service recover ${service.view().workloads.get(volume.owner)?.name ?? volume.owner}`
    : 'peer volume recover';

async function bringBack(
  work: LifeWork,
  found: readonly { volume: VolumeView; snapshot: HeldSnapshot }[],
  node: NodeId,
): Promise<LifeResult> {
  const { service, by, onLine, signal } = work;
  const view = service.view();
  const before = instancesOf(work);
  const changes: NamedChange[] = [];
  for (const { volume, snapshot } of found) {
    onLine(`restoring ${volume.path} from snapshot ${snapshot.id} on ${nodeName(view, node)}`);
    const lineage = asLineageId(randomUUID());
    const { holders: _, ...order } = snapshot;
    await service.volumes.receive(node, { volume: volume.id, lineage, snapshot: order }, signal);
    const base = { id: snapshot.id, takenAtMs: snapshot.takenAtMs };
    changes.push({ change: 'moveVolume', volume: volume.id, node, lineage, snapshot: base });
  }
  signal.throwIfAborted();
  await service.write(changes, by);
  const [oldest] = found.map(({ snapshot }) => snapshot).sort((a, b) => a.takenAtMs - b.takenAtMs);
  const ready = await until(work, () => runsAnew(work, node, before) || !isAsked(work));
  return {
    node: nodeName(service.view(), node),
    ready: ready && isAsked(work),
    snapshot: oldest!.id,
    ageMs: Math.max(0, Date.now() - oldest!.takenAtMs),
  };
}

export function snapshotNamed(snapshots: readonly HeldSnapshot[], id: string): HeldSnapshot {
  const found = id === 'newest' ? snapshots[0] : snapshots.find((one) => one.id === id);
  if (found !== undefined) return found;
  const what = id === 'newest' ? 'snapshot of it' : `snapshot ${id} of it`;
  throw new ApiError('not_found', `no node that answers holds a ${what}: see peer volume snapshots`);
}

/** All that the volume's slot mounts: they are on one node. */
export function ofItsSlot({ service, volume }: LifeWork): VolumeView[] {
  return [...service.view().volumes.values()].filter(
    (one) =>
      one.mounted &&
      one.owner === volume.owner &&
      one.process === volume.process &&
      one.index === volume.index &&
      one.node === volume.node,
  );
}

/** Also whether one can: `only`. Fails with `no_node_for_data`. */
export function placeFor({ service, volume }: LifeWork, together: readonly VolumeView[], only?: NodeId): NodeId {
  const view = service.view();
  const owner = view.workloads.get(volume.owner);
  if (owner?.release === undefined) {
    throw new ApiError('bad_request', 'nothing says what is to mount it: say where with --to NODE');
  }
  const slot = { app: volume.owner, process: volume.process, index: volume.index };
  const needs = { ...owner.release, hardQuotaBytes: hardQuotaBytes(together) };
  return pinFor(
    { view, observed: service.observed(), pending: [], replaced: [slot] },
    { owner: volume.owner, key: slotKey(slot), memoryBytes: owner.memoryBytes, needs },
    volume.process === SERVICE_PROCESS ? owner.name : `${together.map(({ path }) => path).join(', ')} of ${owner.name}`,
    only,
  );
}

export const isThere = (service: NodeService, node: NodeId): boolean =>
  service.observed().members.some(({ id, status }) => id === node && (status === 'alive' || status === 'suspect'));

export function expectAlive({ service }: LifeWork, node: NodeId): void {
  if (service.observed().members.some(({ id, status }) => id === node && status === 'alive')) return;
  throw new ApiError('unavailable', `${nodeName(service.view(), node)} is not alive: see peer nodes`);
}

/** What has a hard quota takes all of it at once: the slot would be stopped, and then wait for room. */
function expectQuota(work: LifeWork, node: NodeId): void {
  const { service, volume } = work;
  const view = service.view();
  const report = service.observed().members.find(({ id }) => id === node)?.report;
  const reason = report === undefined ? undefined : quotaReason({ report }, hardQuotaBytes(ofItsSlot(work)));
  if (reason === undefined) return;
  throw new ApiError(
    'no_node_for_data',
    `${nodeName(view, node)} cannot take ${volume.path}: it ${reasonText(reason)}`,
  );
}

export const isAsked = ({ service, volume }: LifeWork): boolean => {
  const now = service.view().volumes.get(volume.id);
  return now !== undefined && isWanted(now, service.view());
};

export function instancesOf({ service, volume }: LifeWork): Map<string, { node: NodeId; ready: boolean }> {
  const key = slotKey({ app: volume.owner, process: volume.process, index: volume.index });
  const found = new Map<string, { node: NodeId; ready: boolean }>();
  for (const { id: node, report } of service.observed().members) {
    for (const one of report?.instances ?? []) {
      if (slotKey(one) === key) found.set(one.id, { node, ready: one.state === 'ready' });
    }
  }
  return found;
}

/** By an instance that was not there before, as it mounts what is new. */
export const runsAnew = (work: LifeWork, node: NodeId, before: ReadonlyMap<string, unknown>): boolean =>
  [...instancesOf(work)].some(([id, one]) => one.ready && one.node === node && !before.has(id));

/** Whether it came true in time, before whoever waits has gone. */
export function until(
  { service, signal }: LifeWork,
  isSo: () => boolean,
  timeoutMs = READY_WITHIN_MS,
): Promise<boolean> {
  return new Promise((resolve) => {
    const end = (so: boolean): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', gone);
      unsubscribe();
      resolve(so);
    };
    const gone = (): void => end(false);
    const timer = setTimeout(gone, timeoutMs);
    const unsubscribe = service.onChange(() => isSo() && end(true));
    signal.addEventListener('abort', gone, { once: true });
    if (isSo()) end(true);
    else if (signal.aborted) gone();
  });
}
