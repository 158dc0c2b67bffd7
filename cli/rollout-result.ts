// What is printed when an app runs as it was asked to. Pure.

import type { RolloutShape } from '../node/api/shapes.ts';

export function rolloutText(result: RolloutShape): string {
  const ready = new Map<string, number>();
  for (const { process, state } of result.instances) {
    if (state === 'ready') ready.set(process, (ready.get(process) ?? 0) + 1);
  }
  const counts = [...ready].map(([process, count]) => `${process}=${count}`).join(' ');
  const release = result.release === null ? '' : ` ${result.release}`;
  return `${result.app}${release}: ${counts === '' ? 'no instances' : `${counts} ready`}`;
}
