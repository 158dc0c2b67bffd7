// /v1/routes, and mapping and unmapping the routes of an app.

import { Hono } from 'hono';
import { normaliseRoute } from '../../../crdt/limits.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { appNamed } from '../lookup.ts';
import { routeShapes } from '../shaping.ts';
import { jsonBody, routeBody } from '../validate.ts';

export function appRoutesRoutes({ service }: ApiContext) {
  return new Hono<ApiEnv>()
    .get('/v1/routes', requires('viewer'), (c) => c.json(routeShapes(service.view())))
    .post('/v1/apps/:name/routes', requires('developer'), jsonBody(routeBody), async (c) => {
      const app = appNamed(service.view(), c.req.param('name'));
      const route = canonical(c.req.valid('json').route);
      const { heldBy } = await service.write([{ change: 'mapRoute', app: app.id, route }], c.get('user').name);
      return c.json({ app: app.name, route, heldBy: heldBy.length });
    })
    .post('/v1/apps/:name/routes/unmap', requires('developer'), jsonBody(routeBody), async (c) => {
      const app = appNamed(service.view(), c.req.param('name'));
      const route = canonical(c.req.valid('json').route);
      if (!app.routes.includes(route)) {
        throw new ApiError('not_found', `${app.name} has no route ${route}: see peer routes`);
      }
      const { heldBy } = await service.write([{ change: 'unmapRoute', app: app.id, route }], c.get('user').name);
      return c.json({ app: app.name, route, heldBy: heldBy.length });
    });
}

function canonical(text: string): string {
  const route = normaliseRoute(text);
  if ('problem' in route) throw new ApiError('bad_request', `route: ${route.problem}`);
  return route.route;
}
