// What a node runs out of: disk, inodes, memory, file descriptors. Decides from what was measured, and from starts
// that failed for want of it, which levels the node tells the others. A level stops nothing; feasibility.ts refuses
// new slots to a full node.

import type { CoreState } from './state.ts';

/**
 * `starts`: it cannot start instances for a reason of its own that is none of the others (no process, port or network
 * to be had).
 */
export type Resource = 'descriptors' | 'disk' | 'inodes' | 'memory' | 'starts';
/** - `low`: people are warned. - `full`: the node takes no new slot. */
export type PressureLevel = 'low' | 'full';

/** One resource that is scarce, as a node reports it. Numbers are for people. */
export type Pressure = {
  resource: Resource;
  level: PressureLevel;
  /** Bytes, or a count of inodes or descriptors; `free` is coarse (coarseAmount). 0 of 0: not measured. */
  free: number;
  total: number;
  /** Why it could not start an instance or fetch a droplet a moment ago; it is `full` for that. One line. */
  failure?: string;
};

/** One look at one resource. */
export type Measure = {
  resource: Exclude<Resource, 'starts'>;
  free: number;
  total: number;
  /** Memory: share of the last minute in which every process waited for it, 0 to 1 (PSI). */
  stalled?: number;
};

/**
 * Below the smaller of the two a resource is scarce: the share is for small machines (of an SD card of 16 GB: low at
 * 1.6 GB, full at 0.8 GB), the amount for large ones, of which a tenth is plenty. Higher refuses work that would still
 * fit; lower warns too late: a droplet unpacks to tens or hundreds of megabytes.
 */
const BOUNDS: Record<Measure['resource'], Record<PressureLevel, { share: number; amount: number }>> = {
  disk: { low: { share: 0.1, amount: 4 * 1024 ** 3 }, full: { share: 0.05, amount: 1024 ** 3 } },
  inodes: { low: { share: 0.1, amount: 50_000 }, full: { share: 0.05, amount: 10_000 } },
  memory: { low: { share: 0.1, amount: 512 * 1024 ** 2 }, full: { share: 0.04, amount: 128 * 1024 ** 2 } },
  descriptors: { low: { share: 0.2, amount: 512 }, full: { share: 0.05, amount: 128 } },
};
/** Share of time in which all processes wait for memory. */
const STALLED: Record<PressureLevel, number> = { low: 0.1, full: 0.4 };
/**
 * With more than this share free, waiting is not the machine's: an app that thrashes within its own limit stalls too.
 */
const STALL_FREE_SHARE_MAX = 0.25;
/** A level is left only beyond this multiple of its bound, so that noise about the bound is no news. */
const HYSTERESIS = 1.25;
/** And only when so many looks in a row say so: free memory comes and goes with what runs, disk does not. */
const LOOKS_BEFORE_BETTER: Record<Measure['resource'], number> = { disk: 1, inodes: 1, memory: 6, descriptors: 3 };

/** Of what a report says about a failed start. */
const FAULT_CHARS_MAX = 300;

/** What is known of one resource. */
export type ResourceState = Measure & { level: PressureLevel | undefined; betterLooks: number };

/** Starts here failed for want of the resource: the node takes no new slot until then. */
export type StartFault = { resource: Resource; reason: string; failures: number; untilMs: number };

/** The level after another look. Worse at once; better with hysteresis. */
export function looked(before: ResourceState | undefined, measure: Measure): ResourceState {
  const level = levelOf(measure, before?.level);
  if (!isBetter(level, before?.level)) return { ...measure, level, betterLooks: 0 };
  const betterLooks = (before?.betterLooks ?? 0) + 1;
  if (betterLooks >= LOOKS_BEFORE_BETTER[measure.resource]) return { ...measure, level, betterLooks: 0 };
  return { ...measure, level: before!.level, betterLooks };
}

function levelOf(measure: Measure, before: PressureLevel | undefined): PressureLevel | undefined {
  if (isWithin(measure, 'full', before === 'full' ? HYSTERESIS : 1)) return 'full';
  return isWithin(measure, 'low', before === undefined ? 1 : HYSTERESIS) ? 'low' : undefined;
}

function isWithin({ resource, free, total, stalled = 0 }: Measure, level: PressureLevel, margin: number): boolean {
  const { share, amount } = BOUNDS[resource][level];
  if (free < Math.min(share * total, amount) * margin) return true;
  return free < STALL_FREE_SHARE_MAX * total && stalled * margin >= STALLED[level];
}

