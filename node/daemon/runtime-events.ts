// Adoption in order: the core hears which instances an earlier daemon left running before it hears anything of one of
// them.

import type { Event } from '../core/types.ts';
import type { Runtime, RuntimeEvent } from '../ports/runtime.ts';
import { isProof } from '../services/proof.ts';

/**
 * Passes on what the runtime adopts, but for what proved a backup (proofs.ts), and from then on its events. Called
 * once, before anything is started.
 */
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
  const adopted = await runtime.adopt();
  post({ type: 'instancesAdopted', instances: adopted.filter(({ id }) => !isProof(id)) });
  const held = early;
  early = undefined;
  for (const event of held) post(event);
}
