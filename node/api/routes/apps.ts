// /v1/apps: list, look, create, configure, delete, and who works on them. What runs of them is in app-runs.ts.

import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import type { NamedChange } from '../../../crdt/change.ts';
import { type AppId, asAppId, asReleaseId } from '../../../crdt/ids.ts';
import { compareText } from '../../core/text.ts';
import { appFor, requireOwner } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { deleteAppQuery } from '../data-validate.ts';
import { madeRelease } from '../lookup.ts';
import { settingsOf } from '../push.ts';
import { appShape, appSummaryShape, usageShape } from '../shaping.ts';
import { createAppBody, jsonBody, memberBody, ownerBody, queryOf, settingsBody } from '../validate.ts';

type Configuration = Extract<NamedChange, { change: 'configureApp' }>;

/** Writes of an app's routes, as the API answers them. */
export function appWrites(service: ApiContext['service']) {
  const write = async (changes: NamedChange[], by: string) => {
    const { heldBy } = await service.write(changes, by);
    return { heldBy: heldBy.length };
  };
  /**
   * `releaseId` is that of the release made of it; null when running instances are not concerned. `before`: written
   * with it.
   */
  const configure = async (
    app: AppId,
    given: Pick<Configuration, 'settings' | 'scale'>,
    by: string,
    before: readonly NamedChange[] = [],
  ) => {
    const release = asReleaseId(randomUUID());
    const written = await write([...before, { change: 'configureApp', app, ...given, release }], by);
    return { ...written, ...madeRelease(service.view(), app, release) };
  };
  return { write, configure };
}

export function appsRoutes({ service }: ApiContext) {
  const { write, configure } = appWrites(service);
  return (
    new Hono<ApiEnv>()
      .get('/v1/apps', requires('viewer'), (c) => {
        const observed = service.observed();
        const apps = [...service.view().apps.values()];
        apps.sort((a, b) => compareText(a.name, b.name) || compareText(a.id, b.id));
        return c.json(apps.map((app) => appSummaryShape(app, observed)));
      })
      .post('/v1/apps', requires('developer'), jsonBody(createAppBody), async (c) => {
        const body = c.req.valid('json');
        const app = asAppId(randomUUID());
        const written = await write(
          [
            {
              change: 'createApp',
              app,
              name: body.name,
              settings: settingsOf(body),
              scale: body.scale ?? {},
              env: body.env ?? {},
              routes: body.routes ?? [],
              stopped: body.stopped ?? false,
            },
          ],
          c.get('user').name,
        );
        return c.json({ id: app, name: body.name, ...written }, 201);
      })
      .get('/v1/apps/:name', requires('viewer'), (c) => {
        const view = service.view();
        return c.json(appShape(appFor(c, view, 'status'), view, service.observed()));
      })
      // Apart from the app itself, which every node knows: this is asked of the nodes that run it.
      .get('/v1/apps/:name/usage', requires('viewer'), async (c) => {
        const { id } = appFor(c, service.view(), 'status');
        return c.json({ instances: (await service.usage(id)).map(usageShape) });
      })
      .patch('/v1/apps/:name', requires('developer'), jsonBody(settingsBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        const settings = settingsOf(c.req.valid('json'), app);
        return c.json(await configure(app.id, { settings }, c.get('user').name));
      })
      /** Its volumes stay unless `volumes` is true. */
      .delete('/v1/apps/:name', requires('developer'), queryOf(deleteAppQuery), async (c) => {
        const app = appFor(c, service.view(), 'change');
        const own = [...service.view().volumes.values()].filter(({ owner }) => owner === app.id);
        const isDeleted = c.req.valid('query').volumes === 'true';
        const changes: NamedChange[] = [
          { change: 'deleteApp', app: app.id },
          ...(isDeleted ? own.map(({ id }): NamedChange => ({ change: 'deleteVolume', volume: id })) : []),
        ];
        const counts = isDeleted ? { kept: 0, deleted: own.length } : { kept: own.length, deleted: 0 };
        return c.json({ ...(await write(changes, c.get('user').name)), volumes: counts });
      })
      /** Who works on it beside its owner. */
      .post('/v1/apps/:name/members', requires('developer'), jsonBody(memberBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        requireOwner(c.get('user'), app);
        const { user, member } = c.req.valid('json');
        const { heldBy } = await write([{ change: 'setMember', app: app.id, user, member }], c.get('user').name);
        return c.json({ app: app.name, user, member, heldBy });
      })
      .post('/v1/apps/:name/owner', requires('developer'), jsonBody(ownerBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        requireOwner(c.get('user'), app);
        const { owner } = c.req.valid('json');
        const { heldBy } = await write([{ change: 'setOwner', app: app.id, owner }], c.get('user').name);
        return c.json({ app: app.name, owner, heldBy });
      })
  );
}
