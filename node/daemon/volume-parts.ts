// Makes what looks after the life of volumes: their snapshots, and their moves.

import { statfs } from 'node:fs/promises';
import type { NodeId, VolumeId } from '../../crdt/ids.ts';
import type { EventLog } from '../cluster/event-log.ts';
import type { KnownCluster } from '../cluster/known-cluster.ts';
import { writeKeptVolumes, writeLeftVolume } from '../cluster/left-volume.ts';
import type { Replicator } from '../cluster/replicator.ts';
import { slotKey } from '../core/slots.ts';
import type { ClusterEvent } from '../core/types.ts';
import { SNAPSHOT_COPIES, SNAPSHOTS_MAX } from '../ports/data-methods.ts';
import type { VolumeLife, VolumeSnapshot } from '../ports/snapshots.ts';
import { isProof } from '../services/proof.ts';
import { Arrivals } from '../volumes/arrivals.ts';
import { Departures } from '../volumes/departures.ts';
import { SnapshotKeeper } from '../volumes/keeper.ts';
import { VolumeMover } from '../volumes/mover.ts';
import { Orphans } from '../volumes/orphans.ts';
import { LossRestorer } from '../volumes/restorer.ts';
import { SetAside } from '../volumes/set-aside.ts';
import type { Agent } from './agent.ts';
import type { Ground } from './ground.ts';
import type { Lines } from './lines.ts';
import type { Shutdown } from './shutdown.ts';
import type { Storage } from './storage-parts.ts';
import type { Works } from './works.ts';

type Parts = {
  ground: Ground;
  lines: Lines;
  works: Works;
  known: KnownCluster;
  events: EventLog;
  storage: Storage;
  replicator: Replicator;
  agent: Agent;
  record: (event: ClusterEvent) => void;
};

export type VolumeParts = { volumes: VolumeLife; mover: VolumeMover; restorer: LossRestorer };

export async function makeVolumeLife(parts: Parts, shutdown: Shutdown): Promise<VolumeParts> {
  const { ground, lines, works, known, storage, replicator } = parts;
  const { self, view, log, dataDir, name: nodeName } = ground;
  const { gossip } = lines;
  const { blobs, snapshots, differences, volumes: store } = works;
  const { nameOf, aliveOthers } = known;
  const copies = await storage.openCopies<VolumeSnapshot, VolumeId>({
    path: dataDir.file('snapshots.json'),
    max: SNAPSHOTS_MAX,
    methods: SNAPSHOT_COPIES,
    ownerOf: ({ volume }) => volume,
  });
  const record: ConstructorParameters<typeof SnapshotKeeper>[0]['record'] = (name, volume, message) =>
    parts.record({ name, app: volume.owner, message });
  const shared = { self, view, copies, gossip, nameOf, record, log };
  const keeper = new SnapshotKeeper({
    ...shared,
    ...{ snapshots, aliveOthers },
    nowMs: () => Date.now(),
  });
  shutdown.add('snapshots', () => keeper.close());
  const isGone = (node: NodeId): boolean =>
    !known.observed().members.some(({ id, status }) => id === node && (status === 'alive' || status === 'suspect'));
  const expectVolume = (id: VolumeId) => keeper.expectVolume(id);
  const mover = new VolumeMover({
    ...shared,
    ...{ keeper, store, snapshots, blobs, isGone },
    departures: new Departures({ ...shared, store, differences, blobs }),
    arrivals: new Arrivals({
      ...{ self, expectVolume, snapshots, differences, copies, blobs, gossip, isGone },
      nowMs: ground.nowMs,
    }),
    runsAt: ({ node, owner: app, process, index: number }) => {
      const key = slotKey({ app, process, index: number });
      const member = known.aliveOtherMembers().find(({ id }) => id === node);
      return member?.report?.instances.some((one) => one.state === 'ready' && slotKey(one) === key) ?? false;
    },
    writeMoved: async (volumes, to, by) => {
      const changes = volumes.map((volume) => ({ change: 'moveVolume' as const, volume, node: to }));
      await replicator.write(changes, { by, atMs: Date.now() });
    },
    writeKept: (kept) => writeKeptVolumes(kept, { replicator, node: self, nodeName }),
    freeBytes: async () => {
      const { bavail, bsize } = await statfs(store.root);
      return bavail * bsize;
    },
    nowMs: ground.nowMs,
    writeLeft: (volume) => writeLeftVolume(volume, { replicator, node: self, nodeName, log }),
    log,
  });
  shutdown.add('moves', () => mover.close());
  const aside = new SetAside({ self, gossip, store, expectVolume });
  const orphans = makeOrphans(parts, shutdown);
  const volumes: VolumeLife = {
    list: (volume) => keeper.list(volume),
    take: (...asks) => keeper.take(...asks),
    receive: (...asks) => mover.receive(...asks),
    move: (...asks) => mover.move(...asks),
    putBack: (...asks) => aside.putBack(...asks),
    discard: (...asks) => aside.discard(...asks),
    orphans: () => orphans.orphans(),
    removeOrphan: (...asks) => orphans.removeOrphan(...asks),
  };
  const restorer = new LossRestorer({
    ...shared,
    ...{ keeper, store, aliveOthers },
    receive: (...asks) => mover.receive(...asks),
    mayRestore: (order) => parts.agent.mayRestore(order),
    write: async (changes) => {
      await replicator.write(changes, { by: `node ${nodeName}`, atMs: Date.now() });
    },
    nowMs: () => Date.now(),
  });
  shutdown.add('restores of lost volumes', () => restorer.close());
  return { volumes, mover, restorer };
}

function makeOrphans({ ground, lines, works, known, agent, record }: Parts, shutdown: Shutdown): Orphans {
  const { self, view, log, store } = ground;
  const orphans = new Orphans({
    ...{ self, view, log, gossip: lines.gossip, store: works.volumes },
    ...{ nameOf: known.nameOf, aliveOthers: known.aliveOthers },
    isCaughtUp: () => agent.isCaughtUp(),
    isOthers: isProof,
    record: (message) => record({ name: 'volume.orphan_removed', message }),
    nowMs: () => Date.now(),
  });
  shutdown.add('orphans', () => orphans.close());
  orphans.desiredChanged();
  store.onChange(() => orphans.desiredChanged());
  return orphans;
}
