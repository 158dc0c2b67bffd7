// /v1/services/:name/bind and unbind: which apps have credentials of a service, and whether they work yet.

import { Hono } from 'hono';
import { asBindingId } from '../../../crdt/ids.ts';
import { requireAccess, serviceFor } from '../access.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { accessQuery, bindBody, unbindBody } from '../data-validate.ts';
import { ApiError, failureOf, reportUnexpected } from '../errors.ts';
import { eventStream } from '../event-stream.ts';
import { GRANT_WAIT_MS, untilGranted } from '../granted.ts';
import { appNamed } from '../lookup.ts';
import { bindingOf, newBinding } from '../new-service.ts';
import type { AccessEvent } from '../stream-events.ts';
import { jsonBody, queryOf } from '../validate.ts';

export function bindingsRoutes({ service, log }: ApiContext) {
  return (
    new Hono<ApiEnv>()
      /** The app is restarted with it. With `rotate` new credentials take the place of those that it has. */
      .post('/v1/services/:name/bind', requires('developer'), jsonBody(bindBody), async (c) => {
        const view = service.view();
        const asked = serviceFor(c, view, 'change');
        const { app: name, prefix, rotate = false } = c.req.valid('json');
        const app = appNamed(view, name);
        requireAccess(view, c.get('user'), app, 'change');
        const held = bindingOf(view, asked.id, app.id);
        if (held !== undefined && !rotate) {
          const command = `peer service bind ${asked.name} ${app.name} --rotate`;
          throw new ApiError(
            'already_bound',
            `${app.name} is bound to ${asked.name} already: ${command} makes new credentials`,
          );
        }
        if (held === undefined && rotate) throw notBound(app.name, asked.name);
        const change = newBinding(service, {
          service: asked.id,
          app: app.id,
          prefix: prefix ?? held?.prefix ?? '',
          ...(held === undefined ? {} : { replaces: held.id }),
        });
        const { heldBy } = await service.write([change], c.get('user').name);
        return c.json({
          service: asked.name,
          app: app.name,
          binding: change.binding as string,
          prefix: change.prefix,
          rotated: held !== undefined,
          heldBy: heldBy.length,
        });
      })
      /** Its credentials end at once, and connections with them; the app is restarted without. */
      .post('/v1/services/:name/unbind', requires('developer'), jsonBody(unbindBody), async (c) => {
        const view = service.view();
        const asked = serviceFor(c, view, 'change');
        const app = appNamed(view, c.req.valid('json').app);
        requireAccess(view, c.get('user'), app, 'change');
        const held = bindingOf(view, asked.id, app.id);
        if (held === undefined) throw notBound(app.name, asked.name);
        const { heldBy } = await service.write([{ change: 'unbindService', binding: held.id }], c.get('user').name);
        return c.json({ service: asked.name, app: app.name, heldBy: heldBy.length });
      })
      .get('/v1/services/:name/access', requires('viewer'), queryOf(accessQuery), (c) => {
        const asked = serviceFor(c, service.view(), 'read');
        const binding = asBindingId(c.req.valid('query').binding);
        return eventStream<AccessEvent>(c.req.raw.signal, async (sink) => {
          try {
            const question = { service: asked.id, binding, timeoutMs: GRANT_WAIT_MS, signal: sink.signal };
            const warning = await untilGranted(service, question);
            sink.send({ type: 'done', granted: warning === undefined, warning: warning ?? null });
          } catch (error) {
            const failure = failureOf(error);
            const message = failure?.message ?? reportUnexpected(log, error, 'service access');
            sink.send({ type: 'failed', code: failure?.code ?? 'internal', message });
          }
        });
      })
  );
}

const notBound = (app: string, service: string): ApiError =>
  new ApiError('not_bound', `${app} is not bound to ${service}: peer service status ${service} shows which apps are`);
