// The report of this node: what it says of itself to everyone. Builds it; when it goes out is decided in step.ts.

import { promisesOf } from './handover.ts';
import { toldLatenessMs } from './overdue.ts';
import { coarseAmount, pressureOf } from './pressure.ts';
import { type CoreState, crashHistory } from './state.ts';
import { compareText } from './text.ts';
import type { InstanceReport, Report } from './types.ts';

/** The report as of now, with the current sequence number. Instances and droplets are sorted. */
export function buildReport(state: CoreState, nowMs: number): Report {
  const instances: InstanceReport[] = [];
  for (const instance of state.local.values()) {
    const entry: InstanceReport = {
      id: instance.id,
      app: instance.app,
      process: instance.process,
      index: instance.index,
      release: instance.release,
      restartCount: instance.restartCount,
      state: instance.state,
      sinceMs: Math.max(0, nowMs - instance.stateSinceMs),
      // Those of a release that was called off do not count against the one that stays.
      crashes: crashHistory(state, instance)?.crashes ?? 0,
      memoryBytes: instance.memoryBytes,
    };
    if (instance.port !== undefined) entry.port = instance.port;
    if (instance.reason !== undefined) entry.reason = instance.reason;
    if (instance.offered !== undefined) entry.offered = instance.offered.name;
    if (instance.vacates !== undefined) entry.vacates = instance.vacates.name;
    const covers = promisesOf(instance);
    if (covers !== undefined) entry.covers = covers;
    instances.push(entry);
  }
  instances.sort((a, b) => compareText(a.id, b.id));
  const disk = state.resources.get('disk');
  return {
    ...state.self,
    incarnation: state.incarnation,
    sequence: state.sequence,
    status: state.leaving ? 'leaving' : 'alive',
    load: state.load,
    // There when it is empty too: a field that is left out is not a change to those who hold an older report.
    pressure: pressureOf(state),
    ...(disk === undefined ? {} : { disk: { freeBytes: coarseAmount(disk.free), totalBytes: disk.total } }),
    instances,
    droplets: [...state.droplets].sort(compareText),
    heads: state.heads,
    // Also when there are none: what a report leaves out counts as unchanged since its base.
    unreachable: state.unreachable,
    warnings: state.warnings,
    lost: state.lost,
    lateMs: toldLatenessMs(state),
  };
}
