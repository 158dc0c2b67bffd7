// /v1/apps/:name/releases and rollback.

import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import { asReleaseId } from '../../../crdt/ids.ts';
import type { AppView, ReleaseView } from '../../../crdt/view.ts';
import { appFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { releaseNamed } from '../lookup.ts';
import { releaseShape, versionOf } from '../shaping.ts';
import { jsonBody, rollbackBody } from '../validate.ts';

export function releasesRoutes({ service }: ApiContext) {
  return (
    new Hono<ApiEnv>()
      /** Newest first. */
      .get('/v1/apps/:name/releases', requires('viewer'), (c) => {
        const app = appFor(c, service.view(), 'read');
        return c.json(app.releases.map((release) => releaseShape(release, app)).reverse());
      })
      .post('/v1/apps/:name/rollback', requires('developer'), jsonBody(rollbackBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        const wanted = c.req.valid('json').release;
        const to = wanted === undefined ? previousGoodRelease(app) : releaseNamed(app, wanted);
        const release = asReleaseId(randomUUID());
        const { heldBy } = await service.write(
          [{ change: 'rollback', app: app.id, to: to.id, release }],
          c.get('user').name,
        );
        const made = service
          .view()
          .apps.get(app.id)
          ?.releases.find((candidate) => candidate.id === release);
        return c.json({
          heldBy: heldBy.length,
          to: versionOf(to),
          release: made === undefined ? null : versionOf(made),
          releaseId: release as string,
        });
      })
  );
}

/** The newest release before the current one that has not failed. */
function previousGoodRelease(app: AppView): ReleaseView {
  const current = app.releases.findIndex((release) => release.id === app.release?.id);
  const earlier = app.releases.slice(0, Math.max(0, current)).findLast((release) => release.failed === undefined);
  if (earlier === undefined) {
    throw new ApiError('not_found', `${app.name} has no earlier good release: see peer releases ${app.name}`);
  }
  return earlier;
}
