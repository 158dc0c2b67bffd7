// /v1/volumes, and the volumes of an app: list, look, make, configure, delete. Their data goes only by a word of its
// own.

import { Hono } from 'hono';
import type { OnLoss } from '../../../crdt/schema.ts';
import type { DesiredView, UserView, VolumeView } from '../../../crdt/view.ts';
import { type AppAccess, appFor, readsAll, requireAccess, requireServiceAccess } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { volumeDetailShape, volumeShape, volumeShapes } from '../data-shaping.ts';
import { addVolumeBody, configureVolumeBody } from '../data-validate.ts';
import { ApiError } from '../errors.ts';
import { volumeOf } from '../lookup.ts';
import { newVolumes } from '../new-volumes.ts';
import { isWanted } from '../placed-data.ts';
import { desiredOf } from '../shaping.ts';
import { jsonBody } from '../validate.ts';

export function volumesRoutes({ service }: ApiContext) {
  const known = () => ({ view: service.view(), observed: service.observed() });
  return (
    new Hono<ApiEnv>()
      .get('/v1/volumes', requires('viewer'), (c) => c.json(volumeShapes(known())))
      /** With what its node says, which is asked. */
      .get('/v1/volumes/:id', requires('viewer'), async (c) => {
        const volume = volumeFor(service.view(), c.get('user'), c.req.param('id'), 'read');
        return c.json(volumeDetailShape(volume, known(), await service.volumeStatus(volume.id)));
      })
      /** One for each slot that the process type has; those that there are stay as they are. */
      .post('/v1/apps/:name/volumes', requires('developer'), jsonBody(addVolumeBody), async (c) => {
        const app = appFor(c, service.view(), 'change');
        const { process = 'web', ...wish } = c.req.valid('json');
        if (app.release === undefined) {
          throw new ApiError('bad_request', `${app.name} was never released: peer push --volume makes its volumes`);
        }
        const count = desiredOf(app)[process] ?? 0;
        const volumes = newVolumes(service, {
          app,
          volumes: app.volumes,
          process,
          count: Math.max(count, 1),
          wishes: [wish],
          release: app.release,
        });
        const heldBy =
          volumes.length === 0
            ? 0
            : (await service.write([{ change: 'createVolumes', volumes }], c.get('user').name)).heldBy.length;
        const view = service.view();
        const made = volumes.flatMap(({ id }) => view.volumes.get(id) ?? []);
        return c.json({ volumes: made.map((volume) => volumeShape(volume, known())), heldBy });
      })
      /** What is missing stays as it is. */
      .patch('/v1/volumes/:id', requires('developer'), jsonBody(configureVolumeBody), async (c) => {
        const { id } = volumeFor(service.view(), c.get('user'), c.req.param('id'), 'change');
        const change = { change: 'configureVolume' as const, volume: id, ...given(c.req.valid('json')) };
        const { heldBy } = await service.write([change], c.get('user').name);
        const volume = volumeOf(service.view(), id);
        return c.json({ ...volumeShape(volume, known()), heldBy: heldBy.length });
      })
      .delete('/v1/volumes/:id', requires('developer'), async (c) => {
        const view = service.view();
        const volume = volumeFor(view, c.get('user'), c.req.param('id'), 'change');
        expectUnused(volume, view);
        const { heldBy } = await service.write([{ change: 'deleteVolume', volume: volume.id }], c.get('user').name);
        return c.json({ id: volume.id as string, heldBy: heldBy.length });
      })
  );
}

type Settings = { sizeBytes?: number; snapshotEveryMs?: number; snapshotsKept?: number; onLoss?: OnLoss };
const given = (settings: { [K in keyof Settings]: Settings[K] | undefined }): Settings =>
  Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));

/** By the access to what owns it; what is left of something deleted is everyone's who may read everything. */
export function volumeFor(view: DesiredView, user: UserView, id: string, needed: AppAccess): VolumeView {
  const volume = volumeOf(view, id);
  const app = view.apps.get(volume.owner);
  const service = [...view.services.values()].find((one) => (one.id as string) === volume.owner);
  if (app !== undefined) requireAccess(view, user, app, needed);
  else if (service !== undefined) requireServiceAccess(view, user, service, needed);
  else if (!readsAll(view, user)) throw new ApiError('forbidden', `what ${id} belonged to is gone: ask an admin`);
  return volume;
}

function expectUnused(volume: VolumeView, view: DesiredView): void {
  const service = [...view.services.values()].find((one) => (one.id as string) === volume.owner);
  if (service !== undefined && volume.mounted) {
    const command = `peer service delete ${service.name}`;
    throw new ApiError('volume_in_use', `it holds the data of the service ${service.name}: ${command} deletes both`);
  }
  if (!isWanted(volume, view)) return;
  const app = view.apps.get(volume.owner)?.name ?? volume.owner;
  const less = volume.index === 0 ? '' : `peer scale ${app} ${volume.process}=${volume.index}, or `;
  throw new ApiError(
    'volume_in_use',
    `${app}/${volume.process}/${volume.index} mounts it: ${less}peer stop-app ${app} first`,
  );
}
