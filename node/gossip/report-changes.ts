// Reports as changes: most reports repeat almost all of the one before, so a node sends a whole one now and then (the
// base), and between them what differs from it. A lost one is made good by the next; only a node that missed the base
// has to ask for it. What a report says, and whether it is newer, is judged elsewhere.

import type { Digest, NodeId } from '../../crdt/ids.ts';
import type { InstanceReport, Report } from '../core/types.ts';
import { REPORT_BYTES_MAX } from './limits.ts';

/** What a report says beyond its base, of the same author. */
export type ReportChange = {
  incarnation: number;
  sequence: number;
  base: { incarnation: number; sequence: number };
  /** Between the making of the two, ms: by so much longer do the instances left out hold their states. */
  laterMs: number;
  /** Fields other than instances and droplets that differ. */
  fields?: Partial<Report>;
  set?: InstanceReport[];
  gone?: string[];
  dropletsAdded?: Digest[];
  dropletsGone?: Digest[];
};

/** A change larger than this share of the base is not worth that others need the base: the whole report goes. */
const CHANGE_SHARE_MAX = 0.5;
/** What a change costs that changes nothing, in characters. Beyond it, changes repeat what was told before… */
const CHANGE_CHARS_MIN = 150;
/** …and when they have repeated this share of the base together, a new base is cheaper. */
const REPEATED_SHARE_MAX = 1;
/** How far an instance's time in its state may be off by counting on from the base, ms. */
const SINCE_TOLERANCE_MS = 250;

type Base = { report: Report; atMs: number; bytes: number; repeatedChars: number };

/** The author's side. */
export class ReportAuthor {
  #base: Base | undefined;
  #newest: Report | undefined;

  /**
   * The report as a change when that is much shorter, else as it is. `nowMs`: a monotonic clock. One that is too large
   * leaves everything as it was.
   */
  next(report: Report, nowMs: number): { report: Report } | { change: ReportChange } | { tooLargeBytes: number } {
    const base = this.#base;
    if (base !== undefined) {
      const change = changeOf(base.report, report, Math.round(nowMs - base.atMs));
      const chars = JSON.stringify(change).length;
      base.repeatedChars += Math.max(0, chars - CHANGE_CHARS_MIN);
      if (chars <= CHANGE_SHARE_MAX * base.bytes && base.repeatedChars <= REPEATED_SHARE_MAX * base.bytes) {
        this.#newest = report;
        return { change };
      }
    }
    const bytes = Buffer.byteLength(JSON.stringify(report));
    if (bytes > REPORT_BYTES_MAX) return { tooLargeBytes: bytes };
    this.#base = { report, atMs: nowMs, bytes, repeatedChars: 0 };
    this.#newest = report;
    return { report };
  }

  /**
   * What a node needs that has heard nothing yet: the base of coming changes first, then the newest report. Empty
   * before the first.
   */
  whole(): Report[] {
    const [base, newest] = [this.#base?.report, this.#newest];
    if (base === undefined || newest === undefined) return [];
    return base === newest ? [newest] : [base, newest];
  }
}

/** What is the same in both is left out; instances are the same when only their time in the state has gone on. */
export function changeOf(base: Report, report: Report, laterMs: number): ReportChange {
  const change: ReportChange = {
    incarnation: report.incarnation,
    sequence: report.sequence,
    base: { incarnation: base.incarnation, sequence: base.sequence },
    laterMs,
  };
  const { instances: _, droplets: __, incarnation: ___, sequence: ____, ...fields } = report;
  for (const [name, value] of Object.entries(fields)) {
    if (JSON.stringify(value) === JSON.stringify(base[name as keyof Report])) continue;
    change.fields = { ...change.fields, [name]: value };
  }
  const before = new Map(base.instances.map((one) => [one.id, one]));
  const set = report.instances.filter((one) => !goesOn(before.get(one.id), one, laterMs));
  const ids = new Set<string>(report.instances.map((one) => one.id));
  const gone = base.instances.map((one) => one.id).filter((id) => !ids.has(id));
  if (set.length > 0) change.set = set;
  if (gone.length > 0) change.gone = gone;
  const [held, holds] = [new Set(base.droplets), new Set(report.droplets)];
  const dropletsAdded = report.droplets.filter((digest) => !held.has(digest));
  const dropletsGone = base.droplets.filter((digest) => !holds.has(digest));
  if (dropletsAdded.length > 0) change.dropletsAdded = dropletsAdded;
  if (dropletsGone.length > 0) change.dropletsGone = dropletsGone;
  return change;
}

function goesOn(before: InstanceReport | undefined, now: InstanceReport, laterMs: number): boolean {
  if (before === undefined) return false;
  if (Math.abs(before.sinceMs + laterMs - now.sinceMs) > SINCE_TOLERANCE_MS) return false;
  return JSON.stringify({ ...before, sinceMs: 0 }) === JSON.stringify({ ...now, sinceMs: 0 });
}

/** The reader's side. The base must be the one that the change names. Lists come out sorted, as reports have them. */
export function applyChange(base: Report, change: ReportChange): Report {
  const { incarnation, sequence, laterMs, fields, set = [], gone = [], dropletsAdded = [], dropletsGone = [] } = change;
  const changed = new Map(set.map((one) => [one.id as string, one]));
  const left = new Set<string>(gone);
  const instances = base.instances
    .filter((one) => !left.has(one.id) && !changed.has(one.id))
    .map((one) => ({ ...one, sinceMs: one.sinceMs + laterMs }));
  const dropped = new Set(dropletsGone);
  const droplets = base.droplets.filter((digest) => !dropped.has(digest));
  return {
    ...base,
    ...fields,
    node: base.node,
    incarnation,
    sequence,
    instances: [...instances, ...changed.values()].sort((a, b) => (a.id < b.id ? -1 : 1)),
    droplets: [...new Set([...droplets, ...dropletsAdded])].sort(),
  };
}

export type Version = { incarnation: number; sequence: number };

export const isNewer = (one: Version, other: Version | undefined): boolean =>
  other === undefined ||
  one.incarnation > other.incarnation ||
  (one.incarnation === other.incarnation && one.sequence > other.sequence);

/** The bases that were heard, one per author. */
export class ReportBases {
  readonly #bases = new Map<NodeId, Report>();

  learn(base: Report): void {
    if (isNewer(base, this.#bases.get(base.node))) this.#bases.set(base.node, base);
  }

  /** Undefined when it is not here: its author has to be asked. */
  of(author: NodeId, change: ReportChange): Report | undefined {
    const base = this.#bases.get(author);
    const isIt = base?.incarnation === change.base.incarnation && base.sequence === change.base.sequence;
    return isIt ? base : undefined;
  }

  forgetUnless(isKept: (author: NodeId) => boolean): void {
    for (const author of this.#bases.keys()) if (!isKept(author)) this.#bases.delete(author);
  }
}
