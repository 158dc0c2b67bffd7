// POST /v1/apps/:name/exec and /run: frames of a session (lib/session-frames.ts) in the body, frames in the answer, at
// the same time. What goes wrong before the command has started is an error like any other.

import { randomBytes } from 'node:crypto';
import { Hono } from 'hono';
import type * as v from 'valibot';
import { encodeJsonFrame } from '../../lib/session-frames.ts';
import type { AttendedCommand } from '../../ports/commands.ts';
import type { SessionRequest } from '../../ports/node-service.ts';
import { appFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError, failureOf, reportUnexpected } from '../errors.ts';
import { execOptions, parseInput, runOptions } from '../validate.ts';

/** What to run, as JSON in base64url: the body is what it reads. */
export const SESSION_OPTIONS_HEADER = 'x-peer-session';
export const SESSION_PATH = /^\/v1\/apps\/[^/]+\/(exec|run)$/;

export function sessionsRoutes({ service, log }: ApiContext) {
  const open = async (request: SessionRequest, raw: Request): Promise<Response> => {
    const gone = new AbortController();
    const onAbort = (): void => gone.abort();
    raw.signal.addEventListener('abort', onAbort, { once: true });
    if (raw.signal.aborted) onAbort();
    const input = raw.body === null ? nothing() : chunksOf(raw.body);
    const frames = await service.openSession(request, { input, signal: gone.signal });
    const values = frames[Symbol.asyncIterator]();
    // Nobody asks for more then, and what runs has to come to its end all the same.
    const onGone = (): void => void Promise.resolve(values.return?.()).catch(() => {});
    if (gone.signal.aborted) onGone();
    else gone.signal.addEventListener('abort', onGone, { once: true });
    const body = new ReadableStream<Uint8Array>(
      {
        async pull(controller) {
          try {
            const next = await values.next();
            if (next.done === true) controller.close();
            else controller.enqueue(next.value);
          } catch (error) {
            const failure = failureOf(error);
            const code = failure?.code ?? 'connection_lost';
            const message =
              failure?.message ?? reportUnexpected(log, error, `${request.target.kind} of ${request.app}`);
            controller.enqueue(encodeJsonFrame('failed', { code, message }));
            controller.close();
          }
        },
        cancel: () => gone.abort(),
      },
      { highWaterMark: 0 },
    );
    return new Response(body, {
      headers: { 'content-type': 'application/octet-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
    });
  };
  return new Hono<ApiEnv>()
    .post('/v1/apps/:name/exec', requires('developer'), (c) => {
      const app = appFor(c, service.view(), 'change');
      const { process, index, ...command } = readOptions(execOptions, c.req.header(SESSION_OPTIONS_HEADER));
      const target = { kind: 'exec' as const, process: process ?? 'web', index };
      return open({ by: c.get('user').name, app: app.id, command: commandOf(command), target }, c.req.raw);
    })
    .post('/v1/apps/:name/run', requires('developer'), (c) => {
      const app = appFor(c, service.view(), 'change');
      const asked = readOptions(runOptions, c.req.header(SESSION_OPTIONS_HEADER));
      const { name = randomBytes(4).toString('hex'), process = 'web', index = 0, volumes = true, ...command } = asked;
      const target = { kind: 'task' as const, name, ...(volumes ? { slot: { process, index } } : {}) };
      return open({ by: c.get('user').name, app: app.id, command: commandOf(command), target }, c.req.raw);
    });
}

const commandOf = ({
  argv,
  terminal,
}: Pick<v.InferOutput<typeof runOptions>, 'argv' | 'terminal'>): AttendedCommand => ({
  argv,
  ...(terminal === undefined ? {} : { terminal }),
});

function readOptions<S extends v.GenericSchema>(schema: S, header: string | undefined): v.InferOutput<S> {
  let options: unknown;
  try {
    options = JSON.parse(Buffer.from(header ?? '', 'base64url').toString('utf8'));
  } catch {
    throw new ApiError('bad_request', `the header ${SESSION_OPTIONS_HEADER} should be JSON in base64url`);
  }
  return parseInput(schema, options);
}

async function* chunksOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
  } finally {
    void reader.cancel().catch(() => {});
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
