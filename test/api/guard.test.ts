import { describe, expect, it } from 'vitest';
import type { Role } from '../../crdt/schema.ts';
import { testApi } from './client.ts';
import { tokenOf } from './memory-node.ts';

/** Every route there is, with the least role that may use it. */
const ROUTES: Record<string, Role | 'anyone'> = {
  'GET /v1/health': 'anyone',
  'GET /v1/status': 'viewer',
  'POST /v1/node/stop': 'admin',
  'GET /v1/nodes': 'viewer',
  'POST /v1/nodes/:name/drain': 'admin',
  'GET /v1/nodes/:name/data': 'viewer',
  'POST /v1/nodes/:name/data/move': 'admin',
  'POST /v1/nodes/:name/undrain': 'admin',
  'POST /v1/nodes/:name/labels': 'admin',
  'DELETE /v1/nodes/:name': 'admin',
  'GET /v1/users': 'admin',
  'POST /v1/users': 'admin',
  'DELETE /v1/users/:name': 'admin',
  'POST /v1/teams': 'admin',
  'POST /v1/invites': 'admin',
  'GET /v1/apps': 'viewer',
  'POST /v1/apps': 'developer',
  'GET /v1/apps/:name': 'viewer',
  'PATCH /v1/apps/:name': 'developer',
  'DELETE /v1/apps/:name': 'developer',
  'POST /v1/apps/:name/members': 'developer',
  'POST /v1/apps/:name/owner': 'developer',
  'POST /v1/apps/:name/scale': 'developer',
  'POST /v1/apps/:name/stop': 'developer',
  'POST /v1/apps/:name/start': 'developer',
  'POST /v1/apps/:name/restart': 'developer',
  'POST /v1/apps/:name/restart-slot': 'developer',
  'GET /v1/apps/:name/rollout': 'viewer',
  'GET /v1/apps/:name/usage': 'viewer',
  'GET /v1/apps/:name/releases': 'viewer',
  'POST /v1/apps/:name/rollback': 'developer',
  'GET /v1/apps/:name/env': 'viewer',
  'POST /v1/apps/:name/env': 'developer',
  'POST /v1/apps/:name/volumes': 'developer',
  'GET /v1/services': 'viewer',
  'GET /v1/services/kinds': 'viewer',
  'POST /v1/services': 'developer',
  'GET /v1/services/:name': 'viewer',
  'PATCH /v1/services/:name': 'developer',
  'DELETE /v1/services/:name': 'developer',
  'PUT /v1/services/:name': 'developer',
  'POST /v1/services/:name/stop': 'developer',
  'POST /v1/services/:name/start': 'developer',
  'POST /v1/services/:name/restart': 'developer',
  'GET /v1/services/:name/rollout': 'viewer',
  'POST /v1/services/:name/move': 'developer',
  'POST /v1/services/:name/recover': 'developer',
  'POST /v1/services/:name/upgrade': 'developer',
  'POST /v1/services/:name/upgrade/confirm': 'developer',
  'POST /v1/services/:name/upgrade/revert': 'developer',
  'POST /v1/services/:name/bind': 'developer',
  'POST /v1/services/:name/unbind': 'developer',
  'POST /v1/services/:name/connect': 'developer',
  'POST /v1/services/:name/tunnel': 'developer',
  'POST /v1/services/:name/export': 'developer',
  'DELETE /v1/services/:name/export': 'developer',
  'GET /v1/services/:name/access': 'viewer',
  'GET /v1/orphans': 'admin',
  'DELETE /v1/orphans/:node/:volume/:lineage': 'admin',
  'GET /v1/volumes': 'viewer',
  'GET /v1/volumes/:id': 'viewer',
  'DELETE /v1/volumes/:id': 'developer',
  'GET /v1/backups': 'viewer',
  'GET /v1/services/:name/backups': 'viewer',
  'POST /v1/services/:name/backups': 'developer',
  'GET /v1/services/:name/moments': 'viewer',
  'POST /v1/services/:name/moments': 'developer',
  'POST /v1/services/:name/restore': 'developer',
  'GET /v1/services/:name/backups/:id/content': 'developer',
  'POST /v1/services/:name/backups/content': 'developer',
  'PATCH /v1/volumes/:id': 'developer',
  'GET /v1/snapshots': 'viewer',
  'GET /v1/volumes/:id/snapshots': 'viewer',
  'POST /v1/volumes/:id/snapshots': 'developer',
  'POST /v1/volumes/:id/restore': 'developer',
  'POST /v1/volumes/:id/move': 'developer',
  'POST /v1/volumes/:id/recover': 'developer',
  'GET /v1/routes': 'viewer',
  'POST /v1/routes/share': 'developer',
  'POST /v1/apps/:name/routes': 'developer',
  'POST /v1/apps/:name/routes/unmap': 'developer',
  'POST /v1/apps/:name/push': 'developer',
  'POST /v1/apps/:name/source/chunks': 'developer',
  'POST /v1/apps/:name/source/missing': 'developer',
  'POST /v1/buildpacks/:name': 'developer',
  'POST /v1/apps/:name/exec': 'developer',
  'POST /v1/apps/:name/run': 'developer',
  'GET /v1/apps/:name/logs': 'viewer',
  'GET /v1/events': 'viewer',
  'GET /v1/apps/:name/why': 'viewer',
  'GET /v1/what-if': 'viewer',
};

