// When every slot of an app is answered again, as a visitor would see it: through the routers of the nodes that are
// left.

import type { LocalCluster, LocalNode } from '../local-cluster.ts';

const ASK_EVERY_MS = 15;
/** Requests that wait for an answer, at most; a router that hangs shows as a late answer of another. */
const OPEN_MAX = 40;
const REQUEST_TIMEOUT_MS = 5_000;

/**
 * Asks until answers came from all slots 0…`slots`-1, of requests sent since the call. The app has to answer with its
 * index (writeApp does). Returns when the last of them came, in terms of performance.now(); fails at the deadline.
 */
export async function untilAnswered(options: {
  cluster: LocalCluster;
  through: readonly LocalNode[];
  host: string;
  slots: number;
  deadlineMs: number;
}): Promise<number> {
  const { cluster, through, host, slots, deadlineMs } = options;
  const endMs = performance.now() + deadlineMs;
  const answered = new Set<string>();
  const open = new Set<Promise<void>>();
  let lastMs = Number.NaN;
  let failure = 'no answer';
  const ask = async (node: LocalNode): Promise<void> => {
    try {
      const { status, body } = await cluster.get(node, host, '/index', REQUEST_TIMEOUT_MS);
      if (status !== 200) throw new Error(`status ${status}`);
      if (answered.size < slots && !answered.has(body)) {
        answered.add(body);
        lastMs = performance.now();
      }
    } catch (error) {
      failure = (error as Error).message;
    }
  };
  for (let turn = 0; answered.size < slots; turn++) {
    if (performance.now() > endMs) {
      throw new Error(`slots ${[...answered].sort().join(', ')} of ${slots} answer after ${deadlineMs} ms: ${failure}`);
    }
    if (open.size < OPEN_MAX) {
      const asked = ask(through[turn % through.length]!).finally(() => open.delete(asked));
      open.add(asked);
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY_MS));
  }
  await Promise.all(open);
  return lastMs;
}
