// Networks of instances and builds on real packets: a machine of its own (a network namespace) with a neighbour, name
// servers and services, and what an instance there reaches of them.

import { execFileSync } from 'node:child_process';
import { chmodSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, ip, Machine, type Own } from './own-machine.ts';

const namespacesOf = (key: string): string[] =>
  readdirSync('/run/netns').filter((name) => name.startsWith(`peer-${key}-`));
const keyOf = (namespace: string): string => namespace.split('-')[1]!;

const MACHINE_PORT = 7600;
const ROUTER_PORT = 8080;

describe('an instance with a network of its own', () => {
  const machine = new Machine();
  let one: Own;
  let two: Own;

  beforeAll(async () => {
    await machine.start(['10.214.9.128/25']);
    await machine.serve('neighbour', '10.214.9.2', 80);
    await machine.serve('neighbour', '9.9.9.9', 80);
    await machine.serve('machine', '0.0.0.0', MACHINE_PORT);
    await machine.serve('machine', '0.0.0.0', ROUTER_PORT);
    one = await machine.ask<Own>({ take: 'instance' });
    two = await machine.ask<Own>({ take: 'instance' });
    await machine.ask({ ports: { open: [ROUTER_PORT], closed: [MACHINE_PORT] } });
    await machine.ask({ serve: two.namespace, port: 8080 });
  });
  afterAll(() => machine.dispose());

  const reach = (host: string, port: number, from: Own = one): Promise<Answer> =>
    machine.ask({ connect: from.namespace, host, port });

  it('reaches the internet, as the machine', async () => {
    expect(await reach('9.9.9.9', 80)).toEqual({ ok: true, said: 'neighbour hears 10.214.9.1\n' });
  });

  it.each([
    ['a private neighbour', () => '10.214.9.2', 80],
    ["the machine at its neighbours' address", () => '10.214.9.1', MACHINE_PORT],
    ['the machine at its gateway', () => gateway(), MACHINE_PORT],
    ['another instance', () => two.host, 8080],
    ["a cloud's metadata", () => '169.254.169.254', 80],
  ])('does not reach %s, and hears so at once, however often it asks', async (_what, host, port) => {
    // More than the kernel sends ICMP messages to one host at once.
    for (let tries = 0; tries < 8; tries++) {
      expect(await reach(host(), port)).toEqual({ ok: false, said: 'ECONNREFUSED' });
    }
  });

  const gateway = (): string => one.host.replace(/\.\d+$/, '.1');

  it("does not reach the machine's loopback, which is its own", async () => {
    expect(await reach('127.0.0.1', MACHINE_PORT)).toEqual({ ok: false, said: 'ECONNREFUSED' });
  });

  it("reaches the machine's router", async () => {
    expect(await reach(gateway(), ROUTER_PORT)).toMatchObject({ ok: true });
  });

  it('goes on reaching it while others start beside it', async () => {
    for (let others = 1; others <= 8; others++) {
      const { namespace } = await machine.ask<Own>({ take: 'instance' });
      const answer = await machine.ask({ connect: one.namespace, host: gateway(), port: ROUTER_PORT });
      expect(answer, `with ${namespace} beside it`).toMatchObject({ ok: true });
    }
  });

  it('is reached by the machine, and not from next door', async () => {
    expect(machine.fromHere(two.host, 8080)).toMatch(/^instance hears /);
    expect(machine.fromNextDoor(two.host, 8080)).toBe('');
  });

  it('that only answers is reached by the machine, and reaches nobody but itself', async () => {
    const service = await machine.ask<Own>({ take: 'instance', answersOnly: true });
    await machine.ask({ serve: service.namespace, port: 5432 });
    expect(machine.fromHere(service.host, 5432)).toMatch(/^instance hears /);
    expect(await reach('127.0.0.1', 5432, service)).toMatchObject({ ok: true });
    for (const [host, port] of [
      ['9.9.9.9', 80],
      ['10.214.9.2', 80],
      [gateway(), ROUTER_PORT],
      [two.host, 8080],
    ] as const) {
      expect(await reach(host, port, service)).toEqual({ ok: false, said: 'ECONNREFUSED' });
    }
  });

  it('has no address of IPv6 but its loopback', () => {
    expect(ip('-n', one.namespace, '-6', 'addr', 'show', 'dev', 'eth0')).toBe('');
  });

  it('is told the name servers of the machine', async () => {
    expect(await machine.ask<{ text: string }>({ resolver: true })).toMatchObject({
      text: expect.stringMatching(/^nameserver /),
    });
  });

  it('can be allowed to reach private networks', async () => {
    const opened = new Machine();
    await opened.start(['10.214.9.0/24']);
    await opened.serve('neighbour', '10.214.9.2', 80);
    await opened.serve('machine', '10.214.9.1', MACHINE_PORT);
    await opened.ask({ ports: { open: [], closed: [MACHINE_PORT] } });
    const own = await opened.ask<Own>({ take: 'instance' });
    expect(await opened.ask({ connect: own.namespace, host: '10.214.9.2', port: 80 })).toMatchObject({ ok: true });
    expect(await opened.ask({ connect: own.namespace, host: '10.214.9.1', port: MACHINE_PORT })).toMatchObject({
      ok: false,
    });
    await opened.dispose();
  });
});