const LOWER_ROLE: Partial<Record<Role, Role>> = { admin: 'developer', developer: 'viewer' };
const UNKNOWN_TOKEN = `peer_${'0'.repeat(64)}`;

describe('the guard', () => {
  it('knows every route of the API', () => {
    const { api } = testApi();
    const routes = api.routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path}`);
    expect([...new Set(routes)].sort()).toEqual(Object.keys(ROUTES).sort());
  });

  for (const [route, role] of Object.entries(ROUTES)) {
    const [method, path] = route.split(' ') as [string, string];
    const ask = async (api: ReturnType<typeof testApi>['api'], token?: string) =>
      api.request(path.replace(':name', 'nothing'), {
        method,
        ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
      });

    it(`lets ${role === 'anyone' ? 'anyone' : `no one below ${role}`} use ${route}`, async () => {
      const { api, node } = testApi();
      if (role === 'anyone') {
        expect((await ask(api)).status).toBe(200);
        return;
      }
      for (const token of [undefined, UNKNOWN_TOKEN, 'nonsense']) {
        const refused = await ask(api, token);
        expect(refused.status).toBe(401);
        expect(await refused.json()).toEqual({
          error: { code: 'unauthorized', retry: 'no', message: expect.any(String) },
        });
      }
      const lower = LOWER_ROLE[role];
      if (lower !== undefined) {
        const refused = await ask(api, tokenOf(lower));
        expect(refused.status).toBe(403);
        expect(await refused.json()).toEqual({
          error: { code: 'forbidden', retry: 'no', message: expect.stringContaining(`needs the role ${role}`) },
        });
      }
      expect(node.writes).toEqual([]);
      expect(node.shutdowns).toEqual([]);
      const allowed = await ask(api, tokenOf(role));
      expect([401, 403]).not.toContain(allowed.status);
      await allowed.body?.cancel();
    });
  }

  it('says nothing about unknown paths to strangers', async () => {
    const { api, viewer } = testApi();
    expect((await api.request('/v1/secrets')).status).toBe(401);
    expect((await viewer.get('/v1/secrets')).status).toBe(404);
  });

  it('takes a removed user for a stranger at once', async () => {
    const { admin, viewer } = testApi();
    expect((await viewer.get('/v1/apps')).status).toBe(200);
    await admin.send('DELETE', '/v1/users/the-viewer');
    expect((await viewer.get('/v1/apps')).status).toBe(401);
  });
});
