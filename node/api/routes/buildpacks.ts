// POST /v1/buildpacks/:name: a buildpack of the user's own as a gzip-compressed tar, for a push to this node that
// follows.

import { Hono } from 'hono';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import type { UploadedBuildpackShape } from '../shapes.ts';
import { uploadOf } from '../upload.ts';
import { buildpackName, parseInput } from '../validate.ts';

/** Compressed; a buildpack is scripts, and what they bring along. */
const BUILDPACK_BYTES_MAX = 256 * 1024 ** 2;

export function buildpacksRoutes({ service }: ApiContext) {
  return new Hono<ApiEnv>().post('/v1/buildpacks/:name', requires('developer'), async (c) => {
    const name = parseInput(buildpackName, c.req.param('name'), 'name');
    const source = uploadOf(c.req.raw.body, { bytesMax: BUILDPACK_BYTES_MAX });
    const buildpack = await service.keepBuildpack(name, source, BUILDPACK_BYTES_MAX);
    return c.json<UploadedBuildpackShape>({ buildpack });
  });
}
