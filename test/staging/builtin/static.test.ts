// The static buildpack: what its server answers, and what it never shows.

import { symlinkSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync, gzipSync } from 'node:zlib';
import { request } from 'undici';
import { describe, expect, it } from 'vitest';
import type { Files } from '../harness.ts';
import type { RunningApp } from '../running.ts';
import { createPacks } from './packs.ts';

const packs = createPacks();

describe('static', () => {
  let app: RunningApp;
  const serve = async (files: Files | string) => packs.start(await packs.stage(files));

  it('serves the sample app: index, types, folders, names in UTF-8, its own 404 page', async () => {
    app = await serve('hello-static');
    const index = await fetch(app.url);
    expect([index.status, index.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    expect(await index.text()).toContain('hello from static files');
    expect((await fetch(`${app.url}/style.css`)).headers.get('content-type')).toBe('text/css; charset=utf-8');
    expect(await packs.get(`${app.url}/caf%C3%A9.html`)).toContain('un café');
    const moved = await fetch(`${app.url}/docs?a=b`, { redirect: 'manual' });
    expect([moved.status, moved.headers.get('location')]).toEqual([301, '/docs/?a=b']);
    expect(await packs.get(`${app.url}/docs/`)).toContain('the index of a folder');
    const missing = await fetch(`${app.url}/nowhere`);
    expect([missing.status, await missing.text()]).toEqual([404, expect.stringContaining('there is no such page')]);
  });

  it('answers again only when the content has changed', async () => {
    app = await serve('hello-static');
    const first = await fetch(app.url);
    await first.text();
    const etag = first.headers.get('etag')!;
    const again = await fetch(app.url, { headers: { 'if-none-match': `"other", W/${etag}` } });
    expect([again.status, await again.text(), again.headers.get('etag')]).toEqual([304, '', etag]);
    expect((await fetch(app.url, { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
  });

  it('answers HEAD without a body, parts of a file, and nothing but reading', async () => {
    app = await serve({ 'index.html': '0123456789', empty: '' });
    const head = await fetch(app.url, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length'), await head.text()]).toEqual([200, '10', '']);
    const range = async (value: string) => {
      const part = await fetch(`${app.url}/index.html`, { headers: { range: value } });
      return [part.status, await part.text(), part.headers.get('content-range')];
    };
    expect(await range('bytes=2-4')).toEqual([206, '234', 'bytes 2-4/10']);
    expect(await range('bytes=7-')).toEqual([206, '789', 'bytes 7-9/10']);
    expect(await range('bytes=-3')).toEqual([206, '789', 'bytes 7-9/10']);
    expect(await range('bytes=0-99')).toEqual([206, '0123456789', 'bytes 0-9/10']);
    expect(await range('bytes=10-')).toEqual([416, expect.any(String), 'bytes */10']);
    expect(await range('lines=1-2')).toEqual([200, '0123456789', null]);
    expect(await packs.get(`${app.url}/empty`)).toBe('');
    expect((await fetch(app.url, { method: 'POST', body: 'x' })).status).toBe(405);
  });

  it('never shows what lies outside, what is hidden, or where links lead out', async () => {
    const staged = await packs.stage({
      'index.html': 'x',
      '.env': 'SECRET=1',
      'a/.git/config': 'SECRET',
      Procfile: 'web: node .peer/static/server.mjs',
      '.well-known/security.txt': 'mail us',
    });
    writeFileSync(join(staged.content.path, 'outside.txt'), 'SECRET');
    symlinkSync('../outside.txt', join(staged.content.path, 'app/link.txt'));
    app = await packs.start(staged);
    const paths = [
      '/../outside.txt',
      '/%2e%2e/outside.txt',
      '/..%2foutside.txt',
      '/a/../../outside.txt',
      '//etc/passwd',
      '/link.txt',
      '/.env',
      '/a/.git/config',
      '/.peer/static/server.mjs',
      '/.profile.d/static.sh',
      '/Procfile',
      '/%00',
      '/%',
      '/a%5c..%5c..%5coutside.txt',
    ];
    for (const path of paths) {
      const answer = await raw(app.port, path);
      expect(answer, path).toMatch(/^HTTP\/1\.1 404 /);
      expect(answer, path).not.toContain('SECRET');
    }
    expect(await packs.get(`${app.url}/.well-known/security.txt`)).toBe('mail us');
  });

  it('sends the compressed copy that the client takes most gladly, and the file itself to others', async () => {
    const text = 'compressible '.repeat(1_000);
    app = await serve({
      'index.html': text,
      'short.css': 'a {}',
      'own.js': text,
      'own.js.gz': gzipSync(text),
      'a.png': text,
    });
    const ask = async (path: string, encodings: string, headers: Record<string, string> = {}) => {
      const {
        statusCode,
        headers: got,
        body,
      } = await request(app.url + path, {
        headers: { 'accept-encoding': encodings, ...headers },
      });
      return {
        status: statusCode,
        encoding: got['content-encoding'],
        got,
        body: Buffer.from(await body.arrayBuffer()),
      };
    };
    const brotli = await ask('/', 'gzip, deflate, br, zstd');
    expect(brotli).toMatchObject({ status: 200, encoding: 'br', got: { 'content-type': 'text/html; charset=utf-8' } });
    expect(brotliDecompressSync(brotli.body).toString()).toBe(text);
    expect(brotli.body.length).toBeLessThan(200);
    const gzip = await ask('/index.html', 'gzip');
    expect([gzip.encoding, gunzipSync(gzip.body).toString()]).toEqual(['gzip', text]);
    expect((await ask('/', 'br;q=0.5, gzip')).encoding).toBe('gzip');
    expect((await ask('/', '*')).encoding).toBe('br');
    for (const encodings of ['', 'identity', 'zstd', 'br;q=0']) {
      expect(await ask('/', encodings), encodings).toMatchObject({ encoding: undefined, body: Buffer.from(text) });
    }
    expect(gunzipSync((await ask('/own.js', 'gzip')).body).toString()).toBe(text);
    expect((await ask('/short.css', 'br, gzip')).encoding).toBeUndefined();
    expect((await ask('/a.png', 'br, gzip')).encoding).toBeUndefined();
    // Each form has a tag of its own, and parts are of the file itself.
    expect(new Set([brotli, gzip, await ask('/', 'identity')].map(({ got }) => got.etag)).size).toBe(3);
    expect(brotli.got.vary).toBe('accept-encoding');
    expect((await ask('/', 'br', { 'if-none-match': String(brotli.got.etag) })).status).toBe(304);
    expect(await ask('/', 'br', { range: 'bytes=0-11' })).toMatchObject({
      status: 206,
      body: Buffer.from('compressible'),
    });
  });

  it('lets browsers keep for good what has a hash in its name or lies in the folder that says so', async () => {
    app = await serve({
      Staticfile: 'immutable: assets\n',
      ...{ 'index.html': 'x', 'app.3f2a91bc.js': '', 'report-20240115.csv': '', 'assets/index-BkX9.js': '' },
    });
    const cached = async (path: string) => (await fetch(app.url + path)).headers.get('cache-control');
    const kept = 'public, max-age=31536000, immutable';
    expect(await cached('/app.3f2a91bc.js')).toBe(kept);
    expect(await cached('/assets/index-BkX9.js')).toBe(kept);
    const asked = 'public, max-age=0, must-revalidate';
    expect(await cached('/')).toBe(asked);
    expect(await cached('/report-20240115.csv')).toBe(asked);
    expect(await cached('/assets/gone.js')).toBe(null);
  });

  it('serves another folder and a fallback when the Staticfile says so', async () => {
    app = await serve({
      Staticfile: 'root: dist/web\nfallback: index.html\n',
      'dist/web/index.html': 'the app',
      'secret.txt': 'SECRET',
    });
    expect(await packs.get(`${app.url}/some/route`)).toBe('the app');
    expect(await packs.get(`${app.url}/secret.txt`)).toBe('the app');
  });

  it('refuses a Staticfile that names a folder that is not there', async () => {
    expect(await packs.failing({ Staticfile: 'root: missing\n' })).toMatchObject({
      code: 'compile_failed',
      message: expect.stringContaining('"missing" does not exist'),
    });
  });
});

/** The answer to a path sent exactly as it is. */
const raw = (port: number, path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`),
    );
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk));
    socket.on('close', () => resolve(answer));
    socket.on('error', reject);
  });
