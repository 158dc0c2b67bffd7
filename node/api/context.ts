// What every route is given. Types only.

import type { Log } from '../lib/log.ts';
import type { Standstill } from '../lib/standstill.ts';
import type { NodeService } from '../ports/node-service.ts';

export type ApiContext = {
  service: NodeService;
  log: Log;
  /**
   * Resolves when it is known who may do what: a token may have been revoked while this node was away. Absent: it is
   * known.
   */
  caughtUp?: Promise<unknown>;
  /** How long this process may not have seen what was asked of it. */
  standstill?: Pick<Standstill, 'recentMs'>;
};
