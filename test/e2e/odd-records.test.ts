// A node that is admitted, and writes what it likes into the desired state: the others live on, start again, serve
// their apps, and say which records they left out. Real daemons; the writer is this test, with the identity and the
// data of one of them.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { asClusterId, asNodeId, type NodeId } from '../../crdt/ids.ts';
import { DesiredStore } from '../../crdt/store.ts';
import type { StatusShape } from '../../node/api/shapes.ts';
import { createGossip } from '../../node/gossip/gossip.ts';
import { loadOrCreateIdentity } from '../../node/identity/identity.ts';
import { LocalCluster, type LocalNode, ROOT, splitAddress, waitFor } from '../../scripts/local-cluster.ts';
import { isRunning } from '../../scripts/processes.ts';
import { plainCopyOf, rawChange } from '../crdt/odd-records.ts';
import { lastWords, open, SETTLE_DEADLINE_MS, waitForFilledOnce } from './observe.ts';

const APP = 'hello';
const HOST = `${APP}.localhost`;
const silent = { debug() {}, info() {}, warn() {}, error() {} };

let cluster: LocalCluster;
const closers: (() => Promise<unknown>)[] = [];
const others = (): LocalNode[] => cluster.nodes.slice(0, 2);

const statusOf = (node: LocalNode): Promise<StatusShape> => cluster.read<StatusShape>(node, '/v1/status');

/** Apps that would run if they were let: with an id, a name, a command or a count that breaks something somewhere. */
function writeOddRecords(doc: Record<string, Record<string, unknown>>): void {
  const [sound] = Object.values(doc.apps!);
  const copy = (changes: Record<string, unknown>) => ({ ...plainCopyOf(sound), ...changes });
  doc.apps!['x:y'] = copy({ name: 'colon' });
  doc.apps!['../../up'] = copy({ name: 'path' });
  doc.apps!['no-name'] = copy({ name: '../name' });
  doc.apps!.odd = copy({
    name: 'odd',
    scale: { web: -1, constructor: 1e9, __proto__: 2, 'a/b': 1 },
    memoryBytes: Number.NaN,
    createdAtMs: -1,
    health: { kind: 'http', path: '/\r\nx: y', timeoutMs: Number.POSITIVE_INFINITY },
    env: { 'A=B': 'x', NUL: 'a\0b' },
  });
  doc.nodes!['x:y'] = { name: 'colon', labels: { 'a b': 'c' } };
  doc.nodes!['12D3KooWnobody'] = { name: '\u001b[2J', admittedAtMs: Number.NEGATIVE_INFINITY };
  doc.users!['x y'] = { role: 'admin', tokenHash: 'short' };
  doc.invites!['x:y'] = { secretHash: 7 };
  doc.routes!['nowhere x:y'] = 'text';
  doc.routes![`${HOST}:80 odd`] = { createdAtMs: 0 };
  doc.removedNodes!['x:y'] = 1;
}

const REFUSED = ['apps/x:y', 'apps/"../../up"', 'apps/no-name', 'nodes/x:y', 'users/"x y"', 'invites/x:y'];

beforeAll(async () => {
  cluster = await LocalCluster.start(3);
  const folder = join(ROOT, 'test', 'apps', 'hello-node');
  await cluster.json(cluster.nodes[0]!, ['push', folder, '--name', APP, '--instances', '2']);
  await waitForFilledOnce(cluster, cluster.nodes, APP, 2);
}, 240_000);

beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));

afterAll(async () => {
  for (const close of closers.reverse()) await close();
  await cluster?.stop();
});

/** Takes a node's place: everything that it knows and may, and none of its rules. */
async function speakAs(node: LocalNode): Promise<void> {
  const { dataDir } = node;
  const membership = JSON.parse(await readFile(join(dataDir, 'cluster.json'), 'utf8')) as Record<string, string>;
  const identity = await loadOrCreateIdentity(dataDir);
  const store = await DesiredStore.open(join(dataDir, 'desired'));
  closers.push(() => store.close());
  const received = await store.receive([rawChange(store.snapshot(), writeOddRecords)]);
  expect(received).toMatchObject({ applied: 1, quarantined: [] });
  const gossip = await createGossip({
    identity: { nodeId: identity.nodeId, privateKey: identity.privateKey },
    clusterId: asClusterId(membership.cluster!),
    psk: Buffer.from(membership.psk!, 'hex'),
    listen: node.listen,
    dataDir: cluster.folder,
    desired: store,
    log: silent,
  });
  await gossip.start();
  closers.push(() => gossip.stop());
  const addresses = new Map<NodeId, { addresses: string[] }>();
  for (const one of others()) {
    const [host, port] = splitAddress(one.listen);
    addresses.set(asNodeId(one.id), { addresses: [`/ip4/${host}/tcp/${port}/p2p/${one.id}`] });
  }
  gossip.setAdmitted(addresses);
}

async function expectAllIsWell(): Promise<void> {
  await waitForFilledOnce(cluster, others(), APP, 2);
  for (const node of others()) {
    expect(await isRunning(node.pid)).toBe(true);
    await open(cluster, node, HOST);
    const { problems } = await statusOf(node);
    const records = problems.map((line) => line.split(': ', 1)[0]);
    expect(records).toEqual(expect.arrayContaining(REFUSED));
    const apps = await cluster.json<{ name: string; desired: object }[]>(node, ['apps']);
    expect(apps.map(({ name, desired }) => [name, desired])).toEqual([
      [APP, { web: 2 }],
      ['odd', { web: 0 }],
    ]);
    for (const args of [['status'], ['nodes'], ['users'], ['routes'], ['app', 'odd'], ['events']]) {
      expect(await cluster.peer(node, args), `peer ${args.join(' ')}`).toMatchObject({ code: 0 });
    }
  }
}

describe('records that break every rule, written by an admitted node', () => {
  it('are left out, said once, and cost no other node anything', async () => {
    const writer = cluster.nodes[2]!;
    await cluster.killNode(writer);
    await speakAs(writer);
    for (const node of others()) {
      await waitFor(`${node.name} to have the records`, SETTLE_DEADLINE_MS, async () => {
        return (await statusOf(node)).problems.length > 0;
      });
    }
    await expectAllIsWell();
    for (const node of others()) {
      const log = await readFile(join(node.dataDir, 'daemon.log'), 'utf8');
      const said = log.split('\n').filter((line) => line.includes('desired.record_refused record=apps/x:y'));
      expect(said).toHaveLength(1);
      expect(said[0]).toMatch(/its id must be an id .* it is left out: run one version of Peer on all nodes/);
      expect(log).not.toMatch(/node\.unexpected|agent\.failed|effect\.failed/);
    }
    const events = await cluster.peer(others()[0]!, ['events']);
    expect(events.stdout).toMatch(/record\.refused apps\/x:y: its id must be /);
  });

  it('do not keep the others from starting again, nor from being written to', async () => {
    for (const [index, node] of others().entries()) {
      await cluster.killNode(node);
      cluster.nodes[index] = await cluster.restartNode(node);
    }
    await expectAllIsWell();
    await cluster.json(others()[0]!, ['env', 'set', APP, 'A=1']);
    await cluster.json(others()[0]!, ['delete', 'odd']);
    await waitForFilledOnce(cluster, others(), APP, 2);
    expect(await open(cluster, others()[1]!, HOST)).toBeTruthy();
  });
});
