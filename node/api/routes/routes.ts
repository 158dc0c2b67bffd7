// /v1/routes, mapping and unmapping the routes of an app, and sharing a host with another app.

import { Hono } from 'hono';
import { hostIn } from '../../../crdt/hosts.ts';
import { normaliseRoute } from '../../../crdt/limits.ts';
import { appFor, requireAccess } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { appNamed } from '../lookup.ts';
import { lostRoutes, routeShapes } from '../shaping.ts';
import { jsonBody, routeBody, shareBody } from '../validate.ts';

export function appRoutesRoutes({ service }: ApiContext) {
  return (
    new Hono<ApiEnv>()
      .get('/v1/routes', requires('viewer'), (c) => c.json(routeShapes(service.view())))
      .post('/v1/apps/:name/routes', requires('developer'), jsonBody(routeBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        const route = canonical(c.req.valid('json').route);
        const { heldBy } = await service.write([{ change: 'mapRoute', app: app.id, route }], c.get('user').name);
        return c.json({ app: app.name, route, heldBy: heldBy.length });
      })
      .post('/v1/apps/:name/routes/unmap', requires('developer'), jsonBody(routeBody), async (c) => {
        const view = service.view();
        const app = appFor(c, view, 'change');
        const route = canonical(c.req.valid('json').route);
        // A claim that lost is given up in the same way.
        const lost = lostRoutes(view, app.id).find((one) => one.route === route);
        if (!app.routes.includes(route) && lost === undefined) {
          throw new ApiError('not_found', `${app.name} has no route ${route}: see peer routes`);
        }
        const { heldBy } = await service.write([{ change: 'unmapRoute', app: app.id, route }], c.get('user').name);
        const lostTo = lost === undefined ? null : (view.apps.get(lost.lostTo)?.name ?? lost.lostTo);
        return c.json({ app: app.name, route, lostTo, heldBy: heldBy.length });
      })
      /** For users who may change the app that has the host; the other app is named only. */
      .post('/v1/routes/share', requires('developer'), jsonBody(shareBody), async (c) => {
        const view = service.view();
        const { app: name, host: text, shared } = c.req.valid('json');
        const other = appNamed(view, name);
        const host = canonical(text);
        const held = hostIn(view, host);
        const owner = held === undefined ? undefined : view.apps.get(held.owner);
        if (owner === undefined) throw new ApiError('not_found', `no app has the host ${host}: see peer routes`);
        requireAccess(view, c.get('user'), owner, 'change');
        const { heldBy } = await service.write(
          [{ change: 'shareHost', app: owner.id, host, with: other.id, shared }],
          c.get('user').name,
        );
        return c.json({ host, owner: owner.name, app: other.name, shared, heldBy: heldBy.length });
      })
  );
}

function canonical(text: string): string {
  const route = normaliseRoute(text);
  if ('problem' in route) throw new ApiError('bad_request', `route: ${route.problem}`);
  return route.route;
}