const RANK = { none: 0, low: 1, full: 2 };
const isBetter = (now: PressureLevel | undefined, before: PressureLevel | undefined): boolean =>
  RANK[now ?? 'none'] < RANK[before ?? 'none'];

/** Rounded down to three binary digits: an eighth more or less is no news. */
export function coarseAmount(amount: number): number {
  if (amount < 8) return Math.max(0, Math.floor(amount));
  const step = 2 ** (Math.floor(Math.log2(amount)) - 2);
  return Math.floor(amount / step) * step;
}

/** Takes in a look at some of this node's resources; what is not among them stays as it was. */
export function onMeasured(state: CoreState, measures: readonly Measure[]): void {
  for (const measure of measures) {
    const before = state.resources.get(measure.resource);
    const now = looked(before, measure);
    state.resources.set(measure.resource, now);
    if (now.level === before?.level) continue;
    // There is room again: no need to find that out by trying.
    if (before?.level === 'full' && state.startFault?.resource === measure.resource) state.startFault = undefined;
    changed(state);
  }
}

/** This node could not start an instance, or fetch a droplet, for want of the resource. */
export function onStartFault(state: CoreState, fault: { resource: Resource; reason: string }, nowMs: number): void {
  // Starts of one moment fail together: that is one failure.
  if (state.startFault !== undefined && nowMs < state.startFault.untilMs) return;
  const failures = (state.startFault?.failures ?? 0) + 1;
  const { nodeFaultFirstMs, nodeFaultMaxMs } = state.config;
  const waitMs = Math.min(nodeFaultMaxMs, nodeFaultFirstMs * 2 ** Math.min(failures - 1, 30));
  // A file system without inodes says that it has no space.
  const isInodes = fault.resource === 'disk' && state.resources.get('inodes')?.level === 'full';
  const resource = isInodes ? 'inodes' : fault.resource;
  const reason = fault.reason.slice(0, FAULT_CHARS_MAX);
  state.startFault = { resource, reason, failures, untilMs: nowMs + waitMs };
  changed(state);
}

/** An instance started here is ready: what was missing is there. */
export function onStartSucceeded(state: CoreState): void {
  if (state.startFault === undefined) return;
  state.startFault = undefined;
  changed(state);
}

/**
 * Lets the node take slots again when its wait is over; how often it failed is remembered until a start succeeds.
 * Returns when it will be over.
 */
export function endStartFault(state: CoreState, nowMs: number): number {
  const fault = state.startFault;
  if (fault === undefined || fault.untilMs === Number.NEGATIVE_INFINITY) return Number.POSITIVE_INFINITY;
  if (nowMs < fault.untilMs) return fault.untilMs;
  fault.untilMs = Number.NEGATIVE_INFINITY;
  changed(state);
  return Number.POSITIVE_INFINITY;
}

function changed(state: CoreState): void {
  state.reportDirty = true;
  state.decisionDirty = true;
}

/** What this node reports, sorted by resource. */
export function pressureOf(state: Pick<CoreState, 'resources' | 'startFault'>): Pressure[] {
  const told = new Map<Resource, Pressure>();
  for (const { resource, level, free, total } of state.resources.values()) {
    if (level !== undefined) told.set(resource, { resource, level, ...coarse(free, total) });
  }
  const fault = state.startFault;
  if (fault !== undefined && fault.untilMs !== Number.NEGATIVE_INFINITY) {
    const { resource, reason: failure } = fault;
    const measured = resource === 'starts' ? undefined : state.resources.get(resource);
    told.set(resource, { resource, level: 'full', ...coarse(measured?.free ?? 0, measured?.total ?? 0), failure });
  }
  return [...told.values()].sort((a, b) => (a.resource < b.resource ? -1 : 1));
}

const coarse = (free: number, total: number) => ({ free: coarseAmount(free), total });

/** Of what the node that reports this has nothing left for a new slot. */
export const fullOf = (report: { pressure?: readonly Pressure[] }): readonly Pressure[] =>
  report.pressure?.filter(({ level }) => level === 'full') ?? [];

/** Whether content can still be stored there. */
export const hasDiskRoom = (report: { pressure?: readonly Pressure[] } | undefined): boolean =>
  !fullOf(report ?? {}).some(({ resource }) => resource === 'disk' || resource === 'inodes');

