import { expect, it, vi } from 'vitest';
import { asInstanceId, asLineageId, asVolumeId, type InstanceId, type VolumeId } from '../../crdt/ids.ts';
import type { RecordProblem } from '../../crdt/record-problems.ts';
import type { VolumeView } from '../../crdt/view.ts';
import type { LocalVolume } from '../../node/ports/volumes.ts';
import { DeletedVolumes } from '../../node/volumes/deleted.ts';
import { silentLog } from '../router/cluster.ts';

const [data, other] = [asVolumeId('v-data'), asVolumeId('v-other')];
const [first, second] = [asLineageId('l1'), asLineageId('l2')];

function node(there: { id: VolumeId; lineage: LocalVolume['lineage']; heldBy?: InstanceId }[]) {
  let wanted = new Set<VolumeId>([data]);
  const volumes = {
    list: () => there as LocalVolume[],
    remove: async (ref: { id: VolumeId; lineage: LocalVolume['lineage'] }) => {
      there.splice(
        there.findIndex(({ id, lineage }) => id === ref.id && lineage === ref.lineage),
        1,
      );
    },
  };
  const problems: RecordProblem[] = [];
  const view = () => ({ volumes: new Map([...wanted].map((id) => [id, {} as VolumeView])), problems });
  const deleted = new DeletedVolumes({ view, volumes, log: silentLog, lookMs: 5 });
  const want = (...ids: VolumeId[]): void => {
    wanted = new Set(ids);
    deleted.desiredChanged();
  };
  return { there, want, deleted, problems };
}

it('a volume that was deleted › goes with every lineage of it', async () => {
  const { there, want, deleted } = node([
    { id: data, lineage: first },
    { id: data, lineage: second },
  ]);
  want();
  await vi.waitFor(() => expect(there).toEqual([]));
  await deleted.stop();
});

it('a volume that was deleted › goes once the instance that has it mounted has ended', async () => {
  const { there, want, deleted } = node([{ id: data, lineage: first, heldBy: asInstanceId('i-1') }]);
  want();
  await new Promise(setImmediate);
  expect(there).toHaveLength(1);
  delete there[0]!.heldBy;
  await vi.waitFor(() => expect(there).toEqual([]));
  await deleted.stop();
});

it('a volume that the desired state was never seen to have › stays', async () => {
  const { there, want, deleted } = node([{ id: other, lineage: first }]);
  want();
  await deleted.stop();
  expect(there).toHaveLength(1);
});

it('a volume that a merge brings back › stays', async () => {
  const { there, want, deleted } = node([{ id: data, lineage: first, heldBy: asInstanceId('i-1') }]);
  want();
  want(data);
  delete there[0]!.heldBy;
  await deleted.stop();
  expect(there).toHaveLength(1);
});

it('a volume whose record breaks a rule, and so is not seen › stays', async () => {
  const { there, want, deleted, problems } = node([{ id: data, lineage: first }]);
  problems.push({ record: 'volumes/v-data', problem: 'its path must be absolute', outcome: 'left out' });
  want();
  await deleted.stop();
  expect(there).toHaveLength(1);
});
