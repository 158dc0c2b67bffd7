import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type ClientRequest, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type RunningApi, startApi } from '../../node/api/server.ts';
import { MemoryNode, memoryLog, tokenOf } from './memory-node.ts';

let running: RunningApi | undefined;
afterEach(async () => {
  await running?.close();
  running = undefined;
});

const start = async (node = new MemoryNode()) => {
  running = await startApi({ service: node, listen: '127.0.0.1:0', log: memoryLog() });
  return { node, url: running.url };
};
const authorization = `Bearer ${tokenOf('admin')}`;

function pushRequest(url: string, name: string): ClientRequest {
  const sent = httpRequest(`${url}/v1/apps/${name}/push`, { method: 'POST', headers: { authorization } });
  sent.on('error', () => {});
  return sent;
}

describe('the listener', () => {
  it('answers on the port it found, and says where', async () => {
    const { url } = await start();
    expect(running!.address).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(await (await fetch(`${url}/v1/health`)).json()).toEqual({ ok: true });
  });

  it('says which port is taken', async () => {
    await start();
    const second = startApi({ service: new MemoryNode(), listen: running!.address, log: memoryLog() });
    await expect(second).rejects.toMatchObject({
      code: 'api_listen',
      message: expect.stringContaining('another program'),
    });
  });

  it('serves nothing but TLS beyond loopback', async () => {
    const listening = startApi({ service: new MemoryNode(), listen: '0.0.0.0:0', log: memoryLog() });
    await expect(listening).rejects.toMatchObject({
      code: 'api_listen',
      message: expect.stringContaining('without TLS'),
    });

    const dir = mkdtempSync(join(tmpdir(), 'peer-api-'));
    try {
      const args = [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-subj',
        '/CN=node',
      ];
      execFileSync('openssl', [...args, '-keyout', join(dir, 'key'), '-out', join(dir, 'cert')], { stdio: 'ignore' });
      const tls = { keyPem: readFileSync(join(dir, 'key'), 'utf8'), certPem: readFileSync(join(dir, 'cert'), 'utf8') };
      running = await startApi({ service: new MemoryNode(), listen: '0.0.0.0:0', tls, log: memoryLog() });
      expect(running.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
      await expect(fetch(running.url.replace('https', 'http'))).rejects.toThrow();
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('closes while clients follow', async () => {
    const { node, url } = await start();
    const response = await fetch(`${url}/v1/events?follow=true`, { headers: { authorization } });
    expect(response.status).toBe(200);
    await running!.close();
    running = undefined;
    await response.text().catch(() => {});
    await vi.waitFor(() => expect(node.listenersCount()).toBe(0));
  });
});

describe('a request over the network', () => {
  it('may have no body, or one of a length told in advance or not', async () => {
    const { url, node } = await start();
    const users = `${url}/v1/users`;
    const headers = { authorization, 'content-type': 'application/json' };
    const body = JSON.stringify({ name: 'ada', role: 'viewer' });
    expect((await fetch(users, { method: 'POST', headers, body })).status).toBe(200);
    expect((await fetch(`${users}/ada`, { method: 'DELETE', headers: { authorization } })).status).toBe(200);
    const streamed = { body: new Blob([body]).stream(), duplex: 'half' } as RequestInit;
    expect((await fetch(users, { method: 'POST', headers, ...streamed })).status).toBe(200);
    expect(node.view().users.has('ada')).toBe(true);
  });

  it('is refused when its body is too large, told in advance or not', async () => {
    const { url } = await start();
    const headers = { authorization, 'content-type': 'application/json' };
    const large = JSON.stringify({ name: 'x'.repeat(1024 ** 2) });
    expect((await fetch(`${url}/v1/users`, { method: 'POST', headers, body: large })).status).toBe(413);
    const streamed = { body: new Blob([large]).stream(), duplex: 'half' } as RequestInit;
    expect((await fetch(`${url}/v1/users`, { method: 'POST', headers, ...streamed })).status).toBe(413);
  });
});

describe('a push over the network', () => {
  it('writes nothing when the upload is cut off', async () => {
    const { node, url } = await start();
    const failed = vi.fn();
    const stage = node.stage.bind(node);
    node.stage = (request) =>
      stage(request).catch((error: unknown) => {
        failed(error);
        throw error;
      });
    const sent = pushRequest(url, 'hello');
    const answered = new Promise<void>((resolve) => sent.once('response', () => resolve()));
    sent.write('half a tarball');
    await answered;
    sent.destroy();
    await vi.waitFor(() => expect(failed).toHaveBeenCalledWith(expect.objectContaining({ code: 'upload_cut_off' })));
    expect(node.writes).toEqual([]);
    // The name is free again.
    const again = await fetch(`${url}/v1/apps/hello/push`, {
      method: 'POST',
      headers: { authorization },
      body: 'whole',
    });
    expect(await again.text()).toContain('event: done');
  });

  it('streams steps while it is still being uploaded', async () => {
    const { url } = await start();
    const sent = pushRequest(url, 'hello');
    let received = '';
    sent.on('response', (response) => response.setEncoding('utf8').on('data', (chunk) => (received += chunk)));
    sent.write('part one');
    await vi.waitFor(() => expect(received).toContain('uploading'));
    expect(received).not.toContain('staging');
    sent.end('part two');
    await vi.waitFor(() => expect(received).toContain('event: done'));
  });

  it('is refused at once when it may not be, even while it uploads much', async () => {
    const { url } = await start();
    const body = new Uint8Array(8 * 1024 ** 2);
    const refused = await fetch(`${url}/v1/apps/hello/push`, { method: 'POST', body });
    expect(refused.status).toBe(401);
    expect(await refused.json()).toMatchObject({ error: { code: 'unauthorized' } });
  });

  it('survives garbage instead of HTTP', async () => {
    const { url } = await start();
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => {}).resume();
    socket.end('\u0000\u0001 not http at all\r\n\r\n');
    await new Promise((resolve) => socket.once('close', resolve));
    expect((await fetch(`${url}/v1/health`)).status).toBe(200);
  });

  it.each<[what: string, token: string, status: number]>([
    ['from a stranger', 'Bearer wrong', 401],
    ['that is too large', authorization, 413],
  ])('answers a request %s before it closes on what still comes in', async (_what, token, status) => {
    const { url } = await start();
    const bodyBytes = 4 * 1024 ** 2;
    const socket = connect({ port: Number(new URL(url).port), host: '127.0.0.1', allowHalfOpen: true });
    let answer = '';
    const closed = new Promise<void>((resolve, reject) => {
      socket.on('data', (bytes) => {
        answer += bytes;
      });
      socket.once('end', () => socket.end()).once('close', resolve);
      socket.once('error', reject);
    });
    const head = ['POST /v1/apps HTTP/1.1', 'host: x', 'connection: close', `authorization: ${token}`];
    const body = ['content-type: application/json', `content-length: ${bodyBytes}`, '', ''];
    await new Promise((resolve) => socket.write([...head, ...body].join('\r\n'), resolve));
    // By now the head has been read.
    expect((await fetch(`${url}/v1/health`)).status).toBe(200);
    socket.write(Buffer.alloc(bodyBytes, ' '));
    await closed;
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  });
});
