// The docker runtime: the contract, then what only it promises about its containers.

import { dockerHarness } from './docker-harness.ts';
import { describeRuntime } from './runtime.contract.ts';

describeRuntime('docker runtime', dockerHarness);
