// /v1/apps/:name/why and /v1/what-if: placement, explained. Reads only.

import { Hono } from 'hono';
import { workloadFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { whatIfShape, whyShape } from '../explaining.ts';
import { nodeNamed } from '../lookup.ts';
import { queryOf, whatIfQuery, whyQuery } from '../validate.ts';

export function explanationsRoutes({ service }: ApiContext) {
  return new Hono<ApiEnv>()
    .get('/v1/apps/:name/why', requires('viewer'), queryOf(whyQuery), (c) => {
      const view = service.view();
      const app = workloadFor(c, view, 'status');
      const { process = 'web', index } = c.req.valid('query');
      const explanation = service.explain({ app: app.id, process, index: Number(index) });
      return c.json(whyShape(explanation, app, { view, observed: service.observed(), self: service.self.id }));
    })
    .get('/v1/what-if', requires('viewer'), queryOf(whatIfQuery), (c) => {
      const view = service.view();
      const { without } = c.req.valid('query');
      const nodes = (Array.isArray(without) ? without : [without]).map((name) => nodeNamed(view, name).id);
      return c.json(whatIfShape(service.whatIf(nodes), view));
    });
}
