// What a node that goes would take with it: services and volumes whose data is there, and how they are moved first.

import type { NodeId } from '../../crdt/ids.ts';
import type { VolumeView } from '../../crdt/view.ts';
import { slotOf } from '../core/pins.ts';
import { slotKey } from '../core/slots.ts';
import { compareText } from '../core/text.ts';
import { ageText } from '../lib/age-text.ts';
import type { NodeService } from '../ports/node-service.ts';
import type { MovedDataShape, StrandedShape } from './data-shapes.ts';
import { ageOf, provenAgeMs, serviceState } from './data-shaping.ts';
import { ApiError, failureOf } from './errors.ts';
import { nodeName, statusOf } from './placed-data.ts';
import { moveVolume, ofItsSlot, placeFor } from './volume-life.ts';

/** Named in one line that refuses. */
const NAMED_MAX = 10;

export async function strandedBy(service: NodeService, node: NodeId): Promise<StrandedShape> {
  const view = service.view();
  const known = { view, observed: service.observed() };
  const here = [...view.volumes.values()].filter((volume) => holderOf(volume) === node);
  const exports = [...view.services.values()]
    .flatMap(({ name: service, export: open }) =>
      open?.node === node ? [{ service, host: open.host, port: open.port }] : [],
    )
    .sort((a, b) => compareText(a.service, b.service));
  if (here.length === 0) return { services: [], volumes: [], exports };
  const [backups, snapshots] = await Promise.all([service.backups.list(undefined), service.volumes.list(undefined)]);
  const services = [...view.services.values()].filter((one) => here.some(({ id }) => id === one.volume?.id));
  const dataOf = new Set(services.map(({ volume }) => volume?.id));
  return {
    exports,
    services: services
      .map((one) => ({
        name: one.name,
        kind: one.kind,
        version: one.version,
        state: serviceState(one, known),
        provenBackupAgeMs: provenAgeMs(backups.filter((backup) => backup.service === one.id)),
      }))
      .sort((a, b) => compareText(a.name, b.name)),
    volumes: here
      .filter(({ id }) => !dataOf.has(id))
      .map(({ id, owner, process, index, path, mounted }) => {
        const newest = snapshots.find((snapshot) => snapshot.volume === id);
        return {
          ...{ id, process, index, path, mounted },
          owner: view.workloads.get(owner)?.name ?? owner,
          snapshotAgeMs: newest === undefined ? null : ageOf(newest.takenAtMs),
        };
      })
      .sort((a, b) => compareText(a.owner, b.owner) || a.index - b.index || compareText(a.path, b.path)),
  };
}

/** While it is on its way it is where it was. */
const holderOf = ({ node, movedFrom }: VolumeView): NodeId => movedFrom ?? node;

/** What may be done instead of stranding it: of a command that moves it first when it is told to. */
export const movesFirst = (command: string): string =>
  `${command} --with-data moves it first, --strand leaves it there`;

/** Of the removal of a node, by whether it can still be asked for what it has. */
export function beforeRemoval(service: NodeService, node: NodeId): string {
  const status = statusOf(node, { view: service.view(), observed: service.observed() });
  const first =
    status === 'alive' || status === 'suspect'
      ? `peer nodes drain ${nodeName(service.view(), node)} --with-data moves it first`
      : `peer service recover and peer volume recover bring back what there is of it elsewhere`;
  return `${first}, --strand removes the node all the same`;
}

/** Fails with `data_stranded` when there is any, which names it. `ways`: what may be done about it. */
export async function expectNothingStranded(service: NodeService, node: NodeId, ways: string): Promise<void> {
  const { services, volumes } = await strandedBy(service, node);
  const lines = [
    ...services.map((one) => `${one.name} (${newestText('proven backup', one.provenBackupAgeMs)})`),
    ...volumes.map((one) => `${volumeText(one)} (${newestText('snapshot', one.snapshotAgeMs)})`),
  ];
  if (lines.length === 0) return;
  const more = lines.length - NAMED_MAX;
  const shown = lines.slice(0, NAMED_MAX).join(', ');
  throw new ApiError(
    'data_stranded',
    `${nodeName(service.view(), node)} has the data of ${shown}${more > 0 ? ` and ${more} more` : ''}: ${ways}`,
  );
}

const newestText = (what: string, ageMs: number | null): string =>
  ageMs === null ? `no ${what}` : `newest ${what} ${ageText(ageMs)} old`;

const volumeText = ({ owner, process, index, path }: StrandedShape['volumes'][number]): string =>
  `${owner}/${process === 'web' ? '' : `${process}/`}${index}:${path}`;

/**
 * Moves what can be moved, slot by slot, each to the node that is best for it; the node drains from now on, so that
 * nothing new comes. Fails with `data_stranded` when some of it is left, after all has been tried.
 */
export async function moveDataAway(
  work: { service: NodeService; by: string; onLine: (text: string) => void; signal: AbortSignal },
  node: NodeId,
): Promise<MovedDataShape> {
  const { service, by, onLine, signal } = work;
  await service.write([{ change: 'setDraining', node, draining: true }], by);
  const moved: MovedDataShape['moved'] = [];
  const left: string[] = [];
  for (const volume of slotsOn(service, node)) {
    if (signal.aborted) break;
    const one = { ...work, volume };
    const what = slotText(service, volume);
    try {
      if (!volume.mounted) throw new ApiError('bad_request', `nothing mounts it: peer volume delete ${volume.id}`);
      const to = placeFor(one, ofItsSlot(one));
      onLine(`moving ${what} to ${nodeName(service.view(), to)}`);
      const done = await moveVolume(one, to);
      moved.push({ what, node: done.node, ready: done.ready });
    } catch (error) {
      const { message } = failureOf(error) ?? (error as Error);
      onLine(`${what} stays: ${message}`);
      left.push(`${what} (${message})`);
    }
  }
  if (left.length === 0) return { moved };
  throw new ApiError(
    'data_stranded',
    `${nodeName(service.view(), node)} drains, and still has the data of ${left.slice(0, NAMED_MAX).join(', ')}`,
  );
}

/** The first volume of each: those of one slot are moved together. */
function slotsOn(service: NodeService, node: NodeId): VolumeView[] {
  const found = new Map<string, VolumeView>();
  for (const volume of service.view().volumes.values()) {
    if (volume.node !== node) continue;
    const key = volume.mounted ? slotKey(slotOf(volume)) : volume.id;
    if (!found.has(key)) found.set(key, volume);
  }
  return [...found.values()];
}

function slotText(service: NodeService, { owner, process, index, path, mounted }: VolumeView): string {
  const view = service.view();
  const name = view.workloads.get(owner)?.name ?? owner;
  if ([...view.services.values()].some((one) => (one.id as string) === owner)) return name;
  const slot = `${name}/${process === 'web' ? '' : `${process}/`}${index}`;
  return mounted ? slot : `${slot}:${path}`;
}
