// POST /v1/apps/:name/exec and /run: frames of a session (lib/session-frames.ts) in the body, frames in the answer, at
// the same time. What goes wrong before the command has started is an error like any other.

import { randomBytes } from 'node:crypto';
import { Hono } from 'hono';
import type * as v from 'valibot';
import type { AttendedCommand } from '../../ports/commands.ts';
import type { SessionRequest } from '../../ports/node-service.ts';
import { appFor } from '../access.ts';
import { attended, readOptions } from '../attended.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { execOptions, runOptions } from '../validate.ts';

export const SESSION_PATH = /^\/v1\/apps\/[^/]+\/(exec|run)$/;

export function sessionsRoutes({ service, log }: ApiContext) {
  const open = (request: SessionRequest, raw: Request): Promise<Response> =>
    attended(raw, {
      log,
      what: `${request.target.kind} of ${request.app}`,
      open: (io) => service.openSession(request, io),
    });
  return new Hono<ApiEnv>()
    .post('/v1/apps/:name/exec', requires('developer'), (c) => {
      const app = appFor(c, service.view(), 'change');
      const { process, index, ...command } = readOptions(execOptions, c.req.raw);
      const target = { kind: 'exec' as const, process: process ?? 'web', index };
      return open({ by: c.get('user').name, app: app.id, command: commandOf(command), target }, c.req.raw);
    })
    .post('/v1/apps/:name/run', requires('developer'), (c) => {
      const app = appFor(c, service.view(), 'change');
      const asked = readOptions(runOptions, c.req.raw);
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
