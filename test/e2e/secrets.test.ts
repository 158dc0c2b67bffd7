// Secrets of a cluster on a machine with other users: not in the arguments of any process, nor in the environment of
// what runs for the node; and the data directory is its owner's alone, whatever it was. And apps of several teams, as
// users see them.

import { chmod, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Invite } from '../../node/admission/invite.ts';
import type { NodeFile } from '../../node/daemon/data-dir.ts';
import { LocalCluster, type LocalNode, type StartOptions, waitFor } from '../../scripts/local-cluster.ts';
import { ROOT } from '../cli/peer.ts';

const APP = join(ROOT, 'test', 'apps', 'hello-static');
let cluster: LocalCluster;
const node = (at: number): LocalNode => cluster.nodes[at]!;

beforeAll(async () => {
  cluster = await LocalCluster.start(1);
}, 120_000);

afterAll(() => cluster?.stop());

/** Arguments and environment of every process of a node, of its instances too, as whoever looks at /proc sees them. */
async function exposed(of: LocalNode): Promise<string> {
  const parts = (await cluster.processesOf(of)).flatMap((pid) =>
    ['cmdline', 'environ'].map((file) => readFile(`/proc/${pid}/${file}`, 'latin1').catch(() => '')),
  );
  return (await Promise.all(parts)).join('\n');
}

describe('an invite', () => {
  it.each<[string, (invite: string) => Partial<StartOptions>]>([
    ['stdin', (join) => ({ join })],
    ['the arguments, with a warning', (invite) => ({ args: ['--join', invite], env: { PEER_INVITE: invite } })],
  ])(
    'is taken from %s, and no process of the node shows it',
    async (what, given) => {
      const invite = await cluster.invite(1);
      const name = `by-${what.replaceAll(/[^a-z]+/g, '-')}`;
      const ran = await cluster.tryStart({ name, ...given(invite) });
      expect(ran.code).toBe(0);
      expect(ran.stderr.includes('everyone on this machine can read arguments')).toBe(what.includes('warning'));
      const dataDir = join(cluster.folder, name);
      const file = JSON.parse(await readFile(join(dataDir, 'node.json'), 'utf8')) as NodeFile;
      const joined: LocalNode = { ...file, dataDir, namespace: undefined };
      expect((await cluster.processesOf(joined)).length).toBeGreaterThan(1);
      const shown = await exposed(joined);
      expect(shown).toContain(dataDir);
      // The key of the network within it is what outlives its expiry.
      const { psk, secret } = JSON.parse(Buffer.from(invite.split('.')[1]!, 'base64url').toString()) as Invite;
      for (const hidden of [invite, psk, secret, node(0).token]) expect(shown).not.toContain(hidden);
      expect(await readFile(join(dataDir, 'options.json'), 'utf8')).not.toContain(invite);
      expect((await cluster.peer(joined, ['leave', '--data-dir', dataDir])).code).toBe(0);
    },
    60_000,
  );

  it('that is not there is said in one line', async () => {
    const start = ['--data-dir', join(cluster.folder, 'never'), '--join'];
    expect(await cluster.peerStart([...start, '-'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--join: nothing came on stdin: it takes an invite that peer invite printed'),
    });
    expect(await cluster.peerStart([...start, '@/nowhere'])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('cannot read the invite: ENOENT'),
    });
  });

  it('is printed with the way to use it', async () => {
    const ran = await cluster.peer(node(0), ['invite']);
    expect(ran.stderr).toContain('peer start --join -');
  });
});

describe('a data directory that was left open', () => {
  it('is closed to others at the next start, which says so', async () => {
    const one = node(0);
    await cluster.killNode(one);
    await chmod(one.dataDir, 0o755);
    for (const file of await readdir(one.dataDir)) {
      if (file.endsWith('.json') || file.endsWith('.key')) await chmod(join(one.dataDir, file), 0o644);
    }
    await cluster.restartNode(one);
    for (const file of ['', 'cluster.json', 'identity.key', 'node.json']) {
      expect((await stat(join(one.dataDir, file))).mode & 0o077).toBe(0);
    }
    const log = await readFile(join(one.dataDir, 'daemon.log'), 'utf8');
    expect(log).toMatch(/warn .*data_dir\.made_private.*cluster\.json/);
  });
});

describe('apps of two teams', () => {
  it('take no traffic and no secrets of each other', async () => {
    const one = node(0);
    const tokens: Record<string, string> = {};
    for (const name of ['ada', 'eve']) {
      const added = await cluster.json<{ token: string }>(one, ['users', 'add', name, '--role', 'developer']);
      tokens[name] = added.token;
    }
    const as = (name: string) => ({ ...one, token: tokens[name]! });
    await cluster.json(as('ada'), ['push', APP, '--name', 'victim', '--env', 'KEY=hunter2', '--memory', '64M']);
    // In a cluster of one team everyone reads the environment, and still nobody takes another app's host in passing.
    expect((await cluster.peer(as('eve'), ['env', 'victim', '--show'])).stdout).toContain('hunter2');
    for (const route of ['victim.localhost/login', 'localhost', '*.localhost']) {
      const ran = await cluster.peer(as('eve'), ['push', APP, '--name', 'thief', '--memory', '64M', '--route', route]);
      expect(ran.code).toBe(1);
      expect(ran.stderr).toMatch(/belongs to victim|only an admin gives/);
    }
    await cluster.json(as('eve'), ['push', APP, '--name', 'thief', '--memory', '64M']);
    expect((await cluster.peer(as('eve'), ['map', 'thief', 'VICTIM.localhost/login'])).stderr).toContain(
      'Host victim.localhost belongs to victim',
    );

    await cluster.json(one, ['users', 'isolate', 'on']);
    for (const args of [
      ['env', 'victim', '--show'],
      ['logs', 'victim'],
      ['delete', 'victim'],
      ['run', 'victim', '--', 'env'],
    ]) {
      const ran = await cluster.peer(as('eve'), args);
      expect(ran).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('victim belongs to ada, and eve is not of'),
      });
      expect(ran.stdout).not.toContain('hunter2');
    }
    expect((await cluster.peer(as('eve'), ['app', 'victim'])).code).toBe(0);
    await cluster.json(as('ada'), ['apps', 'share', 'victim', 'eve']);
    expect((await cluster.peer(as('eve'), ['env', 'victim', '--show'])).stdout).toContain('hunter2');
    await cluster.json(as('ada'), ['routes', 'share', 'victim.localhost', 'thief']);
    await cluster.json(as('eve'), ['map', 'thief', 'victim.localhost/login']);
    await waitFor('the shared path to be served', 15_000, async () => {
      return (await cluster.get(one, 'victim.localhost', '/login')).status !== 503;
    });
    expect(await exposed(one)).not.toContain(tokens.ada);
  }, 180_000);
});
