// Where new data goes: which node a volume is pinned to, as the node that takes the wish sees the cluster. Asked once,
// by whoever writes the record: placement never does.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { AppView, DesiredView, VolumeView } from '../../crdt/view.ts';
import type { DecisionReport } from './essence.ts';
import { type Asked, type Infeasible, infeasibleReasons, type Needs } from './feasibility.ts';
import { rendezvousWeights } from './hash.ts';
import { slotKey } from './slots.ts';
import { compareText } from './text.ts';
import type { Slot } from './types.ts';

export type PinWish = {
  /** The app's id, or the service's. */
  owner: AppId;
  /** Tells the slots of one owner apart: equal nodes are drawn for each anew. */
  key: string;
  memoryBytes: number;
  needs: Needs;
};

/** `freeBytes`: what nothing that runs there, or is to run there, has been promised. */
export type PinCandidate = Asked;

/** `refusals`: why each node cannot, sorted by id, when none can. */
export type PinAnswer = { node: NodeId } | { refusals: { node: NodeId; reasons: Infeasible[] }[] };

type PinnedVolume = Pick<VolumeView, 'owner' | 'node'>;

/**
 * Among those that can: the fewest volumes of the same owner, so that one loss takes the data of one slot; the fewest
 * of all; the most free memory; the highest weight.
 */
export function pin(candidates: readonly PinCandidate[], volumes: Iterable<PinnedVolume>, wish: PinWish): PinAnswer {
  const refusals = candidates
    .map((candidate) => ({ node: candidate.node, reasons: infeasibleReasons(candidate, wish, wish.needs) }))
    .filter(({ reasons }) => reasons.length > 0)
    .sort((a, b) => compareText(a.node, b.node));
  const refusing = new Set(refusals.map(({ node }) => node));
  const counts = countsOf(volumes, wish.owner);
  const weights = rendezvousWeights(wish.key);
  const [best] = candidates
    .filter(({ node }) => !refusing.has(node))
    .map(({ node, freeBytes }) => ({
      node,
      own: counts.own.get(node) ?? 0,
      all: counts.all.get(node) ?? 0,
      freeBytes,
      weight: weights(node),
    }))
    .sort(
      (a, b) =>
        a.own - b.own ||
        a.all - b.all ||
        b.freeBytes - a.freeBytes ||
        b.weight - a.weight ||
        compareText(a.node, b.node),
    );
  return best === undefined ? { refusals } : { node: best.node };
}

/**
 * What of a node's memory is promised to nobody: neither to what runs there nor to slots whose data is there, which
 * come back. `replaced`: slots whose instances make room for what is asked about.
 */
export function leftBytes(
  view: DesiredView,
  report: Pick<DecisionReport, 'node' | 'memoryBytes' | 'instances'>,
  replaced: readonly Slot[] = [],
): number {
  const free = new Set(replaced.map(slotKey));
  const promised = new Map<string, number>();
  for (const instance of report.instances) {
    if (instance.state !== 'crashed') promised.set(instance.id, instance.memoryBytes);
  }
  const running = new Set(report.instances.map(slotKey));
  for (const instance of report.instances) if (free.has(slotKey(instance))) promised.delete(instance.id);
  for (const app of view.workloads.values()) {
    for (const slot of pinnedSlots(app, report.node)) {
      const key = slotKey(slot);
      if (!running.has(key) && !free.has(key)) promised.set(key, app.memoryBytes);
    }
  }
  const taken = [...promised.values()].reduce((sum, bytes) => sum + bytes, 0);
  return report.memoryBytes - taken;
}

/** Slots that can run on that node alone, also while they are stopped: they come back. */
function pinnedSlots(app: AppView, node: NodeId): Slot[] {
  const slots = new Map<string, Slot>();
  for (const { process, index, node: of } of app.volumes) {
    const count = app.scale[process] ?? (process === 'web' ? 1 : 0);
    if (of === node && index < count) slots.set(`${process}/${index}`, { app: app.id, process, index });
  }
  return [...slots.values()];
}

function countsOf(volumes: Iterable<PinnedVolume>, owner: AppId) {
  const own = new Map<NodeId, number>();
  const all = new Map<NodeId, number>();
  for (const volume of volumes) {
    all.set(volume.node, (all.get(volume.node) ?? 0) + 1);
    if (volume.owner === owner) own.set(volume.node, (own.get(volume.node) ?? 0) + 1);
  }
  return { own, all };
}