describe('a build', () => {
  const machine = new Machine();
  beforeAll(async () => {
    await machine.start();
    await machine.serve('neighbour', '10.214.9.2', 3128);
    await machine.serve('neighbour', '10.214.9.2', 5432);
    await machine.serve('machine', '127.0.0.1', 4873);
    await machine.serve('machine', '127.0.0.1', 5432);
  });
  afterAll(() => machine.dispose());

  it("reaches what the daemon's settings name, on this machine and beyond, and nothing else", async () => {
    const build = await machine.ask<Own>({ take: 'build' });
    const instance = await machine.ask<Own>({ take: 'instance' });
    const reach = (from: Own, host: string, port: number) => machine.ask({ connect: from.namespace, host, port });
    expect(await reach(build, '10.214.9.2', 3128)).toMatchObject({ ok: false });
    await machine.ask({ reach: build, urls: ['http://10.214.9.2:3128', 'http://localhost:4873/npm', 'not a url', ''] });
    expect(await reach(build, '10.214.9.2', 3128)).toMatchObject({ ok: true });
    expect(await reach(build, '127.0.0.1', 4873)).toEqual({ ok: true, said: 'machine hears 127.0.0.1\n' });
    expect(await reach(build, '10.214.9.2', 5432)).toMatchObject({ ok: false });
    expect(await reach(build, '127.0.0.1', 5432)).toMatchObject({ ok: false });
    expect(await reach(instance, '10.214.9.2', 3128)).toMatchObject({ ok: false });
    expect(await reach(instance, instance.host.replace(/\.\d+$/, '.1'), 4873)).toMatchObject({ ok: false });
  });
});

describe("a node's networks", () => {
  it('are found again by the next daemon, which removes those that nobody has any more', async () => {
    const machine = new Machine();
    await machine.start();
    const kept = await machine.ask<Own>({ take: 'instance' });
    const lost = await machine.ask<Own>({ take: 'instance' });
    await machine.ask({ serve: kept.namespace, port: 8080 });
    await machine.kill();
    const resolvers = join(machine.dataDir, 'resolv.conf');
    chmodSync(resolvers, 0o600);
    await machine.boot();
    expect(statSync(resolvers).mode & 0o777).toBe(0o644);
    await machine.ask({ adopt: [kept] });
    expect(machine.fromHere(kept.host, 8080)).toMatch(/^instance hears /);
    const names = namespacesOf(keyOf(kept.namespace));
    expect(names).toContain(kept.namespace);
    expect(names).not.toContain(lost.namespace);
    const next = await machine.ask<Own>({ take: 'instance' });
    expect(next.host).not.toBe(kept.host);
    await machine.dispose();
    expect(namespacesOf(keyOf(kept.namespace))).toEqual([]);
  });

  it('go with the daemon that stops, and forwarding with the last', async () => {
    const machine = new Machine();
    await machine.start();
    const own = await machine.ask<Own>({ take: 'instance' });
    expect(machine.rules()).toContain('table inet peer_net_');
    expect(await machine.ask<{ text: string }>({ forwarding: true })).toEqual({ text: '1' });
    await machine.end();
    expect(machine.rules()).toBe('');
    const left = execFileSync('ip', ['netns', 'exec', machine.namespace, 'cat', '/proc/sys/net/ipv4/ip_forward']);
    expect(String(left).trim()).toBe('0');
    expect(ip('-n', machine.namespace, '-br', 'link', 'show', 'type', 'bridge')).toBe('');
    expect(namespacesOf(keyOf(own.namespace))).toEqual([]);
    await machine.dispose();
  });

  it('are removed by another daemon when theirs was killed and its data directory has gone', async () => {
    const machine = new Machine();
    await machine.start();
    const own = await machine.ask<Own>({ take: 'instance' });
    await machine.kill();
    await machine.dispose();
    expect(namespacesOf(keyOf(own.namespace))).not.toEqual([]);
    const other = new Machine();
    await other.start();
    expect(namespacesOf(keyOf(own.namespace))).toEqual([]);
    await other.dispose();
  });

  it('of instances that run stay when the next daemon cannot make its own', async () => {
    const machine = new Machine();
    await machine.start();
    const own = await machine.ask<Own>({ take: 'instance' });
    await machine.kill();
    const key = keyOf(own.namespace);
    const kept = namespacesOf(key);
    // Whichever number it takes for its spare.
    const taken = Array.from({ length: 20 }, (_, index) => `pv${key}-${index + 2}`).filter(
      (name) => !kept.some((namespace) => namespace.endsWith(name.slice('pv'.length))),
    );
    for (const name of taken) ip('-n', machine.namespace, 'link', 'add', name, 'type', 'bridge');
    await expect(machine.boot()).rejects.toThrow();
    expect(namespacesOf(key)).toEqual(kept);
    expect(ip('-n', machine.namespace, '-br', 'link', 'show', 'type', 'bridge')).toContain(`pnet${key}`);
    for (const name of taken) ip('-n', machine.namespace, 'link', 'del', name);
    await machine.boot();
    await machine.end();
    expect(namespacesOf(key)).toEqual([]);
    await machine.dispose();
  });

  it('start in little time', async () => {
    const [own, least]: [number[], number[]] = [[], []];
    // Several, so that what else the machine does strikes both alike; of each as many as come before its next spare.
    for (let started = 0; started < 3; started++) {
      const machine = new Machine();
      await machine.start();
      for (let round = 0; round < 10; round++) {
        own.push((await machine.ask<{ ms: number }>({ time: true })).ms);
        const startMs = performance.now();
        execFileSync('unshare', ['--net', 'ip', 'link', 'set', 'lo', 'up']);
        least.push(performance.now() - startMs);
      }
      await machine.dispose();
    }
    const median = (ms: number[]): number => ms.sort((a, b) => a - b)[15]!;
    // Also without a spare, and on any machine: beside what the emptiest network of all costs there.
    expect(median(own) / median(least)).toBeLessThan(3);
  });
});
