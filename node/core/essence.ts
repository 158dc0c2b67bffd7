// What decisions read of a report: placement, reconciliation, promises and routing are given this much of it and no
// more, and a report is news to them when this much of it differs. One list says both, so that nothing can be read
// whose change nobody decides on. Decides nothing itself.

import { fullOf } from './pressure.ts';
import { loadRank } from './ranking.ts';
import type { InstanceReport, Report } from './types.ts';

const INSTANCE_FIELDS = [
  'id',
  'app',
  'process',
  'index',
  'release',
  'restartCount',
  'state',
  'crashes',
  'memoryBytes',
  'port',
  'offered',
  'vacates',
  'covers',
] as const satisfies readonly (keyof InstanceReport)[];

/**
 * `instances` by their own list; of the load only its rank, and of what is short only what is full: noise moves
 * nothing.
 */
const REPORT_FIELDS = [
  'node',
  'name',
  'status',
  'link',
  'memoryBytes',
  'stacks',
  'runtimes',
  'services',
  'hardQuota',
  'labels',
  'droplets',
  'lost',
] as const satisfies readonly (keyof Report)[];

/** An instance as decisions see it. */
export type DecisionInstance = Pick<InstanceReport, (typeof INSTANCE_FIELDS)[number]>;

/** A report as decisions see it. */
export type DecisionReport = Pick<Report, (typeof REPORT_FIELDS)[number] | 'load' | 'pressure'> & {
  instances: readonly DecisionInstance[];
};

/** Whether there is nothing new to decide when one takes the place of the other. */
export function decidesAlike(one: DecisionReport, other: DecisionReport): boolean {
  return (
    one === other ||
    (loadRank(one.load) === loadRank(other.load) &&
      isSame(whatIsFull(one), whatIsFull(other)) &&
      REPORT_FIELDS.every((field) => isSame(one[field], other[field])) &&
      one.instances.length === other.instances.length &&
      one.instances.every((instance, at) => isSameInstance(instance, other.instances[at]!)))
  );
}

/** How much is left is noise. */
const whatIsFull = (report: DecisionReport): string[] => fullOf(report).map(({ resource }) => resource);

const isSameInstance = (one: DecisionInstance, other: DecisionInstance): boolean =>
  one === other || INSTANCE_FIELDS.every((field) => isSame(one[field], other[field]));

/** Of a field: text, a number, a list of texts or a record of texts, or nothing. */
function isSame(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false;
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => (one as Record<string, unknown>)[key] === (other as Record<string, unknown>)[key])
  );
}
