// Engines of services that nodes say they have. Pure.

import type { NodeId } from '../../crdt/ids.ts';
import { compareText } from '../core/text.ts';
import type { ObservedView } from '../ports/node-service.ts';

export type FoundEngine = { version: string; nodes: { id: NodeId; name: string }[] };

/** Versions of a kind on nodes that live, newest first, with those nodes by name. */
export function enginesOf(kind: string, observed: ObservedView): FoundEngine[] {
  const found = new Map<string, FoundEngine['nodes']>();
  for (const { id, name, status, report } of observed.members) {
    if (status !== 'alive' && status !== 'suspect') continue;
    for (const engine of report?.services ?? []) {
      const [of, version] = engine.split(' ');
      if (of === kind && version !== undefined) found.set(version, [...(found.get(version) ?? []), { id, name }]);
    }
  }
  return [...found]
    .map(([version, nodes]) => ({ version, nodes: nodes.sort((a, b) => compareText(a.name, b.name)) }))
    .sort((a, b) => compareVersions(b.version, a.version));
}

/** 9.6 before 15: numbers by their value. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((text) => text.split(/[.-]/)) as [string[], string[]];
  for (let at = 0; at < Math.max(left.length, right.length); at++) {
    const [one = '', other = ''] = [left[at], right[at]];
    const difference = Number(one) - Number(other);
    const order = Number.isFinite(difference) && one !== '' && other !== '' ? difference : compareText(one, other);
    if (order !== 0) return order;
  }
  return 0;
}
