// Two machines on one local network, made of network namespaces: they find each other without being told an address.

import { execFileSync } from 'node:child_process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Child, startChild } from './child-process.ts';

const ip = (...args: string[]): void => void execFileSync('ip', args, { stdio: 'pipe' });
const suffix = `${process.pid}`;
const [here, there] = [`peer-here-${suffix}`, `peer-there-${suffix}`];
const children: Child[] = [];

beforeEach(() => {
  for (const name of [here, there]) ip('netns', 'add', name);
  ip('link', 'add', 'lan0', 'netns', here, 'type', 'veth', 'peer', 'name', 'lan0', 'netns', there);
  for (const [name, address] of [
    [here, '10.77.0.1/24'],
    [there, '10.77.0.2/24'],
  ] as const) {
    ip('-n', name, 'addr', 'add', address, 'dev', 'lan0');
    ip('-n', name, 'link', 'set', 'lan0', 'up');
    ip('-n', name, 'link', 'set', 'lo', 'up');
    // Multicast needs a route; a machine on a real network has its default route.
    ip('-n', name, 'route', 'add', 'default', 'dev', 'lan0');
  }
});

afterEach(async () => {
  await Promise.all(children.splice(0).map((child) => child.end()));
  for (const name of [here, there]) ip('netns', 'del', name);
});

const startIn = async (namespace: string): Promise<Child> => {
  const child = await startChild([], { prefix: ['ip', 'netns', 'exec', namespace], listen: '0.0.0.0:0' });
  children.push(child);
  return child;
};
const admit = (child: Child, other: Child): void =>
  void child.process.stdin!.write(`${JSON.stringify([{ id: other.id, addresses: [] }])}\n`);
const within = { timeout: 40_000, interval: 50 };

describe('discovery on the local network', () => {
  test('admitted nodes find each other without any address', async () => {
    const [a, b] = [await startIn(here), await startIn(there)];
    expect(a.addresses[0]).toMatch(/^\/ip4\/10\.77\.0\.1\/tcp\/\d+\/p2p\//);
    admit(a, b);
    admit(b, a);
    await expect
      .poll(() => [a.said, b.said], within)
      .toEqual([[`{"connected":"${b.id}"}`], [`{"connected":"${a.id}"}`]]);
  });
});
