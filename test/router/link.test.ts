import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dialLinkAsync, linkCredentials, openTunnel } from '../../node/router/link-dial.ts';
import {
  applyTable,
  get,
  localInstance,
  makeIdentity,
  remoteUpstream,
  route,
  startApp,
  startTestRouter,
  type TestApp,
  type TestIdentity,
  type TestRouter,
} from './cluster.ts';

let here: TestRouter;
let there: TestRouter;
let app: TestApp;
const stranger = makeIdentity();

beforeAll(async () => {
  [here, there, app] = await Promise.all([
    startTestRouter(),
    startTestRouter(),
    startApp((_req, res) => res.end('served')),
  ]);
});
afterAll(() => Promise.all([here.handle.close(), there.handle.close(), app.close()]));

const table = (admitted: TestIdentity[]) => ({
  routes: [],
  local: [localInstance('there', app.port)],
  admitted: admitted.map(({ nodeId }) => nodeId),
});

const dial = (who: TestIdentity, expectedNode = there.nodeId) =>
  dialLinkAsync({ link: there.handle.link, expectedNode, credentials: linkCredentials(who.tls) });

/** One request as a node would send it. */
async function askAs(who: TestIdentity, path: string, headers: http.OutgoingHttpHeaders = {}) {
  const connection = await dial(who);
  const request = http.get({ createConnection: () => connection, path, headers: { host: 'h', ...headers } });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  response.resume();
  return { status: response.statusCode, linkError: response.headers['x-peer-link-error'], connection };
}

describe('the link', () => {
  it('serves instances to admitted nodes', async () => {
    await applyTable(there, table([here]));
    const { status, connection } = await askAs(here, '/', { 'x-peer-instance': 'there' });
    expect(status).toBe(200);
    connection.destroy();
    expect(await askAs(here, '/ping')).toMatchObject({ status: 204 });
    expect(await askAs(here, '/', { 'x-peer-instance': 'other' })).toMatchObject({
      status: 404,
      linkError: 'unknown_instance',
    });
  });

  it.each(['/', '/ping', '/join'])('refuses a stranger who asks for %s, and closes the connection', async (path) => {
    await applyTable(there, table([here]));
    const { status, linkError, connection } = await askAs(stranger, path, { 'x-peer-instance': 'there' });
    expect(status).toBe(403);
    expect(linkError).toBe('not_admitted');
    if (!connection.destroyed) await once(connection, 'close');
  });

  it('opens no tunnel for a stranger', async () => {
    await applyTable(there, table([here]));
    const target = { link: there.handle.link, expectedNode: there.nodeId, credentials: linkCredentials(stranger.tls) };
    await expect(openTunnel({ ...target, to: 'there' })).rejects.toThrow(/not_admitted/);
  });

  it('has nothing to say to someone without a certificate, or with one that is no node’s', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const [host, port] = there.handle.link.split(':');
    for (const options of [{}, { key: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString() }]) {
      const socket = tls.connect({ host: host!, port: Number(port), rejectUnauthorized: false, ...options });
      socket.on('error', () => {});
      socket.write('GET /ping HTTP/1.1\r\nHost: h\r\n\r\n');
      let answer = '';
      socket.on('data', (chunk) => {
        answer += chunk;
      });
      await once(socket, 'close');
      expect(answer).toBe('');
    }
  });

  it('speaks nothing older than TLS 1.3', async () => {
    const [host, port] = there.handle.link.split(':');
    const socket = tls.connect({
      host: host!,
      port: Number(port),
      rejectUnauthorized: false,
      maxVersion: 'TLSv1.2',
      key: here.tls.keyPem,
      cert: here.tls.certPem,
    });
    await expect(once(socket, 'secureConnect')).rejects.toThrow();
  });

  it('is not used when another node answers there', async () => {
    await applyTable(there, table([here]));
    await expect(dial(here, stranger.nodeId)).rejects.toMatchObject({ code: 'wrong_identity' });
    const upstreams = [{ ...remoteUpstream(there, 'there'), node: stranger.nodeId }];
    await applyTable(here, { routes: [route('shop.test', upstreams)], local: [], admitted: [here.nodeId] });
    expect(await get(here, { host: 'shop.test' })).toMatchObject({
      status: 503,
      text: expect.stringContaining('cannot reach (another machine answers there)'),
    });
  });

  it('cuts off a node in the moment it is removed, in both directions', async () => {
    await applyTable(there, table([here]));
    const connection = await dial(here);
    connection.write('GET /ping HTTP/1.1\r\nHost: h\r\n\r\n');
    await once(connection, 'data');
    await Promise.all([once(connection, 'end'), applyTable(there, table([]))]);
    connection.destroy();

    let waiting = 0;
    const stuck = await startApp(() => {
      waiting++;
    });
    await applyTable(there, { ...table([here]), local: [localInstance('stuck', stuck.port)] });
    const routes = [route('shop.test', [remoteUpstream(there, 'stuck')])];
    await applyTable(here, { routes, local: [], admitted: [here.nodeId, there.nodeId] });
    const answered = get(here, { host: 'shop.test' });
    await expect.poll(() => waiting).toBe(1);
    await applyTable(here, { routes: [route('shop.test', [])], local: [], admitted: [here.nodeId] });
    expect((await answered).status).toBe(503);
    await stuck.close();
  });

  it('refuses a removed node that comes back', async () => {
    await applyTable(there, table([]));
    expect(await askAs(here, '/', { 'x-peer-instance': 'there' })).toMatchObject({
      status: 403,
      linkError: 'not_admitted',
    });
    await applyTable(there, table([here]));
    expect(await askAs(here, '/', { 'x-peer-instance': 'there' })).toMatchObject({ status: 200 });
  });
});
