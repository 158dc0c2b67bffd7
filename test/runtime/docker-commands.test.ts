// Commands and tasks of the docker runtime.

import { describeCommands } from './commands.contract.ts';
import { dockerHarness } from './docker-harness.ts';

describeCommands('docker runtime', () => dockerHarness());
