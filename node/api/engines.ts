// Engines of services that nodes say they have. Pure.

import type { NodeId } from '../../crdt/ids.ts';
import { compareText } from '../core/text.ts';
import { compareVersions } from '../core/versions.ts';
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
