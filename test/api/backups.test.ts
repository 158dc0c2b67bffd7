// Backups of services as the API has them: taken, listed, put back, brought out and in, and who may.

import { describe, expect, it } from 'vitest';
import type { ServiceId } from '../../crdt/ids.ts';
import { eventsOf, testApi } from './client.ts';
import { tokenOf } from './memory-node.ts';

async function withDatabase() {
  const known = testApi();
  const { developer, node } = known;
  expect(await developer.post('/v1/services', { kind: 'postgres', name: 'db' })).toMatchObject({ status: 201 });
  const { id } = [...node.view().services.values()].find(({ name }) => name === 'db')!;
  node.backups.data.set(id, 'first');
  const followed = async (path: string, init: RequestInit = {}) => {
    const response = await developer.stream(path, { method: 'POST', ...init });
    return response.ok ? eventsOf(response) : [{ type: 'refused', ...(await response.json()).error }];
  };
  const post = (path: string, body: object) =>
    known.api.request(path, {
      method: 'POST',
      headers: { authorization: `Bearer ${tokenOf('developer')}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  const restore = async (backup: string, name = 'db', confirm = name) => {
    const response = await post(`/v1/services/${name}/restore?confirm=${confirm}`, { backup });
    return response.ok ? eventsOf(response) : [{ type: 'refused', ...(await response.json()).error }];
  };
  const upload = (content: string, name = 'db') => followed(`/v1/services/${name}/backups/content`, { body: content });
  const take = (name = 'db') => followed(`/v1/services/${name}/backups`);
  return { ...known, id: id as ServiceId, take, restore, upload };
}

describe('a backup', () => {
  it('is taken with what happens, and listed with who holds it and whether it was proven', async () => {
    const { take, viewer, id } = await withDatabase();
    expect(await take()).toMatchObject([
      { type: 'line', text: 'taking a backup of db' },
      { type: 'done', id: 'backup-1', heldBy: ['alpha', 'beta'], proof: { state: 'proven', text: '3 tables' } },
    ]);
    const { body } = await viewer.get('/v1/services/db/backups');
    expect(body).toMatchObject([{ id: 'backup-1', service: id, name: 'db', kind: 'postgres', takenOn: 'alpha' }]);
    expect((await viewer.get('/v1/backups')).body).toHaveLength(1);
  });

  it('shows in the status of its service once it is proven', async () => {
    const { take, viewer, node } = await withDatabase();
    const ageOf = async () => (await viewer.get('/v1/services/db')).body.provenBackupAgeMs;
    const { proof } = node.backups;
    node.backups.proof = { state: 'skipped', atMs: 0, text: 'not tried' };
    await take();
    expect(await ageOf()).toBeNull();
    node.backups.proof = proof;
    await take();
    expect(await ageOf()).toBeGreaterThanOrEqual(0);
  });

  it('fails in the words of the node, and not when nothing foresaw it', async () => {
    const { take, node, developer, log } = await withDatabase();
    await developer.post('/v1/services/db/stop');
    expect(await take()).toMatchObject([{ type: 'failed', code: 'service_not_ready' }]);
    await developer.post('/v1/services/db/start');
    node.backups.fails = new Error('a secret');
    const [, failed] = await take();
    expect(failed).toMatchObject({ type: 'failed', code: 'internal' });
    expect(JSON.stringify(failed)).not.toContain('a secret');
    expect(log.entries).toContainEqual(expect.objectContaining({ event: 'api.unexpected' }));
  });

  it('is put back when that is meant, also by its age, and into another service of its kind', async () => {
    const { take, restore, node, id, developer } = await withDatabase();
    await take();
    node.backups.data.set(id, 'second');
    expect(await restore('backup-1', 'db', 'other')).toMatchObject([{ type: 'refused', code: 'bad_request' }]);
    expect(node.backups.data.get(id)).toBe('second');
    expect((await restore('backup-1')).at(-1)).toMatchObject({ type: 'done', id: 'backup-1' });
    expect(node.backups.data.get(id)).toBe('first');
    node.backups.data.set(id, 'third');
    await take();
    node.backups.data.set(id, 'fourth');
    await restore('newest');
    expect(node.backups.data.get(id)).toBe('third');
    await developer.post('/v1/services', { kind: 'postgres', name: 'copy' });
    await restore('backup-1', 'copy');
    const copy = [...node.view().services.values()].find(({ name }) => name === 'copy')!;
    expect(node.backups.data.get(copy.id)).toBe('first');
    await developer.post('/v1/services', { kind: 'redis', name: 'cache' });
    expect(await restore('backup-1', 'cache')).toMatchObject([{ type: 'failed', code: 'backup_unusable' }]);
  });

  it('that was not proven is not the newest before it is named: it is said how', async () => {
    const { upload, restore, take, node, id, developer } = await withDatabase();
    await upload('BACKUP damaged further on');
    expect(await restore('newest')).toMatchObject([
      {
        code: 'backup_unproven',
        message:
          'the newest backup of db, 0 s old, was not proven: peer service restore db backup-1 takes it all the same; none is proven',
      },
    ]);
    await take();
    expect((await restore('newest')).at(-1)).toMatchObject({ type: 'done', id: 'backup-2' });
    await upload('BACKUP damaged further on');
    const told = expect.stringContaining(
      'peer service restore db backup-3 takes it all the same; peer service restore db backup-2 takes the newest proven one',
    );
    expect(await restore('newest')).toMatchObject([{ code: 'backup_unproven', message: told }]);
    expect(await developer.get('/v1/services/db/backups/newest/content')).toMatchObject({
      status: 409,
      body: { error: { message: expect.stringContaining('peer service download db backup-2 FILE takes the newest') } },
    });
    expect(node.backups.data.get(id)).toBe('first');
    expect((await restore('backup-3')).at(-1)).toMatchObject({ type: 'done' });
  });

  it('that is not there is said to be so', async () => {
    const { restore, developer, take } = await withDatabase();
    expect(await restore('newest')).toMatchObject([{ code: 'backup_unknown' }]);
    await take();
    expect(await restore('backup-9')).toMatchObject([{ code: 'backup_unknown' }]);
    expect(await developer.get('/v1/services/db/backups/backup-9/content')).toMatchObject({ status: 404 });
    expect(await developer.get('/v1/services/nothing/backups')).toMatchObject({ status: 404 });
  });

  it('is found when its service is gone, by its name and its id', async () => {
    const { take, developer, id } = await withDatabase();
    await take();
    await developer.send('DELETE', '/v1/services/db?confirm=db');
    for (const name of ['db', id]) {
      expect((await developer.get(`/v1/services/${name}/backups`)).body).toMatchObject([{ id: 'backup-1' }]);
    }
    const content = await developer.stream('/v1/services/db/backups/newest/content');
    expect(await content.text()).toBe('BACKUP first');
  });

  it('is brought out with its size, and taken in again; what is no backup is refused', async () => {
    const { take, upload, developer, node } = await withDatabase();
    await take();
    const response = await developer.stream('/v1/services/db/backups/backup-1/content');
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'content-type': 'application/octet-stream',
      'content-length': '12',
    });
    expect(await response.text()).toBe('BACKUP first');
    expect(await upload('BACKUP other')).toMatchObject([{ type: 'done', id: 'backup-2', proof: null }]);
    expect(await upload('PGDMP')).toMatchObject([{ type: 'failed', code: 'backup_unusable' }]);
    expect(await upload('')).toMatchObject([{ type: 'failed', code: 'bad_request' }]);
    node.backups.fails = Object.assign(new Error('no node has it'), { code: 'unavailable' });
    expect((await developer.get('/v1/services/db/backups/backup-1/content')).status).toBe(503);
  });

  it('of a service that was provided is there none', async () => {
    const { developer, take } = await withDatabase();
    await developer.send('PUT', '/v1/services/mail', { credentials: { uri: 'smtp://x' } });
    expect(await take('mail')).toMatchObject([{ type: 'refused', code: 'service_provided' }]);
  });
});

describe('who may', () => {
  it('a viewer lists, and takes, puts back, brings out and in nothing', async () => {
    const { take, viewer } = await withDatabase();
    await take();
    expect(await viewer.get('/v1/services/db/backups')).toMatchObject({ status: 200 });
    for (const path of ['backups', 'restore?confirm=db', 'backups/content']) {
      expect(await viewer.post(`/v1/services/db/${path}`, { backup: 'newest' }), path).toMatchObject({ status: 403 });
    }
    expect(await viewer.get('/v1/services/db/backups/newest/content')).toMatchObject({ status: 403 });
  });

  it('with teams, no other developer reads what is in it, or puts it into a service of theirs', async () => {
    const { take, admin, developer, withToken } = await withDatabase();
    await take();
    const { token } = (await admin.post('/v1/users', { name: 'eve', role: 'developer' })).body;
    expect(await admin.post('/v1/teams', { teams: 'owned' })).toMatchObject({ status: 200 });
    const eve = withToken(token);
    expect(await eve.post('/v1/services', { kind: 'postgres', name: 'own' })).toMatchObject({ status: 201 });
    expect((await eve.get('/v1/services/db/backups/newest/content')).status).toBe(403);
    const stolen = await eve.post('/v1/services/own/restore?confirm=own', { backup: 'backup-1' });
    expect(stolen).toMatchObject({ status: 404, body: { error: { code: 'backup_unknown' } } });
    await developer.send('DELETE', '/v1/services/db?confirm=db');
    expect((await eve.get('/v1/backups')).body).toEqual([]);
    expect((await admin.get('/v1/backups')).body).toHaveLength(1);
  });
});

describe('an earlier moment', () => {
  it('is made a backup of, where the log of changes is kept, and refused where there is none', async () => {
    const { developer, viewer, id, api, restore, node } = await withDatabase();
    const at = async (atMs: number, as: 'developer' | 'viewer' = 'developer') => {
      const response = await api.request('/v1/services/db/moments', {
        method: 'POST',
        headers: { authorization: `Bearer ${tokenOf(as)}`, 'content-type': 'application/json' },
        body: JSON.stringify({ atMs }),
      });
      return response.ok ? (await eventsOf(response)).at(-1)! : { status: response.status };
    };
    const momentMs = Date.UTC(2026, 0, 2);
    expect((await viewer.get('/v1/services/db/moments')).body).toEqual({ name: 'db', windows: [] });
    expect(await at(momentMs)).toMatchObject({ type: 'failed', code: 'outside_window' });
    expect(await developer.send('PATCH', '/v1/services/db', { wal: true })).toMatchObject({ body: { restarts: true } });
    const shown = (await viewer.get('/v1/services/db')).body;
    const moments = { fromMs: Date.UTC(2026, 0, 1), toMs: expect.any(Number), rows: 1, pieceAgeMs: null };
    expect(shown).toMatchObject({ wal: true, log: moments });
    // Its node alone knows that nothing was written since the last piece.
    const laterMs = Date.now() + 60_000;
    const log = { coveredMs: laterMs, pieceMs: Date.now() - 5_000 };
    node.onServiceStatus = async () => ({ bindings: [], log });
    expect((await viewer.get('/v1/services/db')).body.log).toMatchObject({ toMs: laterMs, rows: 1 });
    expect((await viewer.get('/v1/services/db')).body.log.pieceAgeMs).toBeGreaterThanOrEqual(5_000);
    expect((await viewer.get('/v1/services/db/moments')).body.windows).toHaveLength(1);
    expect(await at(momentMs, 'viewer')).toEqual({ status: 403 });
    const made = await at(momentMs);
    expect(made).toMatchObject({ type: 'done', service: id, proof: { state: 'proven' } });
    await restore((made as unknown as { id: string }).id);
    expect(node.backups.data.get(id)).toBe(new Date(momentMs).toISOString());
  });

  it('is not kept of a kind that has no log', async () => {
    const { developer } = await withDatabase();
    expect(await developer.post('/v1/services', { kind: 'redis', name: 'cache', wal: true })).toMatchObject({
      status: 400,
      body: { error: { message: expect.stringContaining('has no log of changes') } },
    });
  });
});
