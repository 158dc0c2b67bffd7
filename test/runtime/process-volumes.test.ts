// Volumes in the process runtime.

import { processHarness } from './harness.ts';
import { describeVolumes } from './volumes.contract.ts';

describeVolumes('process runtime', processHarness);
