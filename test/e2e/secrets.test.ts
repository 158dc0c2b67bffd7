// Secrets of a cluster on a machine with other users: not in the arguments of any process, nor in the environment of
// what runs for the node; and the data directory is its owner's alone, whatever it was. And apps of several teams, as
// users see them.

import { createHash } from 'node:crypto';
import { chmod, cp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DesiredDocument } from '../../crdt/document.ts';
import { sealedParts } from '../../crdt/sealed.ts';
import { DesiredStore } from '../../crdt/store.ts';
import type { Invite } from '../../node/admission/invite.ts';
import type { NodeFile } from '../../node/daemon/data-dir.ts';
import { LocalCluster, type LocalNode, type StartOptions, waitFor } from '../../scripts/local-cluster.ts';
import { ROOT } from '../cli/peer.ts';
import { historyOf } from '../secrets/cluster.ts';

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
    // Instances ask the name servers in it.
    expect((await stat(join(one.dataDir, 'resolv.conf'))).mode & 0o777).toBe(0o644);
    const log = await readFile(join(one.dataDir, 'daemon.log'), 'utf8');
    expect(log).toMatch(/warn .*data_dir\.made_private.*cluster\.json/);
  });
});

/** Everything below a folder, but for the key of the node. */
async function filesIn(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && entry.name !== 'identity.key');
  return files.map((entry) => join(entry.parentPath, entry.name));
}

/** The desired state of a node, as whoever has its disk reads it. */
async function desiredStateOf(of: LocalNode): Promise<DesiredDocument> {
  const copy = join(cluster.folder, 'copy of a desired state');
  await cp(join(of.dataDir, 'desired'), copy, { recursive: true });
  const store = await DesiredStore.open(copy);
  const document = DesiredDocument.load(store.snapshot(), { actor: '0'.repeat(32) });
  await store.close();
  await rm(copy, { recursive: true });
  return document;
}

describe('a value of the environment', () => {
  const SECRET = `secret-${'0123456789abcdef'.repeat(3)}-of-the-test`;
  const HASH = createHash('sha256').update(SECRET).digest('hex');
  /** Whether the app finds it, without its being printed into the logs. */
  const found = async (on: LocalNode, ...args: string[]): Promise<boolean> => {
    const ran = await cluster.peer(on, [...args, '--', 'sh', '-c', 'printf %s "$KEY" | sha256sum']);
    return ran.stdout.includes(HASH);
  };

  it('reaches the app and its tasks, and is in no file of the data directory in clear, ever', async () => {
    let one = node(0);
    const file = join(cluster.folder, 'secret.txt');
    await writeFile(file, SECRET);
    await cluster.json(one, ['push', APP, '--name', 'keeper', '--env', `KEY=@${file}`, '--memory', '64M']);
    expect((await cluster.peer(one, ['env', 'keeper'])).stdout).not.toContain(SECRET);
    expect((await cluster.peer(one, ['env', 'keeper', '--show'])).stdout).toContain(SECRET);
    expect(await found(one, 'exec', 'keeper/0')).toBe(true);
    await cluster.killNode(one);
    const document = await desiredStateOf(one);
    const history = historyOf(document);
    // What was not to be hidden is found there.
    expect(history).toContain('keeper');
    expect(history).not.toContain(SECRET);
    expect(document.secrets().map(({ text }) => text)).toEqual([expect.stringMatching(/^sealed:1:/)]);
    one = await cluster.restartNode(one);
    // Its instance died with the node, and is started anew.
    await waitFor('the value in the instance', 60_000, () => found(one, 'exec', 'keeper/0'));
    expect(await found(one, 'run', 'keeper')).toBe(true);
    await cluster.json(one, ['env', 'set', 'keeper', 'OTHER=x']);
    await cluster.json(one, ['env', 'unset', 'keeper', 'KEY']);
    expect(await found(one, 'run', 'keeper')).toBe(false);
    const files = await filesIn(one.dataDir);
    expect(files.some((path) => path.includes('desired'))).toBe(true);
    for (const path of files) {
      expect((await readFile(path).catch(() => Buffer.alloc(0))).includes(SECRET), path).toBe(false);
    }
    expect(await exposed(one)).not.toContain(SECRET);
  }, 180_000);

  it('opens on a node that joins, and is named when that node is removed', async () => {
    const one = node(0);
    const file = join(cluster.folder, 'secret.txt');
    await cluster.json(one, ['env', 'set', 'keeper', `KEY=@${file}`]);
    const two = await cluster.startNode({ name: 'guest', join: await cluster.invite(1) });
    await cluster.waitForAlive(2);
    expect((await cluster.peer(two, ['env', 'keeper', '--show'])).stdout).toContain(SECRET);
    const newestKey = (document: DesiredDocument) => [...document.view().keys.keys()].at(-1);
    const before = newestKey(await desiredStateOf(one));
    const ran = await cluster.peer(one, ['nodes', 'remove', 'guest']);
    expect(ran.stdout).toMatch(/guest could read secrets of these.*\n {2}apps: keeper/);
    await waitFor('the value to be sealed with the new key', 15_000, async () => {
      const document = await desiredStateOf(one);
      const sealedWith = document.secrets().map(({ text }) => sealedParts(text)?.keyId);
      const newest = newestKey(document);
      return newest !== before && sealedWith.length > 0 && sealedWith.every((id) => id === newest);
    });
    expect((await cluster.peer(one, ['env', 'keeper', '--show'])).stdout).toContain(SECRET);
    expect(await found(one, 'exec', 'keeper/0')).toBe(true);
  }, 180_000);
});

describe("a node's key under a passphrase", () => {
  it('lets the node start with it alone, and shows it nowhere', async () => {
    const passphrase = 'correct horse battery';
    const file = join(cluster.folder, 'passphrase');
    await writeFile(file, `${passphrase}\n`);
    const alone = await LocalCluster.create();
    try {
      const one = await alone.startNode({ name: 'locked', args: ['--unlock', `file:${file}`] });
      const shown = (await alone.processesOf(one)).map((pid) =>
        Promise.all(['cmdline', 'environ'].map((part) => readFile(`/proc/${pid}/${part}`, 'latin1').catch(() => ''))),
      );
      expect((await Promise.all(shown)).flat().join()).not.toContain(passphrase);
      await alone.killNode(one);
      for (const path of await filesIn(one.dataDir)) expect(await readFile(path, 'latin1')).not.toContain(passphrase);
      const start = ['--data-dir', one.dataDir];
      expect(await alone.peerStart(start)).toMatchObject({ code: 1, stderr: expect.stringContaining('is locked') });
      await writeFile(file, 'another one altogether');
      expect(await alone.peerStart([...start, '--unlock', `file:${file}`])).toMatchObject({
        code: 1,
        stderr: expect.stringContaining('does not open with this passphrase'),
      });
      expect((await alone.peerStart([...start, '--unlock', 'passphrase'])).stderr).toContain(
        'it takes prompt, file:PATH',
      );
      await writeFile(file, passphrase);
      const again = await alone.restartNode(one, ['--unlock', `file:${file}`]);
      expect(again.id).toBe(one.id);
    } finally {
      await alone.stop();
    }
  }, 120_000);
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
