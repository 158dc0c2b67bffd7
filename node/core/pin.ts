// Where new data goes: which node a volume is pinned to, as the node that takes the wish sees the cluster. Asked once,
// by whoever writes the record: placement never does.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { ReleaseView, VolumeView } from '../../crdt/view.ts';
import type { Candidate } from './candidates.ts';
import { type Infeasible, infeasibleReasons } from './feasibility.ts';
import { rendezvousWeights } from './hash.ts';
import { compareText } from './text.ts';

export type PinWish = {
  /** The app's id, or the service's. */
  owner: AppId;
  /** Tells the slots of one owner apart: equal nodes are drawn for each anew. */
  key: string;
  memoryBytes: number;
  /** Of a service: its kind and version, as nodes report them. Of an app: what its release needs. */
  needs: { engine: string } | { release: Pick<ReleaseView, 'droplet' | 'image'> };
};

/** `freeBytes`: what nothing that runs there, or is to run there, has been promised. */
export type PinCandidate = Pick<Candidate, 'node' | 'status' | 'draining' | 'freeBytes'> & {
  report: Pick<Candidate['report'], 'status' | 'runtimes' | 'stacks' | 'pressure'> & { services?: readonly string[] };
};

export type PinRefusal = Infeasible | { kind: 'noEngine'; wanted: string; has: readonly string[] };

/** `refusals`: why each node cannot, sorted by id, when none can. */
export type Pin = { node: NodeId } | { refusals: { node: NodeId; reasons: PinRefusal[] }[] };

type PinnedVolume = Pick<VolumeView, 'owner' | 'node'>;

/**
 * Among those that can: the fewest volumes of the same owner, so that one loss takes the data of one slot; the fewest
 * of all; the most free memory; the highest weight.
 */
export function pin(candidates: readonly PinCandidate[], volumes: Iterable<PinnedVolume>, wish: PinWish): Pin {
  const refusals = candidates
    .map((candidate) => ({ node: candidate.node, reasons: refusalsOf(candidate, wish) }))
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

function refusalsOf(candidate: PinCandidate, { memoryBytes, needs }: PinWish): PinRefusal[] {
  if ('release' in needs) return infeasibleReasons(candidate, { memoryBytes }, needs.release);
  const { services = [] } = candidate.report;
  const reasons: PinRefusal[] = infeasibleReasons(candidate, { memoryBytes }, undefined);
  return services.includes(needs.engine)
    ? reasons
    : [...reasons, { kind: 'noEngine', wanted: needs.engine, has: services }];
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
