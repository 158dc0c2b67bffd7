// A node that is not a member gets nowhere, one that was removed is a stranger again, and a start that cannot work
// says why in one line and breaks nothing. Real daemons; the strangers are bare libp2p hosts and TLS clients with
// whatever key a test gives them.

import { cp, readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { request as httpsRequest, type RequestOptions } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { generateKeyPair } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { multiaddr } from '@multiformats/multiaddr';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { asClusterId } from '../../crdt/ids.ts';
import { createHost, type Host } from '../../node/gossip/host.ts';
import { topicNames } from '../../node/gossip/topics.ts';
import { type Identity, loadOrCreateIdentity } from '../../node/identity/identity.ts';
import {
  LocalCluster,
  type LocalNode,
  type Ran,
  ROOT,
  run,
  splitAddress,
  waitFor,
} from '../../scripts/local-cluster.ts';
import { isRunning, processTable } from '../../scripts/processes.ts';
import {
  appOf,
  areGone,
  envOf,
  instanceProcesses,
  lastWords,
  nodesOf,
  open,
  SETTLE_DEADLINE_MS,
  waitForFilledOnce,
} from './observe.ts';

const APP = 'hello';
const HOST = `${APP}.localhost`;
/** From the end of `peer nodes remove` until everyone refuses the node. */
const REFUSED_DEADLINE_MS = 2_000;

let cluster: LocalCluster;
let secrets: { cluster: string; psk: string };

const node = (index: number): LocalNode => cluster.nodes[index]!;

async function peer(on: LocalNode, ...args: string[]): Promise<Ran> {
  const ran = await cluster.peer(on, args);
  expect(ran, `peer ${args.join(' ')} on ${on.name}`).toMatchObject({ code: 0 });
  return ran;
}

const membershipOf = async (dataDir: string) =>
  JSON.parse(await readFile(join(dataDir, 'cluster.json'), 'utf8')) as typeof secrets & { format: number };

beforeAll(async () => {
  cluster = await LocalCluster.start(3);
  secrets = await membershipOf(node(0).dataDir);
  const folder = join(cluster.folder, 'app');
  await cp(join(ROOT, 'test', 'apps', 'hello-node'), folder, { recursive: true });
  await peer(node(0), 'push', folder, '--name', APP, '--instances', '3');
  await waitForFilledOnce(cluster, cluster.nodes, APP, 3);
}, 120_000);

beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));

afterAll(() => cluster?.stop());

// ---------------------------------------------------------------- strangers

type PrivateKey = Identity['privateKey'];
type Stranger = { host: Host; received: number };

const strangers: Stranger[] = [];
afterEach(async () => {
  for (const stranger of strangers.splice(0)) await stranger.host.stop();
});

/** A libp2p host that speaks everything a node does, subscribed to all that is gossiped. */
async function stranger(options: { psk: string; key?: PrivateKey }): Promise<Stranger> {
  const topics = Object.values(topicNames(asClusterId(secrets.cluster)));
  const host = await createHost({
    privateKey: options.key ?? (await generateKeyPair('Ed25519')),
    psk: Buffer.from(options.psk, 'hex'),
    listen: { ip: '127.0.0.1', port: 0 },
    gater: { denyDialMultiaddr: () => false },
    topics,
    advertised: () => [],
  });
  await host.start();
  const made: Stranger = { host, received: 0 };
  host.services.pubsub.addEventListener('gossipsub:message', () => {
    made.received++;
  });
  for (const topic of topics) host.services.pubsub.subscribe(topic);
  strangers.push(made);
  return made;
}

const PROTOCOLS = ['rpc', 'sync', 'blob'] as const;

