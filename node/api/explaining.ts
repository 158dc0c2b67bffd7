// How explanations are answered: ids become names, and nodes that placement does not see get their status. Pure.

import type { NodeId } from '../../crdt/ids.ts';
import type { AppView, DesiredView } from '../../crdt/view.ts';
import type { Considered } from '../core/decision.ts';
import type { SlotExplanation, WhatIf } from '../core/explain.ts';
import type { ObservedView } from '../ports/node-service.ts';
import type { HeldSnapshot } from '../ports/snapshots.ts';
import { whyDataShape } from './losses.ts';
import type { NodeVerdictShape, WhatIfShape, WhyShape } from './shapes.ts';
import { instanceShape } from './shaping.ts';

export function whyShape(
  explanation: SlotExplanation,
  app: AppView,
  known: { view: DesiredView; observed: ObservedView; self: NodeId; snapshots?: readonly HeldSnapshot[] | undefined },
): WhyShape {
  const { slot, decision } = explanation;
  const members = new Map(known.observed.members.map((member) => [member.id, member]));
  const nameOf = namesIn(known.view);
  // Of itself the node knows the newest state, not what it last reported.
  const ageOf = (node: NodeId) => (node === known.self ? 0 : members.get(node)?.reportAgeMs);
  return {
    app: app.name,
    process: slot.process,
    index: slot.index,
    decision: decision.why,
    because: decision.why === 'unwanted' ? decision.because : null,
    owner: 'owner' in decision ? nameOf(decision.owner) : null,
    from: 'from' in decision ? nameOf(decision.from) : null,
    holders: explanation.holders.map(({ node, instance, current, mayStay }) => ({
      ...instanceShape({ member: { name: nameOf(node), reportAgeMs: ageOf(node) }, instance }, app),
      current,
      mayStay,
    })),
    nodes: [
      ...explanation.considered.map((one) => verdictShape(one, nameOf)),
      ...explanation.absent.map(
        (node): NodeVerdictShape => ({
          node: nameOf(node),
          verdict: 'absent',
          status: members.get(node)?.status ?? 'unknown',
        }),
      ),
    ],
    successors: explanation.successors.map(nameOf),
    data: whyDataShape(app, slot, known, known.snapshots),
  };
}

export function whatIfShape(answer: WhatIf, view: DesiredView): WhatIfShape {
  const nameOf = namesIn(view);
  return {
    without: answer.without.map(nameOf),
    moves: answer.moves.map(({ slot, from, to, refusals }) => ({
      app: view.workloads.get(slot.app)?.name ?? slot.app,
      process: slot.process,
      index: slot.index,
      from: from === undefined ? null : nameOf(from),
      to: to === undefined ? null : nameOf(to),
      refusals: refusals.map(({ node, reasons }) => ({ node: nameOf(node), reasons })),
    })),
    nodes: answer.nodes.map(({ node, budgetBytes, beforeBytes, afterBytes = null }) => ({
      node: nameOf(node),
      budgetBytes,
      beforeBytes,
      afterBytes,
    })),
  };
}

function verdictShape(one: Considered, nameOf: (node: NodeId) => string): NodeVerdictShape {
  const node = nameOf(one.node);
  if ('reasons' in one) return { node, verdict: 'infeasible', reasons: one.reasons };
  return { node, verdict: 'feasible', rank: one.rank, freeBytes: one.freeBytes };
}

const namesIn =
  (view: DesiredView) =>
  (node: NodeId): string =>
    view.nodes.get(node)?.name ?? node;
