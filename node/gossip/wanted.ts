// Whether the request of another node is still wanted when its turn comes, after this node has stood still: its sender
// may have given up long before it was read.

import { readWhatCameIn, type Standstill } from '../lib/standstill.ts';
import { GossipError } from './errors.ts';
import type { Request } from './rpc-frames.ts';

/** Fails when whoever asked has gone, or may have: with what its stream ended with, or GossipError `late`. */
export async function onlyWanted(
  { withinMs }: Request,
  { signal, standstill }: { signal: AbortSignal; standstill: Pick<Standstill, 'recentMs'> | undefined },
): Promise<void> {
  const stoodStillMs = standstill?.recentMs() ?? 0;
  if (stoodStillMs === 0) return;
  await readWhatCameIn();
  signal.throwIfAborted();
  if (withinMs === undefined || stoodStillMs <= withinMs) return;
  const seconds = Math.round(stoodStillMs / 1000);
  throw new GossipError('late', `this node stood still for ${seconds} s, longer than its caller waits; ask again`);
}
