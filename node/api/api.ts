// The whole API as one Hono app: who may in, how much may come in, what an error looks like. What each resource does
// is in routes/.

import { Hono } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { HTTPException } from 'hono/http-exception';
import { type ApiEnv, authenticate } from './auth.ts';
import type { ApiContext } from './context.ts';
import { ApiError, type ErrorBody, failureOf, reportUnexpected, retryOf } from './errors.ts';
import { appRunsRoutes } from './routes/app-runs.ts';
import { appsRoutes } from './routes/apps.ts';
import { backupsRoutes } from './routes/backups.ts';
import { bindingsRoutes } from './routes/bindings.ts';
import { buildpacksRoutes } from './routes/buildpacks.ts';
import { envRoutes } from './routes/env.ts';
import { explanationsRoutes } from './routes/explanations.ts';
import { exportsRoutes } from './routes/exports.ts';
import { linesRoutes } from './routes/lines.ts';
import { nodesRoutes } from './routes/nodes.ts';
import { peopleRoutes } from './routes/people.ts';
import { pushRoutes } from './routes/push.ts';
import { releasesRoutes } from './routes/releases.ts';
import { appRoutesRoutes } from './routes/routes.ts';
import { serviceLifeRoutes } from './routes/service-life.ts';
import { SERVICE_SESSION_PATH, serviceSessionsRoutes } from './routes/service-sessions.ts';
import { servicesRoutes } from './routes/services.ts';
import { SESSION_PATH, sessionsRoutes } from './routes/sessions.ts';
import { sourceRoutes } from './routes/source.ts';
import { statusRoutes } from './routes/status.ts';
import { volumeLifeRoutes } from './routes/volume-life.ts';
import { volumesRoutes } from './routes/volumes.ts';
import { onlyWanted } from './wanted.ts';

const JSON_BODY_BYTES_MAX = 1024 * 1024;
const UPLOAD_PATH =
  /^\/v1\/(apps\/[^/]+\/(push|source\/(missing|chunks))|buildpacks\/[^/]+|services\/[^/]+\/backups\/content)$/;

/** Pure of any listener: `api.fetch` answers, `api.request` is enough for a test. */
export function createApi(context: ApiContext) {
  const { service, log } = context;
  const limitBody = bodyLimit({
    maxSize: JSON_BODY_BYTES_MAX,
    onError: () => {
      throw new ApiError('too_large', `the request is larger than ${JSON_BODY_BYTES_MAX / 1024 ** 2} MiB`);
    },
  });
  const streams = (path: string) => [UPLOAD_PATH, SESSION_PATH, SERVICE_SESSION_PATH].some((one) => one.test(path));
  const authenticated = authenticate(() => service.view());

  const api = new Hono<ApiEnv>();
  api.use('*', async (c, next) => {
    if (c.req.path === '/v1/health') return next();
    await context.caughtUp;
    return authenticated(c, next);
  });
  api.use('*', (c, next) => (streams(c.req.path) ? next() : limitBody(c, next)));
  api.use('*', onlyWanted({ ...context, streams }));
  api.use('*', async (c, next) => {
    await next();
    // Answers hold state and sometimes secrets: no cache may keep them.
    c.res.headers.set('cache-control', 'no-store');
    c.res.headers.set('x-content-type-options', 'nosniff');
  });
  const routed = api
    .route('/', statusRoutes(context))
    .route('/', nodesRoutes(context))
    .route('/', peopleRoutes(context))
    .route('/', appsRoutes(context))
    .route('/', appRunsRoutes(context))
    .route('/', releasesRoutes(context))
    .route('/', envRoutes(context))
    .route('/', appRoutesRoutes(context))
    .route('/', servicesRoutes(context))
    .route('/', bindingsRoutes(context))
    .route('/', serviceSessionsRoutes(context))
    .route('/', exportsRoutes(context))
    .route('/', backupsRoutes(context))
    .route('/', volumesRoutes(context))
    .route('/', serviceLifeRoutes(context))
    .route('/', volumeLifeRoutes(context))
    .route('/', sourceRoutes(context))
    .route('/', pushRoutes(context))
    .route('/', buildpacksRoutes(context))
    .route('/', sessionsRoutes(context))
    .route('/', linesRoutes(context))
    .route('/', explanationsRoutes(context));

  routed.notFound((c) =>
    c.json<ErrorBody>(
      { error: { code: 'not_found', message: `there is no ${c.req.method} ${c.req.path}`, retry: 'no' } },
      404,
    ),
  );
  routed.onError((error, c) => {
    if (error instanceof HTTPException) {
      return c.json<ErrorBody>({ error: { code: 'bad_request', message: error.message, retry: 'no' } }, error.status);
    }
    const failure = failureOf(error);
    if (failure !== undefined) {
      const { status, ...error } = failure;
      return c.json<ErrorBody>({ error }, status);
    }
    const message = reportUnexpected(log, error, `${c.req.method} ${c.req.path}`);
    return c.json<ErrorBody>({ error: { code: 'internal', message, retry: retryOf('internal') } }, 500);
  });
  log.debug('api.created', { routes: routed.routes.length });
  return routed;
}

/** The type of the API, for the typed client of the CLI. */
export type Api = ReturnType<typeof createApi>;
