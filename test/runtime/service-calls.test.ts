// Ways from apps to services within one machine, on real packets: who is led there, who is refused, and how what was
// open ends. The services are plain servers of TCP.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asAppId, asServiceId } from '../../crdt/ids.ts';
import type { ServiceCall } from '../../node/ports/runtime.ts';
import { type Answer, FILTER_BRIDGED, Machine, type Own } from './own-machine.ts';

const [SHOP, BLOG] = [asAppId('shop'), asAppId('blog')];
const ADDRESS = '198.18.7.9';
const PORT = 5432;

const call = (to: Own | { host: string }, over: Partial<ServiceCall> = {}): ServiceCall => ({
  service: asServiceId('db'),
  address: ADDRESS,
  port: PORT,
  apps: [SHOP],
  to: { host: to.host, port: PORT },
  ...over,
});

/** A kernel that can bridge what is led to a service may be told to, or not. */
const KERNELS = existsSync(FILTER_BRIDGED) ? (['bridges', 'routes'] as const) : (['routes'] as const);

describe.each(KERNELS)("a service's address, where the kernel %s", (kernel) => {
  const machine = new Machine();
  let service: Own;
  let elsewhere: Own;
  let shop: Own;
  let blog: Own;
  let opened = -1;

  const calls = (...all: ServiceCall[]) => machine.ask({ calls: all });
  const take = (app?: string) => machine.ask<Own>({ take: 'instance', ...(app === undefined ? {} : { app }) });
  const reach = (from: Own, host = ADDRESS, port = PORT): Promise<Answer> =>
    machine.ask({ connect: from.namespace, host, port });
  /** A connection that stays open; its number. */
  const keep = async (from: Own): Promise<number> => {
    const word = await machine.ask<{ word: string }>({ keep: from.namespace, host: ADDRESS, port: PORT });
    expect(word).toEqual({ word: 'open' });
    return ++opened;
  };
  const ended = (number: number) => machine.ask<{ how: string }>({ ended: number });
  const rulesWith = (text: string): string[] =>
    machine
      .rules()
      .split('\n')
      .filter((line) => line.includes(text));

  beforeAll(async () => {
    await machine.start();
    if (existsSync(FILTER_BRIDGED)) machine.filterBridged(kernel === 'bridges');
    service = await take('db');
    elsewhere = await take('db');
    for (const own of [service, elsewhere]) {
      await machine.ask({ serve: own.namespace, port: PORT, stays: true });
      await machine.ask({ serve: own.namespace, port: 22 });
    }
    shop = await take(SHOP);
    blog = await take(BLOG);
    await calls(call(service));
  });
  afterAll(() => machine.dispose());

  it('leads a bound app to the service, in the kernel: it hears the app itself', async () => {
    const number = await keep(shop);
    // No program stands between them: the only connection of the machine's own would be one of its sockets.
    const sockets = execFileSync('ip', ['netns', 'exec', machine.namespace, 'ss', '-tanH'], { encoding: 'utf8' });
    expect(sockets).not.toContain(`:${PORT}`);
    const inside = execFileSync('ip', ['netns', 'exec', service.namespace, 'ss', '-tnH'], { encoding: 'utf8' });
    expect(inside).toContain(shop.host);
    await calls();
    await ended(number);
    await calls(call(service));
  });

  it('is open to an instance of the app that starts later, from its first packet on', async () => {
    expect(await keep(await take(SHOP))).toBe(opened);
  });

  it.each([
    ['an app that is not bound', () => blog, ADDRESS, PORT],
    ['the service itself', () => service, ADDRESS, PORT],
    ['a bound app on another port', () => shop, ADDRESS, 22],
    ['a bound app at another address', () => shop, '198.18.7.10', PORT],
  ])('refuses %s at once', async (_who, from, host, port) => {
    for (let tries = 0; tries < 4; tries++) {
      expect(await reach(from(), host, port)).toEqual({ ok: false, said: 'ECONNREFUSED' });
    }
  });

  it("refuses a bound app at the service's own address, which may be another's tomorrow", async () => {
    expect(await reach(shop, service.host)).toEqual({ ok: false, said: 'ECONNREFUSED' });
  });

  it('leads nobody there from the machine itself or from next door', async () => {
    expect(machine.fromHere(ADDRESS, PORT)).toBe('');
    expect(machine.fromNextDoor(ADDRESS, PORT)).toBe('');
    expect(machine.fromNextDoor(service.host, PORT)).toBe('');
  });

  it('ends what is open at once when the app is not bound any more, and refuses it from then on', async () => {
    await calls(call(service, { apps: [SHOP, BLOG] }));
    const [ours, theirs] = [await keep(shop), await keep(blog)];
    await calls(call(service, { apps: [BLOG] }));
    expect((await ended(ours)).how).not.toBe('undefined');
    expect(await reach(shop)).toEqual({ ok: false, said: 'ECONNREFUSED' });
    // The other one's goes on.
    await machine.ask({ write: theirs });
    expect(rulesWith(`${blog.host} . ${ADDRESS}`)).toHaveLength(2);
    await calls(call(service));
    expect((await ended(theirs)).how).not.toBe('undefined');
  });

  it('follows the service: what was open ends, and what is new goes to the new place', async () => {
    const number = await keep(shop);
    await calls(call(elsewhere));
    await ended(number);
    await keep(shop);
    const inside = execFileSync('ip', ['netns', 'exec', elsewhere.namespace, 'ss', '-tnH'], { encoding: 'utf8' });
    expect(inside).toContain(shop.host);
    await calls(call(service));
  });

  it('is changed without touching what is open for others', async () => {
    const number = await keep(shop);
    for (let others = 0; others < 5; others++) {
      await calls(call(service), call(elsewhere, { address: `198.18.8.${others + 1}`, apps: [BLOG] }));
    }
    await machine.ask({ ports: { open: [8080], closed: [] } });
    await machine.ask({ write: number });
    expect(rulesWith(`${shop.host} . ${ADDRESS}`)).toHaveLength(2);
    await calls(call(service));
    await machine.ask({ write: number });
    await calls();
    await ended(number);
    await calls(call(service));
  });

  it("goes with the instance: whoever has its address next is nobody's friend", async () => {
    const gone = await take(SHOP);
    expect(rulesWith(gone.host)).not.toEqual([]);
    await machine.ask({ release: gone });
    expect(rulesWith(gone.host)).toEqual([]);
  });

  it('leads past the rules of the machine, and mends its tables when somebody else emptied them', async () => {
    const table = /table inet (peer_net_\w+)/.exec(machine.rules())![1]!;
    const nft = ['netns', 'exec', machine.namespace, 'nft'];
    execFileSync('ip', [...nft, 'flush', 'map', 'inet', table, 'calls']);
    // By the shortcut from port to port, which has no part in that table; it is nobody else's.
    await keep(shop);
    expect(await reach(blog)).toEqual({ ok: false, said: 'ECONNREFUSED' });
    execFileSync('ip', [...nft, 'delete', 'table', 'netdev', table.replace('_net_', '_short_')]);
    expect(await reach(shop)).toEqual({ ok: false, said: 'ECONNREFUSED' });
    await calls();
    await calls(call(service));
    await keep(shop);
    execFileSync('ip', [...nft, 'flush', 'map', 'inet', table, 'calls']);
    await keep(shop);
  });
});

