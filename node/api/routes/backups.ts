// /v1/services/:name/backups: list, take, put back, and bring out and in as bytes.

import { type Context, Hono } from 'hono';
import type { ServiceView } from '../../../crdt/view.ts';
import type { Backup, HeldBackup } from '../../ports/backups.ts';
import { serviceFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import { backupFor, backupsFor, chosen, mayOf } from '../backup-lookup.ts';
import type { ApiContext } from '../context.ts';
import type { BackupShape, MomentsShape } from '../data-shapes.ts';
import { backupShape } from '../data-shaping.ts';
import { confirmQuery, momentBody, restoreBody } from '../data-validate.ts';
import { ApiError, failureOf, reportUnexpected } from '../errors.ts';
import { eventStream } from '../event-stream.ts';
import type { BackupEvent } from '../stream-events.ts';
import { uploadOf } from '../upload.ts';
import { jsonBody, queryOf } from '../validate.ts';

/** As much as a node takes of one service. */
const UPLOAD_BYTES_MAX = 64 * 1024 ** 3;
const WORDS = {
  what: 'the backup',
  empty: 'the upload holds no backup: send the bytes of one',
  tooLarge: 'and can only be brought in with the tools of its engine',
  again: 'upload it again',
};

export function backupsRoutes({ service, log }: ApiContext) {
  const shape = (backup: HeldBackup): BackupShape => backupShape(backup, service.view());
  const followed = (c: Context<ApiEnv>, work: Work): Response =>
    eventStream<BackupEvent>(c.req.raw.signal, async (sink) => {
      try {
        const backup = await work((text) => sink.send({ type: 'line', text }, { droppable: true }), sink.signal);
        const held = (await service.backups.list(backup.service)).find(({ id }) => id === backup.id);
        sink.send({ type: 'done', ...shape(held ?? { ...backup, holders: [] }) });
      } catch (error) {
        const failure = failureOf(error);
        const message = failure?.message ?? reportUnexpected(log, error, `${c.req.method} ${c.req.path}`);
        sink.send({ type: 'failed', code: failure?.code ?? 'internal', message });
      }
    });
  return (
    new Hono<ApiEnv>()
      .get('/v1/backups', requires('viewer'), async (c) => {
        const all = await service.backups.list(undefined);
        return c.json(all.filter((one) => mayOf(c, service.view(), one, 'status')).map(shape));
      })
      .get('/v1/services/:name/backups', requires('viewer'), async (c) =>
        c.json((await backupsFor(c, service, 'status')).map(shape)),
      )
      .post('/v1/services/:name/backups', requires('developer'), (c) => {
        const asked = managed(serviceFor(c, service.view(), 'change'));
        return followed(c, (onLine, signal) => service.backups.take(asked.id, onLine, signal));
      })
      /** `confirm`: its name again, as its data is replaced. */
      .post(
        '/v1/services/:name/restore',
        requires('developer'),
        queryOf(confirmQuery),
        jsonBody(restoreBody),
        async (c) => {
          const asked = managed(serviceFor(c, service.view(), 'change'));
          const { confirm } = c.req.valid('query');
          if (confirm !== asked.name && confirm !== asked.id) {
            throw new ApiError(
              'bad_request',
              `confirm: should be ${asked.name}: the backup takes the place of its data`,
            );
          }
          const { holders: _, ...backup } = await backupFor(c, service, asked, c.req.valid('json').backup);
          return followed(c, async (onLine, signal) => {
            await service.backups.restore(asked.id, backup, onLine, signal);
            return backup;
          });
        },
      )
      .get('/v1/services/:name/moments', requires('viewer'), async (c) => {
        const { id, name } = managed(serviceFor(c, service.view(), 'status'));
        const shape: MomentsShape = { name, windows: await service.backups.windows(id) };
        return c.json(shape);
      })
      /** Makes a backup of the data as it was then, which is restored as any other. */
      .post('/v1/services/:name/moments', requires('developer'), jsonBody(momentBody), (c) => {
        const asked = managed(serviceFor(c, service.view(), 'change'));
        const { atMs } = c.req.valid('json');
        return followed(c, (onLine, signal) => service.backups.recover(asked.id, atMs, onLine, signal));
      })
      .get('/v1/services/:name/backups/:id/content', requires('developer'), async (c) => {
        const backups = await backupsFor(c, service, 'change');
        const { name, id } = c.req.param();
        const command = (one: string): string => `peer service download ${name} ${one} FILE`;
        const backup = chosen(backups, { name, id, command });
        const { signal } = c.req.raw;
        const chunks = service.backups.download(backup, signal)[Symbol.asyncIterator]();
        // What cannot be brought here is said before the answer has begun.
        const first = await chunks.next();
        c.header('content-type', 'application/octet-stream');
        c.header('content-length', String(backup.sizeBytes));
        c.header('x-peer-digest', backup.digest);
        return c.body(bytesOf(first, chunks));
      })
      .post('/v1/services/:name/backups/content', requires('developer'), (c) => {
        const asked = managed(serviceFor(c, service.view(), 'change'));
        const body = uploadOf(c.req.raw.body, { bytesMax: UPLOAD_BYTES_MAX, words: WORDS });
        return followed(c, (_, signal) => service.backups.upload(asked.id, body, signal));
      })
  );
}

type Work = (onLine: (text: string) => void, signal: AbortSignal) => Promise<Backup>;

/** Read as fast as the client takes it. */
function bytesOf(
  first: IteratorResult<Uint8Array, unknown>,
  rest: AsyncIterator<Uint8Array, unknown>,
): ReadableStream<Uint8Array> {
  let next: IteratorResult<Uint8Array, unknown> | undefined = first;
  return new ReadableStream(
    {
      async pull(controller) {
        const { done, value } = next ?? (await rest.next());
        next = undefined;
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        await rest.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/** Fails when its data is elsewhere. */
function managed(asked: ServiceView): ServiceView {
  if (asked.volume !== undefined) return asked;
  throw new ApiError('service_provided', `${asked.name} was provided: its data is elsewhere, and is backed up there`);
}