/** Dials, and asks for every protocol. Which of them it got. */
async function knock({ host }: Stranger, at: LocalNode): Promise<string[]> {
  const [ip, port] = splitAddress(at.listen);
  const address = multiaddr(`/ip4/${ip}/tcp/${port}/p2p/${at.id}`);
  const protocols = [...PROTOCOLS.map((name) => `/peer/${secrets.cluster}/${name}/1`), '/ipfs/ping/1.0.0'];
  const asked = protocols.map(async (protocol) => {
    const connection = await host.dial(address, { signal: AbortSignal.timeout(5_000) });
    const stream = await connection.newStream(protocol, { signal: AbortSignal.timeout(5_000) });
    stream.abort(new Error('enough'));
    return protocol;
  });
  const answers = await Promise.allSettled(asked);
  await waitFor(`the connections of a stranger to ${at.name} to be closed`, 5_000, () => {
    return host.getConnections().length === 0;
  });
  return answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
}

/** One request to a node's link with the given identity: the status, or why there was none. */
function askLink(at: LocalNode, options: { tls?: Identity['tls']; path?: string; instance?: string }): Promise<string> {
  const [host, port] = splitAddress(at.link);
  const { tls, path = '/', instance } = options;
  const asked: RequestOptions = { host, port, path, rejectUnauthorized: false, agent: false, timeout: 5_000 };
  if (tls !== undefined) Object.assign(asked, { key: tls.keyPem, cert: tls.certPem });
  if (instance !== undefined) asked.headers = { 'x-peer-instance': instance };
  return new Promise((resolve) => {
    const request = httpsRequest(asked, (response) => {
      response.resume();
      response.on('end', () => resolve(`${response.statusCode} ${response.headers['x-peer-link-error'] ?? ''}`.trim()));
      response.on('error', (error) => resolve(error.message));
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', (error) => resolve(error.message));
    request.end();
  });
}

async function expectTheClusterWorks(nodes: readonly LocalNode[]): Promise<void> {
  const names = nodes.map((one) => one.name);
  for (const one of nodes) {
    const alive = (await nodesOf(cluster, one)).filter((each) => each.status === 'alive');
    expect(alive.map((each) => each.name)).toEqual(names);
    await open(cluster, one, HOST);
  }
}

describe('a stranger', () => {
  it('with the key of the network, but not admitted, gets no connection, no stream and no gossip', async () => {
    const intruder = await stranger({ psk: secrets.psk });
    for (const one of cluster.nodes) expect(await knock(intruder, one)).toEqual([]);
    // Something to hear, if it could.
    await peer(node(0), 'map', APP, 'news.example.test');
    for (const one of cluster.nodes) expect(await knock(intruder, one)).toEqual([]);
    expect(intruder.received).toBe(0);
    const log = await readFile(join(node(0).dataDir, 'daemon.log'), 'utf8');
    expect(log).toMatch(/gossip\.rejected .*kind=inbound_not_admitted/);
    await expectTheClusterWorks(cluster.nodes);
  });

  it('with a wrong key of the network gets nowhere', async () => {
    const intruder = await stranger({ psk: '00'.repeat(32) });
    const got = await Promise.all(cluster.nodes.map((one) => knock(intruder, one)));
    expect(got.flat()).toEqual([]);
    expect(intruder.received).toBe(0);
    await expectTheClusterWorks(cluster.nodes);
  });

  it('that claims to be a member is refused, because it has not its key', async () => {
    const intruder = await stranger({ psk: secrets.psk });
    const [ip, port] = splitAddress(node(0).listen);
    const wrong = multiaddr(`/ip4/${ip}/tcp/${port}/p2p/${node(1).id}`);
    await expect(intruder.host.dial(wrong, { signal: AbortSignal.timeout(5_000) })).rejects.toThrow();
  });

  it('that sends noise to any port is cut off', async () => {
    for (const address of [node(0).listen, node(0).link]) {
      const [host, port] = splitAddress(address);
      const socket = connect(port, host);
      let ended = false;
      socket.on('error', () => {});
      socket.on('close', () => {
        ended = true;
      });
      socket.resume();
      socket.write(Buffer.alloc(64 * 1024, 'GET / HTTP/1.1\r\n\r\n'));
      await waitFor(`${address} to cut the stranger off`, 15_000, () => ended);
    }
    await expectTheClusterWorks(cluster.nodes);
  });

  it('at the link reaches no instance, whether it shows a certificate or none', async () => {
    const [instance] = (await appOf(cluster, node(0), APP)).instances;
    const owner = cluster.nodes.find((one) => one.name === instance!.node)!;
    const unknown = await loadOrCreateIdentity(join(cluster.folder, 'unknown'));
    expect(await askLink(owner, { tls: unknown.tls, instance: instance!.id })).toBe('403 not_admitted');
    expect(await askLink(owner, { tls: unknown.tls, path: '/ping' })).toBe('403 not_admitted');
    expect(await askLink(owner, { instance: instance!.id })).not.toMatch(/^\d/);
    const member = await loadOrCreateIdentity(node(0).dataDir);
    expect(await askLink(owner, { tls: member.tls, instance: instance!.id })).toBe('200');
  });
});

// ---------------------------------------------------------------- starts that cannot work

/** Expects the start to have failed with status 1 and one line that says why; no stack, nothing on stdout. */
function expectRefused(ran: Ran, why: RegExp): void {
  expect(ran).toMatchObject({ code: 1, stdout: '' });
  const lines = ran.stderr.trimEnd().split('\n');
  expect(lines.at(-1)).toMatch(/^peer: /);
  expect(lines.at(-1)).toMatch(why);
  // Before it there is at most what the command was doing.
  expect(lines.slice(0, -1).filter((line) => !/^(starting the node|joining the cluster)$/.test(line))).toEqual([]);
}

/** As --join takes it from a file. */
async function fileOf(invite: string): Promise<string> {
  const path = join(cluster.folder, 'invite');
  await writeFile(path, `${invite}\n`);
  return `@${path}`;
}

const inviteOf = (...args: string[]) =>
  cluster.json<{ invite: string; expiresAtMs: number }>(node(0), ['invite', ...args]);

describe('joining', () => {
  it('fails with one line for an invite that is no good, and leaves the data directory fit for a good one', async () => {
    const late = { name: 'late' };
    const good = (await inviteOf()).invite;
    for (const bad of ['nonsense', good.slice(0, -20), `${good.slice(0, 40)}`]) {
      expectRefused(await cluster.tryStart({ ...late, join: bad }), /the invite cannot be read: copy it whole/);
    }

    const decoded = JSON.parse(Buffer.from(good.slice(good.indexOf('.') + 1), 'base64url').toString()) as object;
    const forged = (change: object) =>
      good.slice(0, good.indexOf('.') + 1) +
      Buffer.from(JSON.stringify({ ...decoded, ...change })).toString('base64url');
    for (const change of [{ secret: 'ff'.repeat(32) }, { id: 'ff'.repeat(8) }, { cluster: 'ff'.repeat(16) }]) {
      const ran = await cluster.tryStart({ ...late, join: forged(change) });
      expectRefused(ran, /the invite is not one of this cluster: make a new one with peer invite/);
    }
    const nobody = [{ id: node(0).id, link: '127.0.0.1:1' }];
    expectRefused(
      await cluster.tryStart({ ...late, join: forged({ nodes: nobody }) }),
      /no member could be reached \(127\.0\.0\.1:1: .*check the network, or make a new invite/,
    );
    const another = [{ id: node(1).id, link: node(0).link }];
    expectRefused(await cluster.tryStart({ ...late, join: forged({ nodes: another }) }), /no member could be reached/);

    const expired = await inviteOf('--ttl', '1s');
    await waitFor('the invite to expire', 5_000, () => Date.now() > expired.expiresAtMs);
    expectRefused(await cluster.tryStart({ ...late, join: expired.invite }), /the invite has expired/);

    expectRefused(
      await cluster.tryStart({ name: 'node-1', dataDirName: 'late', join: good }),
      /Another node is named node-1; start this one with --name/,
    );

    // The same directory, an invite that every failure above left unused.
    await cluster.startNode({ ...late, join: good });
    await cluster.waitForAlive(4);
    // What admitted it is no longer to be seen in the list of processes.
    expect((await processTable()).filter((one) => one.command.includes(good))).toEqual([]);
  });

  it('a second time, with the invite given again, is just a start', async () => {
    const late = node(3);
    await peer(late, 'stop', '--data-dir', late.dataDir);
    const { invite } = await inviteOf();
    const again = await cluster.restartNode(late, ['--join', invite]);
    expect(again.id).toBe(late.id);
    await cluster.waitForAlive(4);
    // The invite was not used up by it.
    const extra = await cluster.startNode({ name: 'extra', join: invite });
    await cluster.waitForAlive(5);
    expectRefused(
      await cluster.tryStart({ name: 'one-too-many', join: invite }),
      /the invite was good for 1 node and is used up: make a new one/,
    );
    for (const one of [extra, again]) await peer(one, 'leave', '--data-dir', one.dataDir);
    cluster.nodes.splice(3);
    await cluster.waitForAlive(3);
  });
});

describe('a start', () => {
  it('on the data directory of a running daemon is refused', async () => {
    const { dataDir, pid } = node(0);
    expectRefused(await cluster.peerStart(['--data-dir', dataDir]), /already runs on .*peer stop/);
    // The daemon itself, without the command's look before.
    const daemon = join(ROOT, 'node', 'main.ts');
    const ran = await run([process.execPath, daemon, JSON.stringify({ dataDir })], { timeoutMs: 20_000 });
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toMatch(new RegExp(`^peer: the data directory .* in use by a running daemon \\(pid ${pid}\\)`));
    await expectTheClusterWorks(cluster.nodes);
  });

  it('on ports in use is refused, each with its number, and works on others', async () => {
    const alone = await LocalCluster.create();
    try {
      for (const listener of ['listen', 'link', 'http', 'api'] as const) {
        const taken = node(0)[listener];
        const ran = await alone.tryStart({ name: 'alone', args: [`--${listener}`, taken] });
        expectRefused(ran, new RegExp(`${splitAddress(taken)[1]}.*(in use|uses)`));
      }
      await alone.startNode({ name: 'alone' });
    } finally {
      await alone.stop();
    }
  });

  it('on a data directory of another cluster, of a newer version, or with a torn journal', async () => {
    const other = await LocalCluster.start(1);
    try {
      const [one] = other.nodes as [LocalNode];
      const { invite } = await inviteOf();
      await other.killNode(one);
      expectRefused(
        await other.peerStart(['--data-dir', one.dataDir, '--join', await fileOf(invite)]),
        /belongs to another cluster than the invite: join with a fresh --data-dir/,
      );

      const file = join(one.dataDir, 'cluster.json');
      const content = await readFile(file, 'utf8');
      await writeFile(file, JSON.stringify({ ...(await membershipOf(one.dataDir)), format: 999 }));
      expectRefused(
        await other.peerStart(['--data-dir', one.dataDir]),
        /was written by a newer version of Peer: start that version, or choose another --data-dir/,
      );
      await writeFile(file, content);

      const again = await other.restartNode(one);
      for (const name of ['kept', 'torn'])
        expect((await other.peer(again, ['users', 'add', name, '--role', 'viewer'])).code).toBe(0);
      await other.killNode(again);
      const journal = join(one.dataDir, 'desired', 'desired.log');
      await truncate(journal, (await stat(journal)).size - 5);
      const mended = await other.restartNode(again);
      const users = (await other.read<{ name: string }[]>(mended, '/v1/users')).map((user) => user.name);
      expect(users).toContain('kept');
      expect(users).not.toContain('torn');
      expect(await readFile(join(one.dataDir, 'daemon.log'), 'utf8')).toMatch(/warn .*torn/i);
    } finally {
      await other.stop();
    }
  });

  it('with a torn journal gets from the others what was torn off', async () => {
    const torn = node(1);
    await peer(node(0), 'env', 'set', APP, 'TORN=1');
    await cluster.killNode(torn);
    const journal = join(torn.dataDir, 'desired', 'desired.log');
    await truncate(journal, (await stat(journal)).size - 5);
    await cluster.restartNode(torn);
    await waitFor('it to have everything again', SETTLE_DEADLINE_MS, async () => {
      return (await envOf(cluster, node(1), APP)).TORN === '1';
    });
    await waitForFilledOnce(cluster, cluster.nodes, APP, 3);
  });
});

// ---------------------------------------------------------------- removal; last, because the cluster is smaller then

describe('a removed node', () => {
  it('is refused by everyone within two seconds, and its daemon ends with a clear line', async () => {
    const removed = node(2);
    const stayers = cluster.nodes.slice(0, 2);
    const identity = await loadOrCreateIdentity(removed.dataDir);
    const instances = await instanceProcesses(cluster, removed);
    const [elsewhere] = (await appOf(cluster, node(0), APP)).instances.filter((one) => one.node === node(0).name);

    await peer(node(0), 'nodes', 'remove', removed.name);
    const removedAtMs = performance.now();
    const double = await stranger({ psk: secrets.psk, key: identity.privateKey });
    expect(peerIdFromPrivateKey(identity.privateKey).toString()).toBe(removed.id);
    for (const one of stayers) {
      await waitFor(`${one.name} to refuse the removed node`, REFUSED_DEADLINE_MS, async () => {
        const link = await askLink(one, { tls: identity.tls, instance: elsewhere!.id });
        return link === '403 not_admitted' && (await knock(double, one)).length === 0;
      });
    }
    expect(performance.now() - removedAtMs).toBeLessThan(REFUSED_DEADLINE_MS);
    for (const one of stayers) {
      expect((await nodesOf(cluster, one)).map((each) => each.name)).toEqual(stayers.map((each) => each.name));
    }

    await waitFor('its daemon and its instances to end', SETTLE_DEADLINE_MS, async () => {
      return !(await isRunning(removed.pid)) && (await areGone(instances));
    });
    const log = await readFile(join(removed.dataDir, 'daemon.log'), 'utf8');
    expect(log).toMatch(
      /node\.removed message="this node was removed from the cluster; it stops its instances and ends"/,
    );
    expect(log.trimEnd()).toMatch(/node\.stopped$/);
    await waitForFilledOnce(cluster, stayers, APP, 3);
    await expectTheClusterWorks(stayers);

    expectRefused(
      await cluster.peerStart(['--data-dir', removed.dataDir]),
      /this node was removed from the cluster: join again with an invite and a fresh --data-dir/,
    );
    const { invite } = await inviteOf();
    expectRefused(
      await cluster.peerStart(['--data-dir', removed.dataDir, '--join', await fileOf(invite)]),
      /this node was removed from the cluster/,
    );
    // Its old directory aside, the machine may come back, under the same name.
    await cluster.startNode({ name: removed.name, dataDirName: 'fresh', join: invite });
    await cluster.waitForAlive(3);
  });

  it('that removes itself ends too, when the others know', async () => {
    const removed = node(2);
    const stayers = cluster.nodes.slice(0, 2);
    await peer(removed, 'nodes', 'remove', removed.name);
    await waitFor('its daemon to end', SETTLE_DEADLINE_MS, async () => !(await isRunning(removed.pid)));
    for (const one of stayers) {
      expect((await nodesOf(cluster, one)).map((each) => each.name)).toEqual(stayers.map((each) => each.name));
    }
  });
});
