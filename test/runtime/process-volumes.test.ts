// Volumes in the process runtime.

import { processHarness } from './harness.ts';
import { describeVolumes } from './volumes.contract.ts';

describeVolumes('process runtime', processHarness);

// Stopped one by one there.
describeVolumes('process runtime without control groups', () => processHarness({ groups: false }), {
  only: ['are held still for a moment, with all that runs in the instance, which then goes on'],
});
