// Whether this node knows what is asked for, or may have missed it while it was away. Asks nobody.

import type { CoreState } from './state.ts';

/**
 * Whether the desired state is that of another member too, so that it holds what was written while this node was away.
 * Not while nobody else was heard; with nobody else there is nothing to hear.
 */
export function isCaughtUp(state: CoreState): boolean {
  if (state.desired === undefined) return false;
  if (![...state.desired.nodes.keys()].some((node) => node !== state.self.node)) return true;
  const heads = state.heads.join();
  for (const { report } of state.members.values()) if (report?.heads.join() === heads) return true;
  return false;
}