/** In people's words, to follow a node's name: `has no room left on its disk (12 MiB of 64 MiB free)`. */
export function pressureText(pressure: Pressure): string {
  const { resource, level, free, total, failure } = pressure;
  const amount = resource === 'disk' || resource === 'memory' ? sizeText : String;
  const numbers = total > 0 ? `${amount(free)} of ${amount(total)} free` : undefined;
  const details = [numbers, failure].filter((one) => one !== undefined);
  // A newer node may name a resource that this one does not know.
  const what = (level === 'low' ? LOW_TEXT : FULL_TEXT)[resource] ?? `runs out of ${resource}`;
  return details.length === 0 ? what : `${what} (${details.join('; ')})`;
}

function sizeText(bytes: number): string {
  const mebibytes = bytes / 1024 ** 2;
  if (mebibytes >= 1024) return `${Math.round((mebibytes / 1024) * 10) / 10} GiB`;
  return `${mebibytes < 10 ? Math.round(mebibytes * 10) / 10 : Math.round(mebibytes)} MiB`;
}

/** The whole line of a warning. */
export function pressureWarning(pressure: Pressure, node: string): string {
  const so = pressure.level === 'full' ? ', so it takes no new instances' : '';
  return `${node} ${pressureText(pressure)}${so}: ${pressureAdvice(pressure, node)}`;
}

const FULL_TEXT: Partial<Record<Resource, string>> = {
  disk: 'has no room left on its disk',
  inodes: 'has no inodes left on its disk',
  memory: 'has no memory left',
  descriptors: 'has no file descriptors left',
  starts: 'cannot start instances',
};
const LOW_TEXT: Partial<Record<Resource, string>> = {
  disk: 'has little room left on its disk',
  inodes: 'has few inodes left on its disk',
  memory: 'has little memory left',
  descriptors: 'has few file descriptors left',
};

/** What to do about it, on one line. `node`: its name. */
export function pressureAdvice({ resource }: Pick<Pressure, 'resource'>, node: string): string {
  switch (resource) {
    case 'disk':
      return `free space on ${node}, start it with a smaller --blobs, or move its instances away: peer nodes drain ${node}`;
    case 'inodes':
      return `remove files on ${node}, or move its instances away: peer nodes drain ${node}`;
    case 'memory':
      return `end what else runs on ${node}, start it with a smaller --memory, or move its instances away: peer nodes drain ${node}`;
    case 'descriptors':
      return `raise the limit of open files on ${node} (ulimit -n, LimitNOFILE=, fs.file-max), or peer nodes drain ${node}`;
    default:
      return `see the log of ${node}, or move its instances away: peer nodes drain ${node}`;
  }
}

const RESOURCE_BY_CODE: Record<string, Resource> = {
  ENOSPC: 'disk',
  EDQUOT: 'disk',
  disk_full: 'disk',
  EMFILE: 'descriptors',
  ENFILE: 'descriptors',
  ENOMEM: 'memory',
  no_free_port: 'starts',
  no_free_user: 'starts',
  no_free_network: 'starts',
  // The key that an app's secrets are sealed with has not come to it yet.
  secret_unreadable: 'starts',
  spawn_failed: 'starts',
};
/** As strerror(3) says them, where a program's or an engine's words are all there is. */
const RESOURCE_BY_TEXT: [RegExp, Resource][] = [
  [/No space left on device|Disk quota exceeded/i, 'disk'],
  [/Too many open files/i, 'descriptors'],
  [/Cannot allocate memory/i, 'memory'],
];
const CAUSES_MAX = 5;

/**
 * Which resource of its own node made something fail; undefined: none, as far as the error tells. Looks at codes, of
 * causes too, and at the words of what came from an engine: never at those of a program that users' content was given
 * to.
 */
export function resourceBehind(error: unknown): Resource | undefined {
  let found: Resource | undefined;
  for (let at = error, depth = 0; at instanceof Error && depth < CAUSES_MAX; at = at.cause, depth++) {
    const { code, statusCode, message } = at as Error & { code?: unknown; statusCode?: unknown };
    // What is behind a `spawn_failed` says more.
    const named =
      typeof code === 'string' && Object.hasOwn(RESOURCE_BY_CODE, code) ? RESOURCE_BY_CODE[code] : undefined;
    if (named !== undefined && (found === undefined || found === 'starts')) found = named;
    if (found === undefined && typeof statusCode === 'number' && statusCode >= 500) {
      found = RESOURCE_BY_TEXT.find(([text]) => text.test(message))?.[1];
    }
  }
  return found;
}

/** The same for the words of one of the platform's own programs. */
export const resourceIn = (text: string): Resource | undefined =>
  RESOURCE_BY_TEXT.find(([pattern]) => pattern.test(text))?.[1];
