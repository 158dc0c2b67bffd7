// Invariant 2: after faults stop, within a bounded time all nodes hold the same heads and every feasible slot has
// exactly one ready instance of the current release.
//
// `unsettled` says what is not so yet; run.ts fails the run (liveness) when it has not ceased to within the bound.
// Feasible is judged on the truth: a slot may stay empty only when no machine has room for it, its droplet is lost
// with its disks, or its release cannot become ready and none before it can. A slot may stay on an old release only
// when nothing has room for both and stopping it first would take the app below what maxUnavailable allows. A release
// that cannot become ready is current for no longer than it takes to fail it when an older one is left.

import type { AppView, DesiredView, ReleaseView } from '../../../crdt/view.ts';
import { candidatesOf } from '../../../node/core/candidates.ts';
import { restorableSlots, restorersOf } from '../../../node/core/loss.ts';
import { newestSnapshot } from '../../../node/core/newest-snapshot.ts';
import { type Pin, pinsOf } from '../../../node/core/pins.ts';
import { place } from '../../../node/core/placement.ts';
import { isCurrent, slotKey, slotsOf } from '../../../node/core/slots.ts';
import type { SimNode } from '../node.ts';
import type { World } from '../world.ts';
import type { ClusterFacts, NodeFacts, RunningFacts } from './facts.ts';

/** Why the cluster is not at rest yet; undefined when it is. */
export function unsettled(world: World): string | undefined {
  const live = world.nodes.filter((node) => !node.gone);
  return restlessness(world) ?? placementProblem(live) ?? lossProblem(world, live);
}

/**
 * Data whose node is gone for good is restored where a majority, a snapshot of each volume and room are left; and what
 * is kept of volumes that are there is held by as many as are to.
 */
function lossProblem(world: World, live: readonly SimNode[]): string | undefined {
  const view = live[0]!.store!.document.view();
  if (world.shape.lossDelayMs === undefined) return undefined;
  for (const { slot, app, holder, volumes } of restorableSlots(view)) {
    if (live.some(({ id }) => id === holder) || 2 * live.length <= view.nodes.size) continue;
    const held = live.flatMap(({ snapshots }) => [...snapshots.held.values()]);
    if (volumes.some((volume) => newestSnapshot(volume, held) === undefined)) continue;
    const nowhere = live.every((node) =>
      restorersOf(node.core!, view, candidatesOf(node.core!, node.localMs())).some(
        (one) => one.slot.holder === holder && one.slot.slot.index === slot.index && one.node === undefined,
      ),
    );
    if (!nowhere) return `slot ${app.name}/${slot.process}/${slot.index} is to be restored, as its node is lost`;
  }
  for (const node of live) {
    const wanted = Math.min(3, live.length);
    for (const [id, { snapshotsKept, node: holder }] of view.volumes) {
      if (holder !== node.id) continue;
      const held = live.flatMap(({ snapshots }) => [...snapshots.held.values()].filter((one) => one.volume === id));
      const kept = [...new Map(held.map((one) => [one.id, one])).values()]
        .sort((a, b) => b.takenAtMs - a.takenAtMs)
        .slice(0, snapshotsKept);
      const thin = kept.find((one) => held.filter((other) => other.id === one.id).length < wanted);
      if (thin !== undefined) return `${thin.id} is held by fewer than ${wanted} nodes`;
    }
  }
  return undefined;
}

/** As far as it can be told from outside of the cores. */
export function restlessness(world: ClusterFacts): string | undefined {
  const live = world.nodes.filter((node) => !node.gone);
  const first = live[0]!;
  for (const node of live) {
    if (node.core === undefined || node.store === undefined) return `${node.self.name} is down`;
    if (node.store.document.heads().join() !== first.store!.document.heads().join()) {
      return `${node.self.name} and ${first.self.name} hold different heads`;
    }
    if (node.core.heads.join() !== node.store.document.heads().join()) return `${node.self.name}'s core has old heads`;
  }
  const view = first.store!.document.view();
  return membershipProblem(live, view, world) ?? instancesProblem(live, view, world);
}

