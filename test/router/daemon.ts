// A process that starts a router and says where, for tests that end it. Does nothing else.

import { startTestRouter } from './cluster.ts';

const { handle, httpPort } = await startTestRouter();
process.send?.({ pid: handle.pid, port: httpPort });
