// /v1/users, /v1/teams and /v1/invites: who may use the cluster, whose the apps are, and how nodes get in. A token or
// an invite is shown once, here.

import { Hono } from 'hono';
import { compareText } from '../../core/text.ts';
import { newToken } from '../../identity/tokens.ts';
import { type ApiEnv, requires } from '../auth.ts';
import type { ApiContext } from '../context.ts';
import { ApiError } from '../errors.ts';
import { userShape } from '../shaping.ts';
import { inviteBody, jsonBody, teamsBody, userBody } from '../validate.ts';

const INVITE_TTL_MS_DEFAULT = 60 * 60 * 1000;

export function peopleRoutes({ service, log }: ApiContext) {
  return new Hono<ApiEnv>()
    .get('/v1/users', requires('admin'), (c) => {
      const view = service.view();
      const users = [...view.users.values()].sort((a, b) => compareText(a.name, b.name));
      return c.json(users.map((user) => userShape(user, view)));
    })
    .post('/v1/users', requires('admin'), jsonBody(userBody), async (c) => {
      const { name, role } = c.req.valid('json');
      const { token, tokenHash } = newToken();
      const { heldBy } = await service.write([{ change: 'addUser', name, role, tokenHash }], c.get('user').name);
      log.info('api.user.added', { by: c.get('user').name, name, role });
      return c.json({ name, role, token, heldBy: heldBy.length });
    })
    .delete('/v1/users/:name', requires('admin'), async (c) => {
      const name = c.req.param('name');
      if (!service.view().users.has(name)) throw new ApiError('not_found', `there is no user ${name}: see peer users`);
      const { heldBy } = await service.write([{ change: 'removeUser', name }], c.get('user').name);
      log.info('api.user.removed', { by: c.get('user').name, name });
      return c.json({ heldBy: heldBy.length });
    })
    .post('/v1/teams', requires('admin'), jsonBody(teamsBody), async (c) => {
      const { teams } = c.req.valid('json');
      const { heldBy } = await service.write([{ change: 'setTeams', teams }], c.get('user').name);
      log.info('api.teams.set', { by: c.get('user').name, teams });
      return c.json({ teams, heldBy: heldBy.length });
    })
    .post('/v1/invites', requires('admin'), jsonBody(inviteBody), async (c) => {
      const { ttlMs = INVITE_TTL_MS_DEFAULT, uses = 1 } = c.req.valid('json');
      const made = await service.createInvite({ ttlMs, uses }, c.get('user').name);
      log.info('api.invite.created', { by: c.get('user').name, expiresAtMs: made.expiresAtMs, uses });
      return c.json({ ...made, uses });
    });
}
