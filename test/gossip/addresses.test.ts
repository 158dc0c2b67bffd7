import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { NetworkInterfaceInfo } from 'node:os';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { NodeId } from '../../crdt/ids.ts';
import { AddressBook } from '../../node/gossip/address-book.ts';
import { advertisedAddresses, dialableAddress, parseListen } from '../../node/gossip/addresses.ts';
import { redialDelayMs } from '../../node/gossip/dialer.ts';
import { ADDRESS_BOOK_NODES_MAX, FULL_MESH_NODES_MAX, NEIGHBOURS } from '../../node/gossip/limits.ts';
import { neighboursOf } from '../../node/gossip/neighbours.ts';
import { collectingLog } from './twins.ts';

const NODE = '12D3KooWA1bysjrTACSWqf6q172inxvwKHUxAnBtVgaVDKMxpZtx' as NodeId;
const at = (address: string, internal = false): NetworkInterfaceInfo =>
  ({ address, family: address.includes(':') ? 'IPv6' : 'IPv4', internal }) as NetworkInterfaceInfo;

describe('where a node listens', () => {
  test.each([
    ['0.0.0.0:4001', { ip: '0.0.0.0', port: 4001 }],
    ['[::]:4001', { ip: '::', port: 4001 }],
    ['localhost:0', { ip: '127.0.0.1', port: 0 }],
  ])('%s', async (text, expected) => {
    const found = await parseListen(text);
    if (text.startsWith('localhost')) expect(['127.0.0.1', '::1']).toContain(found.ip);
    else expect(found).toEqual(expected);
  });

  test.each(['4001', 'host', '::1:4001', '1.2.3.4:99999', ':4001'])(
    'refuses %s with what to write instead',
    async (text) => {
      await expect(parseListen(text)).rejects.toThrow(/expected HOST:PORT/);
    },
  );
});

describe('what a node advertises', () => {
  const listen = { ip: '0.0.0.0', port: 4001 };
  test.each([
    [
      'the address it listens on',
      { ip: '192.168.1.5', port: 4001 },
      { lo: [at('127.0.0.1', true)] },
      undefined,
      ['/ip4/192.168.1.5/tcp/4001'],
    ],
    [
      'every interface but loopback',
      listen,
      { lo: [at('127.0.0.1', true)], eth0: [at('10.0.0.2')], wlan0: [at('10.0.1.2'), at('fd00::2')] },
      undefined,
      ['/ip4/10.0.0.2/tcp/4001', '/ip4/10.0.1.2/tcp/4001'],
    ],
    [
      'no container bridge',
      listen,
      { docker0: [at('172.17.0.1')], 'br-12ab': [at('172.18.0.1')], eth0: [at('10.0.0.2')] },
      undefined,
      ['/ip4/10.0.0.2/tcp/4001'],
    ],
    [
      'no bridge of its own instances, and no address that it gave itself',
      listen,
      {
        pnet0a1f: [at('10.199.0.1')],
        pr0a1b2c3d4e5f6: [at('198.18.0.1')],
        wlan0: [at('169.254.7.7')],
        eth0: [at('10.0.0.2')],
      },
      undefined,
      ['/ip4/10.0.0.2/tcp/4001'],
    ],
    [
      'a bridge when there is nothing else',
      listen,
      { docker0: [at('172.17.0.1')], lo: [at('127.0.0.1', true)] },
      undefined,
      ['/ip4/172.17.0.1/tcp/4001'],
    ],
    [
      'loopback when there is nothing at all',
      listen,
      { lo: [at('127.0.0.1', true)] },
      undefined,
      ['/ip4/127.0.0.1/tcp/4001'],
    ],
    [
      'both families, no link-local ones',
      { ip: '::', port: 4001 },
      { eth0: [at('10.0.0.2'), at('fd00::2'), at('fe80::1')] },
      undefined,
      ['/ip4/10.0.0.2/tcp/4001', '/ip6/fd00::2/tcp/4001'],
    ],
    [
      'first what the operator said',
      listen,
      { eth0: [at('10.0.0.2')] },
      ['edge.example.org'],
      ['/dns4/edge.example.org/tcp/4001', '/ip4/10.0.0.2/tcp/4001'],
    ],
  ])('%s', (_, listening, interfaces, advertise, expected) => {
    expect(advertisedAddresses(listening, { advertise, interfaces })).toEqual(expected);
  });

  test.each([
    [`/ip4/10.0.0.1/tcp/4001/p2p/${NODE}`, '/ip4/10.0.0.1/tcp/4001'],
    ['/ip4/10.0.0.1/tcp/4001', '/ip4/10.0.0.1/tcp/4001'],
    ['/dns4/a.example/tcp/4001', '/dns4/a.example/tcp/4001'],
    ['/ip4/10.0.0.1/tcp/4001/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA', undefined],
    ['/ip4/0.0.0.0/tcp/4001', undefined],
    ['/ip4/10.0.0.1/udp/4001', undefined],
    ['/ip4/10.0.0.1/tcp/4001/ws', undefined],
    ['/ip4/10.0.0.1/tcp/0', undefined],
    ['/unix/%2Ftmp%2Fsocket', undefined],
    ['nonsense', undefined],
    [`/dns4/${'a'.repeat(400)}/tcp/1`, undefined],
  ])('of %s, %s is dialled', (address, expected) => {
    expect(dialableAddress(address, NODE)).toBe(expected);
  });
});

