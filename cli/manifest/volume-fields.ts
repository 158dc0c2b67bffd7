// What files say of a volume: how large it is, how often it is copied, what becomes of it. The same keys in a manifest
// and in a Compose file's x-peer. Pure.

import * as v from 'valibot';
import type { PushOptions } from '../../node/api/validate.ts';
import { parseDuration, parseSize, parseVolume, parseWhole, VOLUME_SIZE } from '../values.ts';
import { isMapping } from './document.ts';
import { mapping, read, yesOrNo } from './fields.ts';

export type VolumeWish = NonNullable<PushOptions['volumes']>[number];

/** As --snapshot and --keep take them. */
const SNAPSHOT_EVERY = { min: '60s', max: '366d' };
const SNAPSHOTS_KEPT = { min: 1, max: 1000 };
const ON_LOSS = ['wait', 'restore'] as const;

const every = (value: string): number =>
  value === 'never' || value === '0' ? 0 : parseDuration(value, '', SNAPSHOT_EVERY);
const settings = {
  size: v.nullish(read((value) => parseSize(value, '', VOLUME_SIZE))),
  snapshot: v.nullish(read(every)),
  keep: v.nullish(read((value) => parseWhole(value, '', SNAPSHOTS_KEPT))),
  'on-loss': v.nullish(v.picklist(ON_LOSS, 'should be wait or restore')),
  'hard-quota': v.nullish(yesOrNo),
};
type Settings = v.InferOutput<ReturnType<typeof mapping<typeof settings>>>;

/** Without its path: `size: 2G`, `snapshot: 1h`, `keep: 24`, `on-loss: wait`. */
export const volumeSettings = v.pipe(mapping(settings), v.transform(wishOf));

const path = read((value) => parseVolume(value, ''));
const whole = v.pipe(
  mapping({
    path: v.pipe(v.string('should be text'), v.startsWith('/', 'should be a path such as /data')),
    ...settings,
  }),
  v.transform(({ path, ...rest }): VolumeWish => ({ path, ...wishOf(rest) })),
);

/** An entry of a manifest's `volumes`: `/data`, `/data:2G`, or a mapping with `path`. */
export const volumeEntry = v.lazy(
  (input): v.GenericSchema<unknown, VolumeWish> =>
    isMapping(input) ? (whole as v.GenericSchema<unknown, VolumeWish>) : (path as v.GenericSchema<unknown, VolumeWish>),
);

function wishOf({
  size,
  snapshot,
  keep,
  'on-loss': onLoss,
  'hard-quota': hardQuota,
}: Settings): Omit<VolumeWish, 'path'> {
  return {
    ...(typeof size === 'number' ? { sizeBytes: size } : {}),
    ...(typeof snapshot === 'number' ? { snapshotEveryMs: snapshot } : {}),
    ...(typeof keep === 'number' ? { snapshotsKept: keep } : {}),
    ...(onLoss ? { onLoss } : {}),
    ...(hardQuota ? { hardQuota } : {}),
  };
}
