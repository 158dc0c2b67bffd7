// Holders: the copies of slots that run, where they are, and which of several copies of one slot should stay. Places
// nothing.

import type { AppId } from '../../crdt/ids.ts';
import type { AppView, ReleaseView } from '../../crdt/view.ts';
import type { Candidate } from './candidates.ts';
import type { DecisionInstance, DecisionReport } from './essence.ts';
import { rendezvousWeight } from './hash.ts';
import { isCurrent, slotKey } from './slots.ts';
import { compareText } from './text.ts';

/** A running copy of a slot, where it is. */
export type Holder = { candidate: Candidate; instance: DecisionInstance };

/** Who runs a copy of which slot, keyed by slot. */
export function holdersBySlot(candidates: readonly Candidate[]): Map<string, Holder[]> {
  const holders = new Map<string, Holder[]>();
  for (const candidate of candidates) {
    const keys = slotKeysOf(candidate.report);
    for (const [at, instance] of candidate.report.instances.entries()) {
      if (instance.state === 'stopping') continue;
      const key = keys[at]!;
      const list = holders.get(key);
      if (list === undefined) holders.set(key, [{ candidate, instance }]);
      else list.push({ candidate, instance });
    }
  }
  return holders;
}

/** Reports are never changed once they are made. */
const keysByReport = new WeakMap<DecisionReport, string[]>();

/** The slots of a report's instances, in their order. */
function slotKeysOf(report: DecisionReport): string[] {
  let keys = keysByReport.get(report);
  if (keys === undefined) {
    keys = report.instances.map(slotKey);
    keysByReport.set(report, keys);
  }
  return keys;
}

/** The copy that should stay of those given. */
export function bestHolder(
  holders: readonly Holder[],
  app: AppView,
  release: ReleaseView,
  key: string,
): Holder | undefined {
  let best: Holder | undefined;
  for (const holder of holders) {
    if (best === undefined || compareHolders(holder, best, app, release, key) < 0) best = holder;
  }
  return best;
}

/** Better first: right release and ready; then ready; then the most likely to be ready soon; then the emptier node. */
export function compareHolders(a: Holder, b: Holder, app: AppView, release: ReleaseView, key: string): number {
  return (
    holderClass(a, app, release) - holderClass(b, app, release) ||
    instancesOfApp(a.candidate, app.id) - instancesOfApp(b.candidate, app.id) ||
    takenByOthers(a) - takenByOthers(b) ||
    rendezvousWeight(key, b.candidate.node) - rendezvousWeight(key, a.candidate.node) ||
    compareText(a.instance.id, b.instance.id)
  );
}

/** Lower is better. 0: right release, ready. */
export function holderClass(holder: Holder, app: AppView, release: ReleaseView): number {
  const current = isCurrent(holder.instance, app, release);
  switch (holder.instance.state) {
    case 'ready':
      return current ? 0 : 1;
    case 'starting':
    case 'unhealthy':
      return current ? 2 : 3;
    default:
      return current ? 4 : 5;
  }
}

/**
 * Share of its node's memory that all but this instance take, by the node's own report; what crashed has its place
 * kept.
 */
function takenByOthers({ candidate, instance }: Holder): number {
  let bytes = 0;
  for (const other of candidate.report.instances) {
    if (other.id !== instance.id && other.state !== 'stopping') bytes += other.memoryBytes;
  }
  return bytes / Math.max(1, candidate.report.memoryBytes);
}

function instancesOfApp(candidate: Candidate, app: AppId): number {
  let count = 0;
  for (const instance of candidate.report.instances) {
    if (instance.app === app && instance.state !== 'stopping') count++;
  }
  return count;
}
