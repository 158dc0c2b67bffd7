// What is done with a service's data as a whole: it is moved, recovered from a backup, upgraded. Each answers with a
// stream of what happens, as it may take long.

import { type Context, Hono } from 'hono';
import type { ServiceView } from '../../../crdt/view.ts';
import { serviceFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import type { ServiceLifeShape } from '../data-shapes.ts';
import { confirmQuery, moveServiceBody, recoverServiceBody, upgradeServiceBody } from '../data-validate.ts';
import { ApiError } from '../errors.ts';
import { lifeStream } from '../life-stream.ts';
import {
  confirmUpgrade,
  expectLost,
  moveService,
  recoverService,
  revertUpgrade,
  type ServiceWork,
  upgradeService,
} from '../service-life.ts';
import { jsonBody, queryOf } from '../validate.ts';

export function serviceLifeRoutes({ service, log }: ApiContext) {
  const askedIn = (c: Context<ApiEnv>): ServiceView => {
    const asked = serviceFor(c, service.view(), 'change');
    if (asked.volume !== undefined) return asked;
    throw new ApiError(
      'service_provided',
      `${asked.name} was provided: its data is elsewhere, and is looked after there`,
    );
  };
  const follow = (
    c: Context<ApiEnv>,
    asked: ServiceView,
    work: (on: ServiceWork) => Promise<ServiceLifeShape>,
  ): Response => {
    const where = `${c.req.method} ${c.req.path}`;
    const by = c.get('user').name;
    return lifeStream<ServiceLifeShape>({ log, where, requestSignal: c.req.raw.signal }, (onLine, signal) =>
      work({ service, asked, by, onLine, signal }),
    );
  };
  return (
    new Hono<ApiEnv>()
      .post('/v1/services/:name/move', requires('developer'), jsonBody(moveServiceBody), (c) =>
        follow(c, askedIn(c), (work) => moveService(work, c.req.valid('json').node)),
      )
      /** `confirm`: its name again, as what came after the backup is given up. Refused while its node is alive. */
      .post(
        '/v1/services/:name/recover',
        requires('developer'),
        queryOf(confirmQuery),
        jsonBody(recoverServiceBody),
        (c) => {
          const asked = askedIn(c);
          // Before anybody is asked whether it is meant.
          expectLost(service, asked);
          expectConfirmed(asked, c.req.valid('query').confirm, 'what came after the backup is given up');
          const { node: to, backup } = c.req.valid('json');
          return follow(c, asked, (work) => recoverService(work, { to, backup }));
        },
      )
      .post('/v1/services/:name/upgrade', requires('developer'), jsonBody(upgradeServiceBody), (c) => {
        const { version, node: to } = c.req.valid('json');
        return follow(c, askedIn(c), (work) => upgradeService(work, { version, to }));
      })
      /** What was before the upgrade goes, for good. */
      .post('/v1/services/:name/upgrade/confirm', requires('developer'), (c) => follow(c, askedIn(c), confirmUpgrade))
      /** `confirm`: its name again, as what came since the upgrade is given up. */
      .post('/v1/services/:name/upgrade/revert', requires('developer'), queryOf(confirmQuery), (c) => {
        const asked = askedIn(c);
        expectConfirmed(asked, c.req.valid('query').confirm, 'what came since the upgrade is given up');
        return follow(c, asked, revertUpgrade);
      })
  );
}

function expectConfirmed({ id, name }: ServiceView, confirm: string | undefined, why: string): void {
  if (confirm === name || confirm === id) return;
  throw new ApiError('bad_request', `confirm: should be ${name}: ${why}`);
}
