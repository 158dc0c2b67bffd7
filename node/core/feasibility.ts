// Feasibility: whether a node may fill a slot at all, and if not, why. Never prefers one node over another
// (ranking.ts).

import type { NodeId } from '../../crdt/ids.ts';
import type { AppView, ReleaseView, ServiceView } from '../../crdt/view.ts';
import type { Candidate } from './candidates.ts';
import type { Pin } from './pins.ts';
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
  | { kind: 'exhausted'; pressure: Pressure; text: string }
  /** It is a service, whose engine the node does not have. */
  | { kind: 'noEngine'; wanted: string; has: readonly string[] }
  /** Its volume is to have a hard quota, which needs root there, loop devices and mkfs.ext4. */
  | { kind: 'noHardQuota' }
  /** The same, and takes all of it at once. */
  | { kind: 'disk'; wantedBytes: number; freeBytes: number }
  /** The slot's data is on another node. `nodeName`: for people, where it is known. */
  | { kind: 'pinned'; node: NodeId; nodeName?: string }
  /** Its data was moved to this node, and the one before has not said yet that nothing runs on it any more. */
  | { kind: 'moving'; node: NodeId; nodeName?: string }
  /** Its volumes are on several nodes. */
  | { kind: 'split'; nodes: readonly NodeId[]; nodeNames?: readonly string[] }
  /** Other slots of its process type have volumes, and it has none. */
  | { kind: 'noVolume' };

/** What a node must have for a release: all that these reasons read of it. */
export type Needs = {
  readonly droplet?: Pick<ReleaseView['droplet'], 'stack'>;
  readonly image?: ReleaseView['image'];
  readonly service?: Pick<ServiceView, 'kind' | 'version'>;
  /** Of new data that the node is to keep: how much its hard quotas take, in bytes. Absent or 0: it has none. */
  readonly hardQuotaBytes?: number;
};

/** What they read of a node. */
export type Asked = Pick<Candidate, 'node' | 'status' | 'draining' | 'freeBytes'> & {
  report: Pick<Candidate['report'], 'status' | 'runtimes' | 'stacks' | 'pressure' | 'services' | 'hardQuota'> & {
    disk?: { freeBytes: number };
  };
};

/**
 * Why the node may not take a new instance of the app's release; empty when it may. All reasons, not only the first.
 */
export function infeasibleReasons(
  candidate: Asked,
  app: Pick<AppView, 'memoryBytes'>,
  release: Needs,
  pin?: Pin,
): Infeasible[] {
  const reasons: Infeasible[] = [];
  const apart = pin === undefined ? undefined : pinReason(candidate, pin);
  // Without its data, nothing else counts.
  if (apart !== undefined) return [apart];
  if (candidate.status !== 'alive') reasons.push({ kind: 'notAlive', status: candidate.status });
  // Nobody else can have a pinned slot: it stays until its data is moved.
  if (candidate.draining && pin === undefined) reasons.push({ kind: 'draining' });
  if (candidate.report.status === 'leaving') reasons.push({ kind: 'leaving' });
  if (candidate.report.runtimes.length === 0) reasons.push({ kind: 'noRuntime' });
  const { runtimes } = candidate.report;
  if (release.service !== undefined) {
    if (!hasEngine(candidate, release)) {
      reasons.push({ kind: 'noEngine', wanted: engineOf(release.service), has: candidate.report.services ?? [] });
    }
  } else if (release.image !== undefined && !runtimes.includes('docker'))
    reasons.push({ kind: 'noContainers', has: runtimes });
  else if (release.droplet !== undefined && !candidate.report.stacks.includes(release.droplet.stack)) {
    reasons.push({ kind: 'stack', wanted: release.droplet.stack, has: candidate.report.stacks });
  }
  const quota = quotaReason(candidate, release.hardQuotaBytes ?? 0);
  if (quota !== undefined) reasons.push(quota);
  if (candidate.freeBytes < app.memoryBytes) {
    reasons.push({ kind: 'memory', wantedBytes: app.memoryBytes, freeBytes: candidate.freeBytes });
  }
  for (const pressure of fullOf(candidate.report)) {
    reasons.push({ kind: 'exhausted', pressure, text: pressureText(pressure) });
  }
  return reasons;
}

/** Why it cannot give volumes hard quotas of that size together; undefined when it can. */
export function quotaReason({ report }: Pick<Asked, 'report'>, wantedBytes: number): Infeasible | undefined {
  if (wantedBytes === 0) return undefined;
  if (report.hardQuota !== true) return { kind: 'noHardQuota' };
  const freeBytes = report.disk?.freeBytes;
  return freeBytes === undefined || freeBytes >= wantedBytes ? undefined : { kind: 'disk', wantedBytes, freeBytes };
}

/** Whether there is no such reason: placement asks this of every node for every slot. */
export function isFeasible(candidate: Candidate, app: AppView, release: ReleaseView, pin?: Pin): boolean {
  const { status, draining, report, freeBytes } = candidate;
  return (
    status === 'alive' &&
    (!draining || pin !== undefined) &&
    report.status !== 'leaving' &&
    report.runtimes.length > 0 &&
    freeBytes >= app.memoryBytes &&
    !isExhausted(candidate) &&
    (release.service === undefined
      ? report.stacks.includes(release.droplet.stack) &&
        (release.image === undefined || report.runtimes.includes('docker'))
      : hasEngine(candidate, release)) &&
    (pin === undefined || pinReason(candidate, pin) === undefined)
  );
}

/** As nodes report the engines that they have. */
const engineOf = ({ kind, version }: Pick<ServiceView, 'kind' | 'version'>): string => `${kind} ${version}`;

const hasEngine = ({ report }: Pick<Asked, 'report'>, { service }: Needs): boolean =>
  service === undefined || (report.services ?? []).includes(engineOf(service));

function pinReason({ node }: Pick<Candidate, 'node'>, pin: Pin): Infeasible | undefined {
  switch (pin.kind) {
    case 'noVolume':
      return { kind: 'noVolume' };
    case 'split':
      return { kind: 'split', nodes: pin.nodes };
    case 'moving':
      return node === pin.node ? { kind: 'moving', node: pin.from } : { kind: 'pinned', node: pin.node };
    case 'pinned':
      return node === pin.node ? undefined : { kind: 'pinned', node: pin.node };
  }
}

/** Whether it may start nothing new; what runs there stays. */
export const isExhausted = ({ report }: Candidate): boolean =>
  report.pressure !== undefined && report.pressure.length > 0 && fullOf(report).length > 0;

/**
 * Whether an instance that already runs there may stay: it needs no free memory or disk, and a suspicion is not yet a
 * verdict.
 */
export function mayKeep(candidate: Candidate, pin?: Pin): boolean {
  // What drains or leaves keeps what nobody else can have.
  if (pin !== undefined) return pinReason(candidate, pin) === undefined;
  return (
    (candidate.status === 'alive' || candidate.status === 'suspect') &&
    !candidate.draining &&
    candidate.report.status !== 'leaving'
  );
}
