// /v1/apps/:name/why and /v1/what-if: placement, explained. Reads only.

import { Hono } from 'hono';
import type { AppView } from '../../../crdt/view.ts';
import { workloadFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { whatIfShape, whyShape } from '../explaining.ts';
import { nodeNamed } from '../lookup.ts';
import { isWithoutData } from '../losses.ts';
import { queryOf, whatIfQuery, whyQuery } from '../validate.ts';

/** A slot has few volumes, and each node answers for one of them at a time. */
const snapshotsOf = async ({ volumes }: ApiContext['service'], app: AppView) =>
  (await Promise.all(app.volumes.map(({ id }) => volumes.list(id)))).flat();

export function explanationsRoutes({ service }: ApiContext) {
  return new Hono<ApiEnv>()
    .get('/v1/apps/:name/why', requires('viewer'), queryOf(whyQuery), async (c) => {
      const view = service.view();
      const app = workloadFor(c, view, 'status');
      const { process = 'web', index } = c.req.valid('query');
      const slot = { app: app.id, process, index: Number(index) };
      const known = { view, observed: service.observed(), self: service.self.id };
      const snapshots = isWithoutData(app, slot, known) ? await snapshotsOf(service, app) : undefined;
      return c.json(whyShape(service.explain(slot), app, { ...known, snapshots }));
    })
    .get('/v1/what-if', requires('viewer'), queryOf(whatIfQuery), (c) => {
      const view = service.view();
      const { without } = c.req.valid('query');
      const nodes = (Array.isArray(without) ? without : [without]).map((name) => nodeNamed(view, name).id);
      return c.json(whatIfShape(service.whatIf(nodes), view));
    });
}
