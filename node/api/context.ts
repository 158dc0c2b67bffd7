// What every route is given. Types only.

import type { Log, NodeService } from '../ports.ts';

export type ApiContext = {
  service: NodeService;
  log: Log;
};
