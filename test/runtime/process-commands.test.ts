// Commands and tasks of the process runtime.

import { describeCommands } from './commands.contract.ts';
import { processHarness } from './harness.ts';

describeCommands('process runtime', () => processHarness());
