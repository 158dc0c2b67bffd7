// Volumes in the docker runtime.

import { dockerHarness } from './docker-harness.ts';
import { describeVolumes } from './volumes.contract.ts';

describeVolumes('docker runtime', dockerHarness);
