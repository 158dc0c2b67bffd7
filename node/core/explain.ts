// Explanations: why a slot is where it is, and where slots would go without some nodes. Runs placement and writes down
// what it says; decides nothing itself.

import type { NodeId } from '../../crdt/ids.ts';
import type { AppView, DesiredView } from '../../crdt/view.ts';
import type { Candidate, ReportedCandidate } from './candidates.ts';
import type { Considered, Decision } from './decision.ts';
import type { DecisionInstance } from './essence.ts';
import { type Infeasible, mayKeep } from './feasibility.ts';
import { compareHolders, holdersBySlot } from './holders.ts';
import { pinsOf } from './pins.ts';
import type { Placement } from './placed.ts';
import { place } from './placement.ts';
import { isCurrent, slotKey, slotsOf } from './slots.ts';
import { compareText } from './text.ts';
import type { InstanceReport, Slot } from './types.ts';

export type SlotExplanation = {
  slot: Slot;
  /** `unwanted`: the app does not ask for the slot, for the reason given. */
  decision: Decision | { slot: Slot; why: 'unwanted'; because: Unwanted };
  /** Who runs a copy now, stopping ones left out; the one that placement prefers first. */
  holders: HolderExplanation[];
  /**
   * Every candidate: feasible ones first, best first, as the decision saw them, so that the first is the one chosen
   * (for `balance`, ranked for the app's last slot; for `evening`, the chosen one is the emptiest, wherever it ranks).
   * For `kept`: who would take the slot next, its owner left out.
   */
  considered: Considered[];
  /** Admitted nodes that placement does not consider: dead, or never heard of. */
  absent: NodeId[];
  /** Nodes that fetch the app's droplet ahead of time, best first. */
  successors: NodeId[];
};

export type Unwanted = 'noApp' | 'noRelease' | 'stopped' | 'noProcess' | 'scale';

export type HolderExplanation = {
  node: NodeId;
  instance: InstanceReport;
  /** Runs the release and the restart that the app wants. */
  current: boolean;
  /** The node may go on running it: neither draining nor leaving. */
  mayStay: boolean;
};

export type WhatIf = {
  without: NodeId[];
  /** Slots that another node would fill, in the order of apps and slots. */
  moves: SlotMove[];
  /** Every candidate, sorted by id: the memory of the slots assigned to it. Undefined: without the node. */
  nodes: { node: NodeId; budgetBytes: number; beforeBytes: number; afterBytes: number | undefined }[];
};

/** `from` is undefined when nobody could fill the slot before, `to` when nobody could then. */
export type SlotMove = {
  slot: Slot;
  from: NodeId | undefined;
  to: NodeId | undefined;
  /** Of every node that is left, why it cannot; empty when there is a `to`. */
  refusals: { node: NodeId; reasons: Infeasible[] }[];
};

/** @param candidates as place() takes them. */
export function explainSlot(view: DesiredView, candidates: readonly ReportedCandidate[], slot: Slot): SlotExplanation {
  const key = slotKey(slot);
  const told: { decision?: Decision; consider?: () => Considered[]; considered: Considered[] } = { considered: [] };
  const placement = place(view, candidates, (decision, consider) => {
    if (slotKey(decision.slot) !== key) return;
    told.decision = decision;
    told.consider = consider;
    // A holder that keeps its slot was compared with nobody.
    told.considered = decision.why === 'kept' ? [] : consider();
  });
  const decision = told.decision ?? { slot, why: 'unwanted', because: unwantedBecause(view, slot) };
  const considered =
    decision.why === 'kept' && told.consider !== undefined
      ? told.consider().filter(({ node }) => node !== decision.owner)
      : told.considered;
  const present = new Set(candidates.map(({ node }) => node));
  return {
    slot,
    decision,
    holders: holdersOf(
      view.workloads.get(slot.app),
      candidates,
      key,
      decision.why === 'kept' ? decision.owner : undefined,
    ),
    considered: considered.map((one) => ('reasons' in one ? { ...one, reasons: named(one.reasons, view) } : one)),
    absent: [...view.nodes.keys()].filter((node) => !present.has(node)).sort(compareText),
    successors: placement.successorsOf(slot.app),
  };
}

