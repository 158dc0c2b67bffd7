// Adoption: in which order the core hears of what an earlier daemon left running.

import { expect, it } from 'vitest';
import { asAppId, asInstanceId, asReleaseId } from '../../crdt/ids.ts';
import type { AdoptedInstance, Event } from '../../node/core/types.ts';
import { adoptInstances } from '../../node/daemon/runtime-events.ts';
import type { RuntimeEvent } from '../../node/ports/runtime.ts';

const instance: AdoptedInstance = {
  id: asInstanceId('node-1-1'),
  app: asAppId('app'),
  process: 'web',
  index: 0,
  release: asReleaseId('release'),
  restartCount: 0,
  memoryBytes: 1,
  port: 1,
};

it('adoption › is told before the news of instances that were ready meanwhile', async () => {
  const posted: Event[] = [];
  let emit: (event: RuntimeEvent) => void = () => {};
  const runtime = {
    onEvent(listener: (event: RuntimeEvent) => void) {
      emit = listener;
    },
    async adopt() {
      emit({ type: 'instanceReady', id: instance.id });
      return [instance];
    },
  };
  await adoptInstances(runtime, (event) => posted.push(event));
  emit({ type: 'instanceExited', id: instance.id, reason: 'ended' });
  expect(posted).toEqual([
    { type: 'instancesAdopted', instances: [instance] },
    { type: 'instanceReady', id: instance.id },
    { type: 'instanceExited', id: instance.id, reason: 'ended' },
  ]);
});
