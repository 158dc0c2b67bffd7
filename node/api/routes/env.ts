// /v1/apps/:name/env. Viewers see the names of variables, never the values; users who are not of the team see neither.

import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { asReleaseId } from '../../../crdt/ids.ts';
import { accessTo, appFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { madeRelease } from '../lookup.ts';
import type { EnvShape } from '../shapes.ts';
import { refusedEnvShapes } from '../shaping.ts';
import { envBody, jsonBody } from '../validate.ts';

export function envRoutes({ service }: ApiContext) {
  return (
    new Hono<ApiEnv>()
      .get('/v1/apps/:name/env', requires('viewer'), (c) => {
        const view = service.view();
        const app = appFor(c, view, 'read');
        const mayRead = accessTo(view, c.get('user'), app) === 'change';
        const keys = Object.keys(app.env).sort();
        const values = mayRead ? service.secrets.openEnv(app.id, app.env) : {};
        const env = Object.fromEntries(keys.map((key) => [key, values[key] ?? null]));
        return c.json<EnvShape>({ app: app.name, env, refused: refusedEnvShapes(app) });
      })
      /** `releaseId` is that of the release made of it; null when nothing changed or nothing was released yet. */
      .post('/v1/apps/:name/env', requires('developer'), jsonBody(envBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        const { set = {}, unset = [] } = c.req.valid('json');
        if (Object.keys(set).length === 0 && unset.length === 0) {
          throw new ApiError('bad_request', 'no variable was given');
        }
        const missing = unset.find((key) => !Object.hasOwn(app.env, key));
        if (missing !== undefined) throw new ApiError('not_found', `${app.name} has no variable ${missing}`);
        const id = asReleaseId(randomUUID());
        const { heldBy } = await service.write(
          [{ change: 'setEnv', app: app.id, set, unset, release: id }],
          c.get('user').name,
        );
        return c.json({ heldBy: heldBy.length, ...madeRelease(service.view(), app.id, id) });
      })
  );
}