describe('a door of the router at the gateway', () => {
  const machine = new Machine();
  const DOOR = 41_234;
  let shop: Own;
  let blog: Own;
  let gateway: string;

  const reach = (from: Own, host: string, port: number): Promise<Answer> =>
    machine.ask({ connect: from.namespace, host, port });

  beforeAll(async () => {
    await machine.start();
    gateway = (await machine.ask<{ host: string }>({ gateway: true })).host;
    shop = await machine.ask<Own>({ take: 'instance', app: SHOP });
    blog = await machine.ask<Own>({ take: 'instance', app: BLOG });
    await machine.serve('machine', gateway, DOOR);
    await machine.ask({ calls: [call({ host: gateway }, { to: { host: gateway, port: DOOR } })] });
  });
  afterAll(() => machine.dispose());

  it('is reached by bound apps alone', async () => {
    expect(await reach(shop, ADDRESS, PORT)).toEqual({ ok: true, said: `machine hears ${shop.host}\n` });
    expect(await reach(blog, ADDRESS, PORT)).toEqual({ ok: false, said: 'ECONNREFUSED' });
  });

  it('is reached in no other way: not by its own port, from the machine itself, or from next door', async () => {
    expect(await reach(shop, gateway, DOOR)).toEqual({ ok: false, said: 'ECONNREFUSED' });
    expect(machine.fromHere(gateway, DOOR)).toBe('');
    expect(machine.fromNextDoor(gateway, DOOR)).toBe('');
  });
});

describe('a daemon that starts again', () => {
  it('leaves open what was, until it knows better', async () => {
    const machine = new Machine();
    await machine.start();
    const service = await machine.ask<Own>({ take: 'instance', app: 'db' });
    const shop = await machine.ask<Own>({ take: 'instance', app: SHOP });
    await machine.ask({ serve: service.namespace, port: PORT, stays: true });
    await machine.ask({ calls: [call(service)] });
    expect(await machine.ask({ keep: shop.namespace, host: ADDRESS, port: PORT })).toEqual({ word: 'open' });
    const elements = () =>
      machine
        .rules()
        .split('\n')
        .filter((line) => line.includes(`${shop.host} . ${ADDRESS}`));
    const sockets = () =>
      execFileSync('ip', ['netns', 'exec', shop.namespace, 'ss', '-tnH', 'dst', ADDRESS], { encoding: 'utf8' });
    await machine.kill();
    await machine.boot();
    await machine.ask({ adopt: [service, shop], app: SHOP });
    expect(elements()).toHaveLength(2);
    expect(sockets()).toMatch(/^ESTAB/);
    await machine.ask({ calls: [] });
    expect(elements()).toEqual([]);
    expect(sockets()).not.toMatch(/^ESTAB/);
    await machine.dispose();
  });
});
