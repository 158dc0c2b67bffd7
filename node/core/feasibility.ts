// Feasibility: whether a node may fill a slot at all, and if not, why. Never prefers one node over another
// (ranking.ts).

import type { AppView, ReleaseView } from '../../crdt/view.ts';
import type { Candidate } from './candidates.ts';
import { fullOf, type Pressure, pressureText } from './pressure.ts';
import type { MemberStatus } from './types.ts';

export type Infeasible =
  | { kind: 'notAlive'; status: MemberStatus }
  | { kind: 'draining' }
  | { kind: 'leaving' }
  | { kind: 'stack'; wanted: string; has: readonly string[] }
  | { kind: 'noRuntime' }
  /** The release is an image, which only a container engine runs. */
  | { kind: 'noContainers'; has: readonly string[] }
  | { kind: 'memory'; wantedBytes: number; freeBytes: number }
  /** It has run out of something, as it says itself; `text`: in words, to follow its name. */
  | { kind: 'exhausted'; pressure: Pressure; text: string };

/** What these reasons read of a node. */
type Asked = Pick<Candidate, 'node' | 'status' | 'draining' | 'freeBytes'> & {
  labels?: Candidate['labels'];
  report: Pick<Candidate['report'], 'status' | 'runtimes' | 'stacks' | 'pressure'>;
};

/**
 * Why the node may not take a new instance of the app's release; empty when it may. All reasons, not only the first.
 * Without a release: of anything that takes so much memory.
 */
export function infeasibleReasons(
  candidate: Asked,
  app: Pick<AppView, 'memoryBytes'>,
  release: Pick<ReleaseView, 'droplet' | 'image'> | undefined,
): Infeasible[] {
  const reasons: Infeasible[] = [];
  if (candidate.status !== 'alive') reasons.push({ kind: 'notAlive', status: candidate.status });
  if (candidate.draining) reasons.push({ kind: 'draining' });
  if (candidate.report.status === 'leaving') reasons.push({ kind: 'leaving' });
  if (candidate.report.runtimes.length === 0) reasons.push({ kind: 'noRuntime' });
  const { runtimes } = candidate.report;
  if (release?.image !== undefined && !runtimes.includes('docker'))
    reasons.push({ kind: 'noContainers', has: runtimes });
  else if (release !== undefined && !candidate.report.stacks.includes(release.droplet.stack)) {
    reasons.push({ kind: 'stack', wanted: release.droplet.stack, has: candidate.report.stacks });
  }
  if (candidate.freeBytes < app.memoryBytes) {
    reasons.push({ kind: 'memory', wantedBytes: app.memoryBytes, freeBytes: candidate.freeBytes });
  }
  for (const pressure of fullOf(candidate.report)) {
    reasons.push({ kind: 'exhausted', pressure, text: pressureText(pressure) });
  }
  return reasons;
}

/** Whether there is no such reason: placement asks this of every node for every slot. */
export function isFeasible(candidate: Candidate, app: AppView, release: ReleaseView): boolean {
  const { status, draining, report, freeBytes } = candidate;
  return (
    status === 'alive' &&
    !draining &&
    report.status !== 'leaving' &&
    report.runtimes.length > 0 &&
    freeBytes >= app.memoryBytes &&
    !isExhausted(candidate) &&
    report.stacks.includes(release.droplet.stack) &&
    (release.image === undefined || report.runtimes.includes('docker'))
  );
}

/** Whether it may start nothing new; what runs there stays. */
export const isExhausted = ({ report }: Candidate): boolean =>
  report.pressure !== undefined && report.pressure.length > 0 && fullOf(report).length > 0;

/**
 * Whether an instance that already runs there may stay: it needs no free memory or disk, and a suspicion is not yet a
 * verdict.
 */
export function mayKeep(candidate: Candidate): boolean {
  return (
    (candidate.status === 'alive' || candidate.status === 'suspect') &&
    !candidate.draining &&
    candidate.report.status !== 'leaving'
  );
}
