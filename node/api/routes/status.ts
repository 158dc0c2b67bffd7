// /v1/health, /v1/status and stopping this node.

import { Hono } from 'hono';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { lossWarnings } from '../losses.ts';
import { statusShape } from '../shaping.ts';
import { expectNothingStranded, movesFirst } from '../strands.ts';
import { jsonBody, stopBody } from '../validate.ts';

export function statusRoutes({ service, log }: ApiContext) {
  return (
    new Hono<ApiEnv>()
      /** The only route without a token; says nothing but that the API answers. */
      .get('/v1/health', (c) => c.json({ ok: true as const }))
      .get('/v1/status', requires('viewer'), (c) => {
        const { warnings, ...status } = statusShape(service, c.get('user'));
        const losses = lossWarnings({ view: service.view(), observed: service.observed() }, Date.now());
        return c.json({ ...status, warnings: [...warnings, ...losses] });
      })
      /** Answers when the shutdown has begun; the caller watches the process or the API go. */
      .post('/v1/node/stop', requires('admin'), jsonBody(stopBody), async (c) => {
        const { leave = false, strand = false } = c.req.valid('json');
        // The only node of a cluster takes nothing from anyone.
        if (leave && !strand && service.view().nodes.size > 1) {
          await expectNothingStranded(service, service.self.id, movesFirst('peer leave'));
        }
        log.info('api.node.stop', { by: c.get('user').name, leave });
        const { pid, dataDir, name } = service.self;
        await service.shutdown({ leave });
        return c.json({ name, pid, dataDir, leave });
      })
  );
}
