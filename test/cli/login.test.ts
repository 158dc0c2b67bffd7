import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MemoryNode, tokenOf } from '../api/memory-node.ts';
import { runPeer, TestCli } from './peer.ts';

let plain: TestCli;
let secure: TestCli;
let fingerprint: string;
beforeAll(async () => {
  const dir = mkdtempSync(join(tmpdir(), 'peer-tls-'));
  const [key, cert] = [join(dir, 'key'), join(dir, 'cert')];
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=node'];
  execFileSync('openssl', [...args, '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const shown = execFileSync('openssl', ['x509', '-in', cert, '-noout', '-fingerprint', '-sha256'], {
    encoding: 'utf8',
  });
  fingerprint = shown.trim().split('=')[1]!;
  const tls = { keyPem: readFileSync(key, 'utf8'), certPem: readFileSync(cert, 'utf8') };
  rmSync(dir, { recursive: true });
  plain = await TestCli.start(new MemoryNode());
  secure = await TestCli.start(new MemoryNode(), tls);
});
afterAll(async () => {
  await plain.stop();
  await secure.stop();
});

/** By every command, unless PEER_TIMEOUT says otherwise. */
const ANSWER_WAITED_FOR_MS = 30_000;
const configOf = (cli: TestCli) => join(cli.home, 'config', 'peer', 'config.json');

describe('login', () => {
  it('keeps the URL and the token where only their owner can read them', async () => {
    const ran = await runPeer(['login', plain.url, '--token', tokenOf('viewer'), '--json'], plain.env);
    expect(JSON.parse(ran.stdout)).toMatchObject({ api: plain.url, user: { name: 'the-viewer' } });
    expect(JSON.parse(readFileSync(configOf(plain), 'utf8'))).toEqual({ api: plain.url, token: tokenOf('viewer') });
    expect(statSync(configOf(plain)).mode & 0o777).toBe(0o600);
    expect((await runPeer(['status'], plain.env)).stdout).toContain('the-viewer, viewer');
  });

  it('takes the token from stdin', async () => {
    const ran = await runPeer(['login', plain.url], plain.env, `${tokenOf('developer')}\n`);
    expect(ran).toMatchObject({ status: 0, stdout: `logged in at ${plain.url} as the-developer, developer\n` });
  });

  it('keeps nothing when the token is wrong', async () => {
    const before = readFileSync(configOf(plain), 'utf8');
    const ran = await runPeer(['login', plain.url, '--token', `peer_${'0'.repeat(64)}`], plain.env);
    expect(ran).toMatchObject({ status: 1, stderr: expect.stringContaining('the token is not valid') });
    expect(readFileSync(configOf(plain), 'utf8')).toBe(before);
  });

  it('lets options win over the environment, and the environment over what was kept', async () => {
    await runPeer(['login', plain.url, '--token', tokenOf('viewer')], plain.env);
    const env = { ...plain.env, PEER_TOKEN: tokenOf('developer') };
    expect((await runPeer(['status'], env)).stdout).toContain('the-developer');
    expect((await runPeer(['status', '--token', tokenOf('admin')], env)).stdout).toContain('the-admin');
  });
});

describe('a certificate of the node itself', () => {
  it('is refused until its fingerprint is trusted', async () => {
    const args = ['--api', secure.url, '--token', tokenOf('admin')];
    expect(await runPeer(['status', ...args], secure.env)).toMatchObject({
      status: 1,
      stderr: `peer: the certificate of ${secure.url} is not known here: run peer login ${secure.url}\n`,
    });
    const unsure = await runPeer(['login', secure.url, '--token', tokenOf('admin')], secure.env);
    expect(unsure.status).toBe(1);
    expect(unsure.stderr).toContain(`--fingerprint ${fingerprint}`);
  });

  it('is pinned by its fingerprint, and no other is taken for it', async () => {
    const wrong = fingerprint.replace(/^../, fingerprint.startsWith('00') ? '11' : '00');
    const login = ['login', secure.url, '--token', tokenOf('admin')];
    expect(await runPeer([...login, '--fingerprint', wrong], secure.env)).toMatchObject({ status: 1, stdout: '' });
    expect(await runPeer([...login, '--fingerprint', 'AB:CD'], secure.env)).toMatchObject({ status: 2, stdout: '' });
    expect(await runPeer([...login, '--fingerprint', fingerprint], secure.env)).toMatchObject({ status: 0 });
    expect((await runPeer(['status'], secure.env)).stdout).toContain('the-admin');

    const { writeFileSync } = await import('node:fs');
    const config = JSON.parse(readFileSync(configOf(secure), 'utf8'));
    writeFileSync(configOf(secure), JSON.stringify({ ...config, fingerprint: wrong }));
    const askedAtMs = performance.now();
    expect(await runPeer(['status'], secure.env)).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('shows another certificate than the one you trusted'),
    });
    // Not when the time for an answer is over, which nobody can give any more.
    expect(performance.now() - askedAtMs).toBeLessThan(ANSWER_WAITED_FOR_MS / 2);
  });
});