/** Whether the app has to be served: what it should run can run. */
export function isRequired(world: ClusterFacts, app: AppView): boolean {
  const { release } = app;
  if (release === undefined || slotsOf(app).length === 0) return false;
  if (release.service !== undefined) return true;
  const quality = world.qualityOf(release.droplet.digest);
  if (quality !== 'good' && quality !== 'slow') return false;
  return world.nodes.some((node) => !node.gone && node.blobs.has(release.droplet.digest));
}

function membershipProblem(live: readonly NodeFacts[], view: DesiredView, world: ClusterFacts): string | undefined {
  for (const node of live) {
    for (const other of world.nodes) {
      if (other === node || !view.nodes.has(other.id)) continue;
      const status = node.core!.members.get(other.id)?.status ?? 'unknown';
      if (!other.gone && status !== 'alive') return `${node.self.name} holds ${other.self.name} for ${status}`;
      if (other.gone && (status === 'alive' || status === 'suspect')) {
        return `${node.self.name} holds ${other.self.name} for ${status}, and it is gone`;
      }
    }
  }
  return undefined;
}

function instancesProblem(live: readonly NodeFacts[], view: DesiredView, world: ClusterFacts): string | undefined {
  const bySlot = new Map<string, { node: NodeFacts; one: RunningFacts }[]>();
  for (const node of live) {
    for (const one of node.runtime.running.values()) {
      if (one.state === 'stopping') return `${one.spec.id} is still stopping`;
      const key = slotKey({ app: one.spec.app.id, process: one.spec.process, index: one.spec.index });
      const list = bySlot.get(key);
      if (list === undefined) bySlot.set(key, [{ node, one }]);
      else list.push({ node, one });
    }
  }
  const wanted = new Set<string>();
  for (const app of view.workloads.values()) {
    const { release } = app;
    for (const slot of slotsOf(app)) wanted.add(slotKey(slot));
    if (release === undefined || slotsOf(app).length === 0) continue;
    const problem = releaseProblem(live, view, world, app, release);
    if (problem !== undefined) return problem;
    if (!isRequired(world, app)) continue;
    for (const slot of slotsOf(app)) {
      const key = slotKey(slot);
      const pin = pinsOf(app)?.get(key);
      const held = bySlot.get(key) ?? [];
      const found =
        pin === undefined
          ? slotProblem(live, view, app, release, held)
          : pinnedProblem(live, view, app, release, { pin, held });
      if (found !== undefined) return `slot ${app.name}/${slot.process}/${slot.index} ${found}`;
    }
  }
  for (const [key, list] of bySlot) {
    if (!wanted.has(key)) return `${list[0]!.one.spec.id} runs on ${list[0]!.node.self.name}, and nobody wants it`;
  }
  return undefined;
}

/** A release that never becomes ready must be failed when there is another to return to, and somewhere to try it. */
function releaseProblem(
  live: readonly NodeFacts[],
  view: DesiredView,
  world: ClusterFacts,
  app: AppView,
  release: ReleaseView,
): string | undefined {
  const quality = world.qualityOf(release.droplet.digest);
  if (quality !== 'crash' && quality !== 'never') return undefined;
  const older = app.releases.some((one) => one.version < release.version && one.failed === undefined);
  if (release.failed !== undefined || !older) return undefined;
  if (!live.some((node) => node.blobs.has(release.droplet.digest))) return undefined;
  const spare = oneMayGoFirst(live, app);
  const pins = pinsOf(app);
  const hasData = (node: NodeFacts, pin: Pin): boolean =>
    pin.kind === 'pinned' && pin.node === node.id && view.nodes.has(node.id) && freeBytesOf(node) >= app.memoryBytes;
  const pinned = slotsOf(app).map((slot) => pins?.get(slotKey(slot)));
  // Where every slot has data, only their nodes can.
  if (
    !pinned.includes(undefined) &&
    !live.some((node) => pinned.some((pin) => pin !== undefined && hasData(node, pin)))
  ) {
    return undefined;
  }
  const canTry = (node: NodeFacts): boolean =>
    hasRoom(node, view, app) || (spare && isEligible(node, view) && node.runtime.readyOf(app.id).length > 0);
  if (!live.some(canTry)) return undefined;
  return `${app.name} v${release.version} cannot become ready and has not been failed`;
}

