// POST /v1/apps/:name/source/missing and /chunks: what a push sends before it begins, so that it sends only what the
// node does not have. Nothing is pushed by it: chunks that no push names go after a while.

import { type Context, Hono } from 'hono';
import { requireAccess } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { findApp } from '../lookup.ts';
import { appName } from '../schema-parts.ts';
import { uploadOf, wholeBody } from '../upload.ts';
import { parseInput } from '../validate.ts';

const HASH_BYTES = 32;
/** One question: 2,048 chunks, which are 128 MiB of source on the average. */
const HASHES_BYTES_MAX = 2_048 * HASH_BYTES;
/** One answer to it; a client sends what is missing in several. */
const CHUNKS_BYTES_MAX = 32 * 1024 ** 2;

export function sourceRoutes({ service }: ApiContext) {
  /** The app need not be there yet; one that is belongs to those who may push it. */
  const checkedName = (c: Context<ApiEnv>): string => {
    const name = c.req.param('name') ?? '';
    parseInput(appName, name, 'name');
    const view = service.view();
    const app = findApp(view, name);
    if (app !== undefined) requireAccess(view, c.get('user'), app, 'change');
    return name;
  };
  return new Hono<ApiEnv>()
    .post('/v1/apps/:name/source/missing', requires('developer'), async (c) => {
      const app = checkedName(c);
      const hashes = await wholeBody(c.req.raw.body, HASHES_BYTES_MAX);
      if (hashes.length % HASH_BYTES !== 0) {
        throw new ApiError('bad_request', `the body should be SHA-256 hashes, ${HASH_BYTES} bytes each`);
      }
      return c.json({ missing: await service.sources.missing(app, hashes) });
    })
    .post('/v1/apps/:name/source/chunks', requires('developer'), async (c) => {
      checkedName(c);
      await service.sources.take(uploadOf(c.req.raw.body, { bytesMax: CHUNKS_BYTES_MAX }), {
        bytesMax: CHUNKS_BYTES_MAX,
      });
      return c.json({ taken: true });
    });
}
