// Adoption in order: the core hears which instances an earlier daemon left running before it hears anything of one of
// them.

import type { Event } from '../core/types.ts';
import type { Runtime, RuntimeEvent } from '../ports/runtime.ts';

/** Passes on what the runtime adopts, and from then on its events. Called once, before anything is started. */
export async function adoptInstances(
  runtime: Pick<Runtime, 'adopt' | 'onEvent'>,
  post: (event: Event) => void,
): Promise<void> {
  // The first instance may be seen ready while the last is still looked at: the core would not know it yet.
  let early: RuntimeEvent[] | undefined = [];
  runtime.onEvent((event) => {
    if (early === undefined) post(event);
    else early.push(event);
  });
  post({ type: 'instancesAdopted', instances: await runtime.adopt() });
  const held = early;
  early = undefined;
  for (const event of held) post(event);
}