function slotProblem(
  live: readonly NodeFacts[],
  view: DesiredView,
  app: AppView,
  release: ReleaseView,
  held: readonly { node: NodeFacts; one: RunningFacts }[],
): string | undefined {
  const room = live.filter((node) => hasRoom(node, view, app));
  if (held.length > 1) return `is filled ${held.length} times`;
  const only = held[0];
  if (only === undefined) return room.length > 0 ? `is empty, and ${room[0]!.self.name} has room` : undefined;
  const { node, one } = only;
  if (one.state !== 'ready') return `has an instance that is ${one.state}`;
  if (view.nodes.get(node.id)?.draining && room.length > 0) return `is on ${node.self.name}, which drains`;
  if (isCurrent({ release: one.spec.release.id, restartCount: one.spec.restartCount }, app, release)) return undefined;
  if (room.length === 0 && (!oneMayGoFirst(live, app) || view.nodes.get(node.id)?.draining)) return undefined;
  return `runs an old release on ${node.self.name}`;
}

/** A slot with data runs where that is, if that node has room, and nowhere else; whether it drains does not count. */
function pinnedProblem(
  live: readonly NodeFacts[],
  view: DesiredView,
  app: AppView,
  release: ReleaseView,
  { pin, held }: { pin: Pin; held: readonly { node: NodeFacts; one: RunningFacts }[] },
): string | undefined {
  const [only, second] = held;
  if (second !== undefined) return `is filled ${held.length} times, and has data`;
  if (pin.kind === 'moving' && live.some((node) => node.id === pin.from && view.nodes.has(node.id))) {
    return `has data that ${pin.from.slice(-4)} has not left`;
  }
  const home = pin.kind === 'pinned' ? live.find((node) => node.id === pin.node) : undefined;
  if (only === undefined) {
    const mayRun = home !== undefined && view.nodes.has(home.id) && freeBytesOf(home) >= app.memoryBytes;
    return mayRun ? `is empty, and ${home.self.name} has its data` : undefined;
  }
  const { node, one } = only;
  if (pin.kind !== 'pinned' || node !== home) return `runs on ${node.self.name}, where its data is not`;
  if (one.state !== 'ready') return `has an instance that is ${one.state}`;
  if (lineagesOf(one.spec.volumes ?? []) !== lineagesOf(pin.volumes))
    return `runs on ${node.self.name} with other data than it has now`;
  const { id, restartCount } = { ...one.spec.release, restartCount: one.spec.restartCount };
  return isCurrent({ release: id, restartCount }, app, release) ? undefined : `runs an old release`;
}

const lineagesOf = (volumes: readonly { id: string; lineage: string }[]): string =>
  volumes
    .map(({ id, lineage }) => `${id} ${lineage}`)
    .sort()
    .join();

/**
 * Whether an old copy may be stopped to make room for its replacement. At rest, slots that are not ready are those
 * without room.
 */
function oneMayGoFirst(live: readonly NodeFacts[], app: AppView): boolean {
  const ready = live.reduce((sum, node) => sum + node.runtime.readyOf(app.id).length, 0);
  return ready > 1 && app.maxUnavailable > 0;
}

const isEligible = (node: NodeFacts, view: DesiredView): boolean => view.nodes.get(node.id)?.draining === false;

function hasRoom(node: NodeFacts, view: DesiredView, app: AppView): boolean {
  return isEligible(node, view) && freeBytesOf(node) >= app.memoryBytes;
}

/**
 * Memory is kept for the slots of instances that crashed and wait there to be started again, and of those whose
 * droplet nobody has: where somebody has it, such a slot is a problem of its own.
 */
function freeBytesOf(node: NodeFacts): number {
  let keptBytes = 0;
  for (const one of node.core?.local.values() ?? []) {
    if (one.state === 'crashed' || one.phase === 'fetching') keptBytes += one.memoryBytes;
  }
  return node.memoryBytes - node.runtime.memoryBytes() - keptBytes;
}

/** At rest all nodes believe the same, so they must place alike. */
function placementProblem(live: readonly SimNode[]): string | undefined {
  const texts = live.map((node) => {
    const { assigned } = place(node.core!.desired!, candidatesOf(node.core!, node.localMs()));
    return JSON.stringify([...assigned].sort());
  });
  const odd = texts.findIndex((text) => text !== texts[0]);
  return odd < 0 ? undefined : `${live[odd]!.self.name} and ${live[0]!.self.name} place slots differently`;
}