/** With the names of the nodes that they tell of, which may have been removed. */
const named = (reasons: readonly Infeasible[], view: DesiredView): Infeasible[] =>
  reasons.map((reason) => {
    const nameOf = (node: NodeId): string => view.nodes.get(node)?.name ?? node;
    if (reason.kind === 'pinned' || reason.kind === 'moving') return { ...reason, nodeName: nameOf(reason.node) };
    return reason.kind === 'split' ? { ...reason, nodeNames: reason.nodes.map(nameOf) } : reason;
  });

const refusalsIn = ({ unplaceable }: Placement, key: string, view: DesiredView): SlotMove['refusals'] =>
  (unplaceable.get(key) ?? []).map(({ node, reasons }) => ({ node, reasons: named(reasons, view) }));

function unwantedBecause(view: DesiredView, slot: Slot): Unwanted {
  const app = view.workloads.get(slot.app);
  if (app === undefined) return 'noApp';
  if (app.release === undefined) return 'noRelease';
  if (app.stopped) return 'stopped';
  return Object.hasOwn(app.release.processes, slot.process) ? 'scale' : 'noProcess';
}

/** @param keeper who keeps the slot; a crashed copy that would come before it has no room where it is. */
function holdersOf(
  app: AppView | undefined,
  candidates: readonly ReportedCandidate[],
  key: string,
  keeper?: NodeId,
): HolderExplanation[] {
  const release = app?.release;
  if (app === undefined || release === undefined) return [];
  const holders = [...(holdersBySlot(candidates).get(key) ?? [])];
  const pin = pinsOf(app)?.get(key);
  // Placement knows of each only what it decides by.
  const whole = new Map<DecisionInstance, InstanceReport>(
    candidates.flatMap(({ report }) => report.instances.map((one) => [one, one] as const)),
  );
  return holders
    .sort(
      (a, b) =>
        Number(b.candidate.node === keeper) - Number(a.candidate.node === keeper) ||
        Number(mayKeep(b.candidate, pin)) - Number(mayKeep(a.candidate, pin)) ||
        compareHolders(a, b, app, release, key),
    )
    .map(({ candidate, instance }) => ({
      node: candidate.node,
      instance: whole.get(instance)!,
      current: isCurrent(instance, app, release),
      mayStay: mayKeep(candidate, pin),
    }));
}

/** What would follow at once if the nodes were gone. Slots that only then even out over the rest are not foreseen. */
export function whatIf(view: DesiredView, candidates: readonly Candidate[], without: readonly NodeId[]): WhatIf {
  const gone = new Set(without);
  const left = candidates.filter(({ node }) => !gone.has(node));
  const before = place(view, candidates);
  const after = place(view, left);
  const moves: SlotMove[] = [];
  const bytes = { before: new Map<NodeId, number>(), after: new Map<NodeId, number>() };
  for (const app of [...view.workloads.values()].sort(
    (a, b) => compareText(a.name, b.name) || compareText(a.id, b.id),
  )) {
    for (const slot of slotsOf(app)) {
      const key = slotKey(slot);
      const from = before.assigned.get(key);
      const to = after.assigned.get(key);
      if (from !== undefined) bytes.before.set(from, (bytes.before.get(from) ?? 0) + app.memoryBytes);
      if (to !== undefined) bytes.after.set(to, (bytes.after.get(to) ?? 0) + app.memoryBytes);
      if (from !== to) moves.push({ slot, from, to, refusals: refusalsIn(after, key, view) });
    }
  }
  const nodes = [...candidates].sort((a, b) => compareText(a.node, b.node));
  return {
    without: [...gone],
    moves,
    nodes: nodes.map(({ node, freeBytes }) => ({
      node,
      budgetBytes: freeBytes,
      beforeBytes: bytes.before.get(node) ?? 0,
      afterBytes: gone.has(node) ? undefined : (bytes.after.get(node) ?? 0),
    })),
  };
}
