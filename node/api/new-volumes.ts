// Volumes that the slots of an app lack, as the change that makes them: what was asked for, and what slot 0 has
// already. Writes nothing.

import { randomUUID } from 'node:crypto';
import type { NewVolume } from '../../crdt/change-data.ts';
import { type AppId, asLineageId, asVolumeId } from '../../crdt/ids.ts';
import type { OnLoss } from '../../crdt/schema.ts';
import type { ReleaseView, VolumeView } from '../../crdt/view.ts';
import type { NodeService } from '../ports/node-service.ts';
import { pinFor } from './pinning.ts';

export type VolumeWish = {
  path: string;
  sizeBytes?: number | undefined;
  snapshotEveryMs?: number | undefined;
  snapshotsKept?: number | undefined;
  onLoss?: OnLoss | undefined;
  hardQuota?: boolean | undefined;
};

export type SlotsAsked = {
  app: { id: AppId; name: string; memoryBytes: number };
  /** Those that its slots mount already. */
  volumes: readonly VolumeView[];
  process: string;
  count: number;
  wishes: readonly VolumeWish[];
  release: Pick<ReleaseView, 'droplet' | 'image'>;
};

type VolumeSettings = Pick<
  NewVolume,
  'path' | 'sizeBytes' | 'snapshotEveryMs' | 'snapshotsKept' | 'onLoss' | 'hardQuota'
>;

const SIZE_BYTES_DEFAULT = 1024 ** 3;

/**
 * Empty when every slot has what it is to have. All volumes of one slot are on one node; the slots of an app are
 * spread over nodes. Fails with `no_node_for_data` when one can be had nowhere.
 */
export function newVolumes(service: Pick<NodeService, 'view' | 'observed'>, asked: SlotsAsked): NewVolume[] {
  const { app, process, volumes } = asked;
  const view = service.view();
  const settings = settingsOf(asked);
  const made: NewVolume[] = [];
  for (let index = 0; index < asked.count && settings.length > 0; index++) {
    const held = volumes.filter((one) => one.process === process && one.index === index);
    const missing = settings.filter(({ path }) => !held.some((one) => one.path === path));
    if (missing.length === 0) continue;
    const slot = { app: app.id, process, index };
    const node =
      held[0]?.node ??
      pinFor(
        { view, observed: service.observed(), pending: made, replaced: [slot] },
        {
          owner: app.id,
          key: `${app.id}/${process}/${index}`,
          memoryBytes: app.memoryBytes,
          needs: { ...asked.release, hardQuotaBytes: hardQuotaBytes(missing) },
        },
        `the data of ${app.name}/${process === 'web' ? '' : `${process}/`}${index}`,
      );
    for (const one of missing) {
      const ids = { id: asVolumeId(randomUUID()), lineage: asLineageId(randomUUID()) };
      made.push({ ...ids, owner: app.id, process, index, node, ...one });
    }
  }
  return made;
}

/** How much disk the hard quotas among them take. */
export const hardQuotaBytes = (volumes: readonly Pick<VolumeView, 'hardQuota' | 'sizeBytes'>[]): number =>
  volumes.reduce((sum, one) => sum + (one.hardQuota ? one.sizeBytes : 0), 0);

/** Of each path once: as slot 0 has it, else as it is asked for. */
function settingsOf({ volumes, process, wishes }: SlotsAsked): VolumeSettings[] {
  const first = volumes.filter((one) => one.process === process && one.index === 0);
  const asked = wishes.filter(({ path }) => !first.some((one) => one.path === path));
  return [
    ...first.map(({ path, sizeBytes, snapshotEveryMs, snapshotsKept, onLoss, hardQuota }) => ({
      path,
      sizeBytes,
      snapshotEveryMs,
      snapshotsKept,
      onLoss,
      ...(hardQuota ? { hardQuota } : {}),
    })),
    ...asked.map(
      ({
        path,
        sizeBytes = SIZE_BYTES_DEFAULT,
        snapshotEveryMs = 0,
        snapshotsKept = 0,
        onLoss = 'wait',
        hardQuota,
      }) => ({
        ...{ path, sizeBytes, snapshotEveryMs, snapshotsKept, onLoss },
        ...(hardQuota ? { hardQuota: true as const } : {}),
      }),
    ),
  ];
}
