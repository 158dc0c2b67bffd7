// POST /v1/apps/:name/push: a gzip-compressed tar or a list of chunks in, server-sent events out. One push per app at
// a time on a node.

import { Hono } from 'hono';
import type { AppView, DesiredView, ServiceView, UserView } from '../../../crdt/view.ts';
import type { NodeService } from '../../ports/node-service.ts';
import { currentUser, requireAccess, requireServiceAccess } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError, failureOf, reportUnexpected } from '../errors.ts';
import { eventStream } from '../event-stream.ts';
import { findApp } from '../lookup.ts';
import { push } from '../push.ts';
import { appName } from '../schema-parts.ts';
import type { PushEvent } from '../stream-events.ts';
import { uploadOf, wholeBody } from '../upload.ts';
import { type PushOptions, parseInput, pushOptions } from '../validate.ts';

/** Options of the push as JSON in base64url: the body is the source. */
export const PUSH_OPTIONS_HEADER = 'x-peer-push';

/** The body is a list of chunks, which were sent before: hash and size (u32) of each. */
export const CHUNK_LIST_TYPE = 'application/vnd.peer.chunk-list';
/** Of 131,072 chunks, which is the most that a blob has. */
const CHUNK_LIST_BYTES_MAX = 131_072 * 36;

export function pushRoutes({ service, log }: ApiContext) {
  /** Names of the apps being pushed here. */
  const inProgress = new Set<string>();
  return new Hono<ApiEnv>().post('/v1/apps/:name/push', requires('developer'), (c) => {
    const name = c.req.param('name');
    parseInput(appName, name, 'name');
    const options = readOptions(c.req.header(PUSH_OPTIONS_HEADER));
    const asked = c.get('user');
    const userNow = (view: DesiredView): UserView => {
      const user = currentUser(view, asked);
      if (user === undefined) throw new ApiError('unauthorized', `${asked.name} was removed from this cluster`);
      return user;
    };
    const allow = (view: DesiredView, app: AppView): void => requireAccess(view, userNow(view), app, 'change');
    const allowService = (view: DesiredView, bound: ServiceView): void =>
      requireServiceAccess(view, userNow(view), bound, 'change');
    const existing = findApp(service.view(), name);
    if (existing !== undefined) allow(service.view(), existing);
    if (inProgress.has(name)) {
      throw new ApiError('push_in_progress', `another push of ${name} is in progress: wait for it to end`);
    }
    inProgress.add(name);
    const stillWanted = c.get('stillWanted');
    const by = asked.name;
    const body = c.req.raw.body;
    const isList = c.req.header('content-type') === CHUNK_LIST_TYPE;
    const startedAtMs = performance.now();
    return eventStream<PushEvent>(c.req.raw.signal, async (sink) => {
      try {
        const source = isList ? await listedSource(service, name, body) : { source: uploadOf(body) };
        const outcome = await push(service, { name, options, ...source, by, allow, allowService, stillWanted }, sink);
        log.info('api.push.ended', { app: name, by, outcome, tookMs: Math.round(performance.now() - startedAtMs) });
      } catch (error) {
        const failure = failureOf(error);
        const message = failure?.message ?? reportUnexpected(log, error, `push ${name}`);
        const code = failure?.code ?? 'internal';
        log.info('api.push.failed', { app: name, by, code, gone: sink.signal.aborted });
        const mayHold = failure?.mayHold === undefined ? {} : { mayHold: failure.mayHold };
        sink.send({ type: 'failed', code, message, ...mayHold });
      } finally {
        inProgress.delete(name);
      }
    });
  });
}

async function listedSource(
  service: NodeService,
  app: string,
  body: ReadableStream<Uint8Array> | null,
): Promise<{ source: AsyncIterable<Uint8Array>; compressed: false }> {
  const list = await wholeBody(body, CHUNK_LIST_BYTES_MAX);
  const { digest } = await service.sources.assemble(app, list);
  return { source: service.sources.read(digest), compressed: false };
}

function readOptions(header: string | undefined): PushOptions {
  if (header === undefined) return {};
  let options: unknown;
  try {
    options = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'));
  } catch {
    throw new ApiError('bad_request', `the header ${PUSH_OPTIONS_HEADER} should be JSON in base64url`);
  }
  return parseInput(pushOptions, options);
}
