// POST /v1/services/:name/connect and /tunnel: credentials of a person for as long as they attend, and the connections
// that they make meanwhile. Frames in both directions, as of a command.

import { Hono } from 'hono';
import { asAppId } from '../../../crdt/ids.ts';
import type { ServiceView } from '../../../crdt/view.ts';
import type { SessionIo } from '../../ports/node-service.ts';
import { serviceFor, stillHas } from '../access.ts';
import { attended, readOptions } from '../attended.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { tunnelOptions } from '../data-validate.ts';
import { ApiError } from '../errors.ts';

export const SERVICE_SESSION_PATH = /^\/v1\/services\/[^/]+\/(connect|tunnel)$/;

export function serviceSessionsRoutes({ service, log }: ApiContext) {
  return (
    new Hono<ApiEnv>()
      /** `started` holds the credentials, and the id of the session for its tunnels. */
      .post('/v1/services/:name/connect', requires('developer'), (c) => {
        const asked = running(serviceFor(c, service.view(), 'change'));
        const user = c.get('user');
        const request = {
          by: user.name,
          service: asked.id,
          isAllowed: () => stillHas(service.view(), user, asAppId(asked.id), 'change'),
        };
        const open = async (io: SessionIo) => service.openServiceSession(request, io);
        return attended(c.req.raw, { log, what: `connect to ${asked.name}`, open });
      })
      .post('/v1/services/:name/tunnel', requires('developer'), (c) => {
        const asked = running(serviceFor(c, service.view(), 'change'));
        const { session } = readOptions(tunnelOptions, c.req.raw);
        const request = { by: c.get('user').name, session };
        const open = async (io: SessionIo) => service.openServiceTunnel(request, io);
        return attended(c.req.raw, { log, what: `tunnel to ${asked.name}`, open });
      })
  );
}

function running(service: ServiceView): ServiceView {
  if (service.volume !== undefined) return service;
  const { name } = service;
  throw new ApiError('service_provided', `${name} was provided: it runs elsewhere, connect to it with its own client`);
}
