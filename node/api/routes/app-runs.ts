// /v1/apps/:name: scale, stop, start, restart, and following what comes of it.

import { Hono } from 'hono';
import type { NamedChange } from '../../../crdt/change.ts';
import type { AppView } from '../../../crdt/view.ts';
import { appFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { rolloutTarget } from '../lookup.ts';
import { volumeChanges } from '../push-data.ts';
import { rolloutStream } from '../rollout-stream.ts';
import { instancesOf } from '../shaping.ts';
import { jsonBody, queryOf, restartSlotBody, rolloutQuery, type ScaleBody, scaleBody } from '../validate.ts';
import { appWrites } from './apps.ts';

export function appRunsRoutes({ service, log }: ApiContext) {
  const { write, configure } = appWrites(service);
  return (
    new Hono<ApiEnv>()
      .post('/v1/apps/:name/scale', requires('developer'), jsonBody(scaleBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        const { scale, memoryBytes, volumes } = c.req.valid('json');
        if (scale === undefined && memoryBytes === undefined) {
          throw new ApiError('bad_request', 'nothing to scale: give a number of instances or the memory');
        }
        const by = c.get('user').name;
        const made = volumesToScale(service, app, { scale, memoryBytes, volumes });
        const kept = { volumesKept: keptVolumes(app, scale ?? {}) };
        if (memoryBytes === undefined || memoryBytes === app.memoryBytes) {
          const changes: NamedChange[] = scale === undefined ? [] : [{ change: 'scaleApp', app: app.id, scale }];
          const written = changes.length === 0 ? { heldBy: 0 } : await write([...made, ...changes], by);
          return c.json({ ...written, release: null, releaseId: null, ...kept });
        }
        const given = { settings: { memoryBytes }, ...(scale && { scale }) };
        return c.json({ ...(await configure(app.id, given, by, made)), ...kept });
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
        return rolloutStream({ service, log }, app.id, target, c.req.raw.signal);
      })
  );
}

/** What slots that are added lack of what slot 0 has, or of what is asked for. */
function volumesToScale(
  service: ApiContext['service'],
  app: AppView,
  { scale = {}, memoryBytes = app.memoryBytes, volumes = [] }: ScaleBody,
): NamedChange[] {
  const processes = Object.keys(scale);
  const [process] = processes;
  if (volumes.length > 0 && (process === undefined || processes.length > 1)) {
    throw new ApiError('bad_request', 'volumes: are of the one process that is scaled: scale one at a time');
  }
  if (app.release === undefined) {
    if (volumes.length === 0) return [];
    throw new ApiError('bad_request', `${app.name} was never released: peer push --volume makes its volumes`);
  }
  return volumeChanges(service, {
    app: { id: app.id, name: app.name, memoryBytes },
    existing: app,
    counts: scale,
    wishes: { process: process ?? 'web', volumes },
    release: app.release,
  });
}

/** How many volumes of the slots that go stay behind. */
const keptVolumes = (app: AppView, scale: Readonly<Record<string, number>>): number =>
  app.volumes.filter(({ process, index }) => index >= (scale[process] ?? Number.POSITIVE_INFINITY)).length;