describe('the address book', () => {
  let dir: string;
  const ip = (last: number): string => `/ip4/10.0.0.${last}/tcp/4001`;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'peer-addresses-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  test('survives a restart', async () => {
    const book = new AddressBook(dir, collectingLog());
    await book.load();
    expect(book.learn(NODE, [ip(1), ip(2)], 'told')).toBe(true);
    expect(book.learn(NODE, [`${ip(1)}/p2p/${NODE}`], 'told')).toBe(false);
    await book.flush();
    const again = new AddressBook(dir, collectingLog());
    await again.load();
    expect(again.addresses(NODE)).toEqual([ip(1), ip(2)]);
    expect(readFileSync(join(dir, 'peers.json'), 'utf8')).toContain(NODE);
  });

  test('tries the one that worked first, then the newest', () => {
    const book = new AddressBook(dir, collectingLog());
    book.learn(NODE, [ip(1), ip(2)], 'told');
    book.confirm(NODE, `${ip(2)}/p2p/${NODE}`);
    book.learn(NODE, [ip(3)], 'told');
    expect(book.addresses(NODE)).toEqual([ip(2), ip(3), ip(1)]);
  });

  test('tries the newest first once the one that worked does not answer, and gets to every other one', async () => {
    const book = new AddressBook(dir, collectingLog());
    book.learn(NODE, [ip(1), ip(2)], 'told');
    book.confirm(NODE, `${ip(1)}/p2p/${NODE}`);
    book.failed(NODE);
    book.learn(NODE, [ip(3), ip(4)], 'told');
    expect(book.addresses(NODE)).toEqual([ip(3), ip(4), ip(2), ip(1)]);
    book.failed(NODE);
    expect(book.addresses(NODE)).toEqual([ip(4), ip(2), ip(1), ip(3)]);
    book.confirm(NODE, ip(2));
    book.learn(NODE, [ip(5)], 'told');
    expect(book.addresses(NODE)[0]).toBe(ip(2));
    await book.flush();
    const again = new AddressBook(dir, collectingLog());
    await again.load();
    again.learn(NODE, [ip(6)], 'told');
    expect(again.addresses(NODE).slice(0, 2)).toEqual([ip(2), ip(6)]);
  });

  test('keeps eight per node; discovery can never push out what the node said itself', () => {
    const book = new AddressBook(dir, collectingLog());
    book.learn(NODE, [1, 2, 3, 4, 5, 6].map(ip), 'told');
    for (let last = 100; last < 200; last += 1) book.learn(NODE, [ip(last)], 'discovered');
    expect(book.addresses(NODE)).toHaveLength(8);
    expect(book.addresses(NODE)).toEqual(expect.arrayContaining([1, 2, 3, 4, 5, 6].map(ip)));
    for (let last = 10; last < 40; last += 1) book.learn(NODE, [ip(last)], 'told');
    expect(book.addresses(NODE)).toHaveLength(8);
    expect(book.addresses(NODE)).toContain(ip(39));
  });

  test('forgets the nodes it has not heard of for longest beyond its bound', () => {
    const book = new AddressBook(dir, collectingLog());
    for (let index = 0; index <= ADDRESS_BOOK_NODES_MAX; index += 1)
      book.learn(`node${index}` as NodeId, [ip(1)], 'told');
    expect([book.addresses('node0' as NodeId), book.addresses('node1' as NodeId)]).toEqual([[], [ip(1)]]);
  });

  test.each(['', '{', '[]', '{"nodes":[1]}', '{"nodes":{"a":[1,"x"]}}', 'null'])(
    'starts empty from a damaged file: %s',
    async (text) => {
      writeFileSync(join(dir, 'peers.json'), text);
      const book = new AddressBook(dir, collectingLog());
      await book.load();
      expect(book.addresses(NODE)).toEqual([]);
      book.learn(NODE, [ip(1)], 'told');
      expect(book.addresses(NODE)).toEqual([ip(1)]);
    },
  );
});

describe('whom to dial, and when', () => {
  test.each([
    [1, 0, 50],
    [1, 1, 100],
    [2, 1, 200],
    [5, 1, 1_600],
    [8, 1, 10_000],
    [1_000, 1, 10_000],
    [1_000, 0, 5_000],
  ])('after %i failures with chance %f: %i ms', (failures, random, expected) => {
    expect(redialDelayMs(failures, random)).toBe(expected);
  });

  const named = (count: number): NodeId[] => Array.from({ length: count }, (_, index) => `node-${index}` as NodeId);

  test('a small cluster is a full mesh', () => {
    const nodes = named(FULL_MESH_NODES_MAX);
    expect(neighboursOf(nodes[0]!, nodes.slice(1))).toEqual(nodes.slice(1));
  });

  test('a large one keeps few connections each, is connected, and one node more changes little', () => {
    const nodes = named(300);
    const chosen = new Map(
      nodes.map((node) => [
        node,
        neighboursOf(
          node,
          nodes.filter((other) => other !== node),
        ),
      ]),
    );
    for (const list of chosen.values()) expect(list).toHaveLength(NEIGHBOURS);
    const links = new Map(nodes.map((node) => [node, new Set<NodeId>()]));
    for (const [node, list] of chosen) {
      for (const other of list) {
        links.get(node)!.add(other);
        links.get(other)!.add(node);
      }
    }
    const reached = new Set([nodes[0]!]);
    for (const node of reached) for (const other of links.get(node)!) reached.add(other);
    expect(reached.size).toBe(nodes.length);
    expect(Math.max(...[...links.values()].map((set) => set.size))).toBeLessThan(3 * NEIGHBOURS);

    const more = named(301);
    const moved = nodes.filter(
      (node) =>
        neighboursOf(
          node,
          more.filter((other) => other !== node),
        ).join() !== chosen.get(node)!.join(),
    );
    expect(moved.length).toBeLessThan(3 * NEIGHBOURS);
  });
});
