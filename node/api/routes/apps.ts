// /v1/apps: list, look, create, configure, scale, stop, start, restart, delete; and following what comes of it.

import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import type { NamedChange } from '../../../crdt/change.ts';
import { type AppId, asAppId, asReleaseId } from '../../../crdt/ids.ts';
import { compareText } from '../../core/text.ts';
import { appFor, requireOwner } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError, failureOf, reportUnexpected } from '../errors.ts';
import { eventStream } from '../event-stream.ts';
import { madeRelease, rolloutTarget } from '../lookup.ts';
import { settingsOf } from '../push.ts';
import { followRollout } from '../rollout.ts';
import { appShape, appSummaryShape, instancesOf, usageShape } from '../shaping.ts';
import type { ProgressEvent } from '../stream-events.ts';
import {
  createAppBody,
  jsonBody,
  memberBody,
  ownerBody,
  queryOf,
  restartSlotBody,
  rolloutQuery,
  scaleBody,
  settingsBody,
} from '../validate.ts';

type Configuration = Extract<NamedChange, { change: 'configureApp' }>;

export function appsRoutes({ service, log }: ApiContext) {
  const write = async (changes: NamedChange[], by: string) => {
    const { heldBy } = await service.write(changes, by);
    return { heldBy: heldBy.length };
  };
  /** `releaseId` is that of the release made of it; null when running instances are not concerned. */
  const configure = async (app: AppId, given: Pick<Configuration, 'settings' | 'scale'>, by: string) => {
    const release = asReleaseId(randomUUID());
    const written = await write([{ change: 'configureApp', app, ...given, release }], by);
    return { ...written, ...madeRelease(service.view(), app, release) };
  };
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
      .delete('/v1/apps/:name', requires('developer'), async (c) => {
        const app = appFor(c, service.view(), 'change');
        return c.json(await write([{ change: 'deleteApp', app: app.id }], c.get('user').name));
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
      .post('/v1/apps/:name/scale', requires('developer'), jsonBody(scaleBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        const { scale, memoryBytes } = c.req.valid('json');
        if (scale === undefined && memoryBytes === undefined) {
          throw new ApiError('bad_request', 'nothing to scale: give a number of instances or the memory');
        }
        const by = c.get('user').name;
        if (memoryBytes === undefined || memoryBytes === app.memoryBytes) {
          const written =
            scale === undefined ? { heldBy: 0 } : await write([{ change: 'scaleApp', app: app.id, scale }], by);
          return c.json({ ...written, release: null, releaseId: null });
        }
        return c.json(await configure(app.id, { settings: { memoryBytes }, ...(scale && { scale }) }, by));
      })
      .post('/v1/apps/:name/stop', requires('developer'), async (c) => {
        const app = appFor(c, service.view(), 'change');
        return c.json(await write([{ change: 'setStopped', app: app.id, stopped: true }], c.get('user').name));
      })
      .post('/v1/apps/:name/start', requires('developer'), async (c) => {
        const app = appFor(c, service.view(), 'change');
        return c.json(await write([{ change: 'setStopped', app: app.id, stopped: false }], c.get('user').name));
      })
      .post('/v1/apps/:name/restart', requires('developer'), async (c) => {
        const app = appFor(c, service.view(), 'change');
        return c.json(await write([{ change: 'restartApp', app: app.id }], c.get('user').name));
      })
      /** Answers with the instance that will go: pass it to the roll-out as `replaced`. */
      .post('/v1/apps/:name/restart-slot', requires('developer'), jsonBody(restartSlotBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        const { process, index } = c.req.valid('json');
        const running = instancesOf(app, service.observed()).find(
          ({ instance }) =>
            instance.process === process &&
            instance.index === index &&
            instance.state !== 'stopping' &&
            instance.state !== 'crashed',
        );
        if (running === undefined) {
          throw new ApiError(
            'not_found',
            `${app.name} has no running instance ${process}/${index}: see peer app ${app.name}`,
          );
        }
        await service.restartSlot({ app: app.id, process, index });
        return c.json({ replaced: running.instance.id as string });
      })
      .get('/v1/apps/:name/rollout', requires('viewer'), queryOf(rolloutQuery), (c) => {
        const app = appFor(c, service.view(), 'read');
        const target = rolloutTarget(c.req.valid('query'));
        return eventStream<ProgressEvent>(c.req.raw.signal, async (sink) => {
          try {
            await followRollout(service, app.id, target, sink);
          } catch (error) {
            const failure = failureOf(error);
            const message = failure?.message ?? reportUnexpected(log, error, 'rollout');
            sink.send({ type: 'failed', code: failure?.code ?? 'internal', message });
          }
        });
      })
  );
}
