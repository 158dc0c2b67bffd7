// What a node tells others of where it is, as its machine's addresses and its advertised name's change.

import type { NetworkInterfaceInfo } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { AddressWatch } from '../../node/daemon/address-watch.ts';

const LISTENERS = { '--listen': '0.0.0.0:7601', '--link': '0.0.0.0:7602' };

/** A machine whose addresses and name server change when a test says so. */
class Machine {
  addresses: string[];
  named: string[] = [];
  nameServerFails = false;
  changes = 0;
  readonly lost: string[] = [];
  readonly watch: AddressWatch;

  constructor(addresses: string[], options: { advertise?: string; named?: string[] } = {}) {
    this.addresses = addresses;
    this.named = options.named ?? [];
    this.watch = new AddressWatch({
      advertise: options.advertise,
      interfaces: () => ({
        lo: [{ address: '127.0.0.1', family: 'IPv4', internal: true } as NetworkInterfaceInfo],
        eth0: this.addresses.map((address) => ({ address, family: 'IPv4', internal: false }) as NetworkInterfaceInfo),
      }),
      resolve: async () => {
        if (this.nameServerFails) throw new Error('no answer');
        return this.named;
      },
    });
    this.watch.start({ changed: () => this.changes++, lost: (lost) => this.lost.push(...lost) });
  }

  move(...addresses: string[]): void {
    this.addresses = addresses;
    this.watch.look();
  }

  get link(): string {
    return this.watch.reachableAt('0.0.0.0:7602');
  }
}

const machines: Machine[] = [];
function machine(...options: ConstructorParameters<typeof Machine>): Machine {
  const made = new Machine(...options);
  machines.push(made);
  return made;
}
afterEach(() => {
  for (const { watch } of machines.splice(0)) watch.stop();
});

describe('a machine that gets another address', () => {
  it('is told to be there, and what it lost is named', () => {
    const host = machine(['10.0.0.5']);
    host.watch.look();
    expect([host.link, host.changes, host.lost]).toEqual(['10.0.0.5:7602', 0, []]);
    host.move('10.0.0.9');
    expect([host.link, host.changes, host.lost]).toEqual(['10.0.0.9:7602', 1, ['10.0.0.5']]);
  });

  it('keeps the old one while it has both', () => {
    const host = machine(['10.0.0.5']);
    host.move('10.0.0.5', '10.0.0.9');
    expect([host.link, host.lost]).toEqual(['10.0.0.5:7602', []]);
    host.move('10.0.0.9');
    expect([host.link, host.lost]).toEqual(['10.0.0.9:7602', ['10.0.0.5']]);
  });

  it('is told nothing new while it has none', () => {
    const host = machine(['10.0.0.5']);
    host.move();
    expect([host.link, host.changes, host.lost]).toEqual(['10.0.0.5:7602', 0, []]);
    host.move('10.0.0.9');
    expect([host.link, host.changes, host.lost]).toEqual(['10.0.0.9:7602', 1, ['10.0.0.5']]);
  });

  it('warns of listeners that stay behind, with what to do', () => {
    const host = machine(['10.0.0.5']);
    const bound = { ...LISTENERS, '--link': '10.0.0.5:7602', '--http': '127.0.0.1:8080' };
    expect(host.watch.warnings(bound)).toEqual([]);
    host.move('10.0.0.9');
    expect(host.watch.warnings(bound)).toEqual([
      'it listens on 10.0.0.5:7602, but this machine has no address 10.0.0.5 any more: nobody reaches it there; ' +
        'start it again with --link 0.0.0.0:7602, or give the machine its address back',
    ]);
    host.move('10.0.0.5');
    expect(host.watch.warnings(bound)).toEqual([]);
  });
});

describe('an advertised name', () => {
  it('is told, and what it stands for beside it', async () => {
    const host = machine(['10.0.0.5'], { advertise: 'one.example', named: ['203.0.113.7'] });
    await host.watch.lookUp();
    expect([host.link, host.watch.hosts()]).toEqual(['one.example:7602', ['one.example', '203.0.113.7']]);
    host.named = ['203.0.113.8'];
    const before = host.changes;
    await host.watch.lookUp();
    expect([host.watch.hosts(), host.changes]).toEqual([['one.example', '203.0.113.8'], before + 1]);
    host.nameServerFails = true;
    await host.watch.lookUp();
    expect(host.watch.hosts()).toEqual(['one.example', '203.0.113.8']);
  });

  it('gives way to the machine’s own address while it stands for one that the machine has lost', async () => {
    const host = machine(['10.0.0.5'], { advertise: 'one.example', named: ['10.0.0.5'] });
    await host.watch.lookUp();
    host.move('10.0.0.9');
    expect([host.link, host.watch.hosts()]).toEqual(['10.0.0.9:7602', []]);
    expect(host.watch.warnings(LISTENERS)).toEqual([expect.stringContaining('one.example stands for 10.0.0.5: ')]);
    host.named = ['10.0.0.9'];
    await host.watch.lookUp();
    expect([host.link, host.watch.warnings(LISTENERS)]).toEqual(['one.example:7602', []]);
  });

  it('as an address that the machine has lost gives way, too', () => {
    const host = machine(['10.0.0.5'], { advertise: '10.0.0.5' });
    expect(host.link).toBe('10.0.0.5:7602');
    host.move('10.0.0.9');
    expect(host.link).toBe('10.0.0.9:7602');
    expect(host.watch.warnings(LISTENERS)).toEqual([expect.stringContaining('--advertise is out of date')]);
  });

  it('that leads to a router of the network stays as it is', async () => {
    const host = machine(['10.0.0.5'], { advertise: '203.0.113.7' });
    host.move('10.0.0.9');
    expect([host.link, host.watch.warnings(LISTENERS)]).toEqual(['203.0.113.7:7602', []]);
  });
});
