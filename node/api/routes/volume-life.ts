// /v1/snapshots, and what is done with a volume's data: taken, put back, moved, recovered. Each answers with a
// stream of what happens, as it may take long.

import { Hono } from 'hono';
import { asLineageId, asVolumeId } from '../../../crdt/ids.ts';
import { idProblem } from '../../../crdt/limits.ts';
import type { UserView } from '../../../crdt/view.ts';
import { readsAll } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import type { LifeResultShape, SnapshotShape } from '../data-shapes.ts';
import { orphansShape, snapshotShape } from '../data-shaping.ts';
import { moveVolumeBody, recoverVolumeBody, restoreVolumeBody } from '../data-validate.ts';
import { ApiError } from '../errors.ts';
import { lifeStream } from '../life-stream.ts';
import { nodeNamed } from '../lookup.ts';
import { nodeName } from '../placed-data.ts';
import { jsonBody } from '../validate.ts';
import { type LifeWork, moveVolume, recoverVolume, restoreVolume } from '../volume-life.ts';
import { volumeFor } from './volumes.ts';

type Work<T> = (onLine: (text: string) => void, signal: AbortSignal) => Promise<T>;

export function volumeLifeRoutes({ service, log }: ApiContext) {
  const follow = <T extends object>(requestSignal: AbortSignal, work: Work<T>): Response =>
    lifeStream({ log, where: 'volume', requestSignal }, work);
  const workOn = (
    c: { get(key: 'user'): UserView; req: { param(key: 'id'): string; raw: Request } },
    work: (on: LifeWork) => Promise<LifeResultShape>,
  ): Response => {
    const volume = volumeFor(service.view(), c.get('user'), c.req.param('id'), 'change');
    return follow(c.req.raw.signal, (onLine, signal) =>
      work({ service, volume, by: c.get('user').name, onLine, signal }),
    );
  };
  return (
    new Hono<ApiEnv>()
      /** On every node that answers. */
      .get('/v1/orphans', requires('admin'), async (c) => {
        const known = () => ({ view: service.view(), observed: service.observed() });
        return c.json(orphansShape(await service.volumes.orphans(), known()));
      })
      .delete('/v1/orphans/:node/:volume/:lineage', requires('admin'), async (c) => {
        const { id: node } = nodeNamed(service.view(), c.req.param('node'));
        const [volume, lineage] = [asVolumeId(c.req.param('volume')), asLineageId(c.req.param('lineage'))];
        if ([volume, lineage].some((id) => idProblem(id) !== undefined)) {
          throw new ApiError('not_found', 'there is no such orphan: see peer volumes --orphans');
        }
        await service.volumes.removeOrphan({ node, volume, lineage }, c.get('user').name);
        return c.json({ node: nodeName(service.view(), node), volume, lineage, removed: true });
      })
      /** Those of volumes that are gone, too. */
      .get('/v1/snapshots', requires('viewer'), async (c) => {
        const snapshots = await service.volumes.list(undefined);
        const view = service.view();
        const mayRead = (id: string): boolean => {
          try {
            volumeFor(view, c.get('user'), id, 'read');
            return true;
          } catch {
            return readsAll(view, c.get('user'));
          }
        };
        return c.json(snapshots.filter(({ volume }) => mayRead(volume)).map((one) => snapshotShape(one, view)));
      })
      .get('/v1/volumes/:id/snapshots', requires('viewer'), async (c) => {
        const { id } = volumeFor(service.view(), c.get('user'), c.req.param('id'), 'read');
        const snapshots = await service.volumes.list(id);
        return c.json(snapshots.map((one) => snapshotShape(one, service.view())));
      })
      .post('/v1/volumes/:id/snapshots', requires('developer'), (c) => {
        const { id, path } = volumeFor(service.view(), c.get('user'), c.req.param('id'), 'change');
        return follow<SnapshotShape>(c.req.raw.signal, async (onLine, signal) => {
          onLine(`taking a snapshot of ${path}`);
          return snapshotShape(await service.volumes.take(id, signal), service.view());
        });
      })
      /** `snapshot`: its id, or `newest`. */
      .post('/v1/volumes/:id/restore', requires('developer'), jsonBody(restoreVolumeBody), (c) => {
        const { snapshot, node } = c.req.valid('json');
        return workOn(c, (work) => restoreVolume(work, snapshot, node));
      })
      .post('/v1/volumes/:id/move', requires('developer'), jsonBody(moveVolumeBody), (c) =>
        workOn(c, (work) => moveVolume(work, c.req.valid('json').node)),
      )
      /** Refused while the node that has it is alive. */
      .post('/v1/volumes/:id/recover', requires('developer'), jsonBody(recoverVolumeBody), (c) =>
        workOn(c, (work) => recoverVolume(work, c.req.valid('json').node)),
      )
  );
}
