// Candidates: the nodes that placement may consider, as this node sees them now, itself included with its newest
// state.

import type { NodeId } from '../../crdt/ids.ts';
import type { NodeView } from '../../crdt/view.ts';
import type { DecisionReport } from './essence.ts';
import { buildReport } from './report.ts';
import type { CoreState } from './state.ts';
import type { MemberStatus, Report } from './types.ts';

/** A node as decisions see it. `freeBytes` shrinks while slots are assigned. */
export type Candidate = {
  node: NodeId;
  status: MemberStatus;
  draining: boolean;
  report: DecisionReport;
  labels: Readonly<Record<string, string>>;
  freeBytes: number;
};

/**
 * The same with its whole report, of which decisions read no more: for people, and for what else the daemon chooses
 * nodes for.
 */
export type ReportedCandidate = Omit<Candidate, 'report'> & { report: Report };

/** Every admitted node that is alive or suspect and has reported, with its whole memory as free. */
export function candidatesOf(state: CoreState, nowMs: number): ReportedCandidate[] {
  const view = state.desired;
  if (view === undefined) return [];
  const candidates: ReportedCandidate[] = [];
  const own = view.nodes.get(state.self.node);
  if (own !== undefined) {
    const report = { ...buildReport(state, nowMs), load: state.loadTold };
    candidates.push({
      node: state.self.node,
      status: 'alive',
      draining: own.draining,
      report,
      labels: labelsOf(report.labels, own),
      freeBytes: report.memoryBytes,
    });
  }
  for (const member of state.members.values()) {
    const admitted = view.nodes.get(member.node);
    if (admitted === undefined || member.report === undefined) continue;
    if (member.status !== 'alive' && member.status !== 'suspect') continue;
    candidates.push({
      node: member.node,
      status: member.status,
      draining: admitted.draining,
      report: member.report,
      labels: labelsOf(member.report.labels, admitted),
      freeBytes: member.report.memoryBytes,
    });
  }
  return candidates;
}

/** Labels given to `peer start`, overridden by those set with `peer nodes label`. */
const labelsOf = (started: Readonly<Record<string, string>>, admitted: NodeView) => ({
  ...started,
  ...admitted.labels,
});
