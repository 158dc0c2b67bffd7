// Watches where this node is reached while it runs: the machine's addresses, which DHCP may change, and what the
// advertised name stands for. Says what to tell others and what they cannot use any more; tells nobody itself.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { parseHostPort } from '../lib/host-port.ts';
import { allAddresses, type Interfaces, isLoopback, isWildcard, outwardAddresses } from '../lib/machine-addresses.ts';
import { reachableAt } from './own-address.ts';

/** Reading the interfaces takes half a millisecond; in this time nobody has missed the node yet. */
export const ADDRESS_LOOK_INTERVAL_MS = 1_000;
/** A name server is asked this often what the advertised name stands for. */
export const NAME_LOOK_INTERVAL_MS = 15_000;
/** Addresses that are told beside the name they belong to. */
const NAME_ADDRESSES_MAX = 4;
/** Addresses remembered as having been this machine's. */
const ADDRESSES_REMEMBERED_MAX = 256;

export type AddressListener = {
  /** Others have to be told something else than before. */
  changed(): void;
  /** The machine has lost an address: what was connected over it hears nothing more. */
  lost(addresses: string[]): void;
};

export class AddressWatch {
  readonly #advertise: string | undefined;
  readonly #readInterfaces: () => Interfaces;
  readonly #resolve: (name: string) => Promise<string[]>;
  #interfaces: Interfaces;
  #has: ReadonlySet<string>;
  /** All it had since the start, so that a name that still stands for one of them is known to be out of date. */
  readonly #had = new Set<string>();
  /** What the advertised host stood for when that was asked last. */
  #resolved: string[] = [];
  #told: string;
  #listener: AddressListener | undefined;
  #timers: NodeJS.Timeout[] = [];
  #asking = false;

  constructor(options: {
    advertise?: string | undefined;
    interfaces?: () => Interfaces;
    resolve?: (name: string) => Promise<string[]>;
  }) {
    this.#advertise = options.advertise;
    this.#readInterfaces = options.interfaces ?? networkInterfaces;
    this.#resolve = options.resolve ?? addressesOfName;
    this.#interfaces = this.#readInterfaces();
    this.#has = allAddresses(this.#interfaces);
    this.#remember();
    if (this.#advertise !== undefined && isIP(this.#advertise) !== 0) this.#resolved = [this.#advertise];
    this.#told = this.#whatIsTold();
  }

  start(listener: AddressListener): void {
    this.#listener = listener;
    this.#timers.push(setInterval(() => this.look(), ADDRESS_LOOK_INTERVAL_MS).unref());
    if (this.#advertise === undefined || isIP(this.#advertise) !== 0) return;
    void this.lookUp();
    this.#timers.push(setInterval(() => void this.lookUp(), NAME_LOOK_INTERVAL_MS).unref());
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#listener = undefined;
  }

  /** Hosts that the operator wants told, best first; none while they lead to where this machine is no longer. */
  hosts(): string[] {
    if (this.#advertise === undefined || this.#isOutOfDate()) return [];
    return [...new Set([this.#advertise, ...this.#resolved.filter((ip) => !isLoopback(ip))])];
  }

  /** `host:port` for others, of a listener that is bound to `bound`. */
  reachableAt(bound: string): string {
    return reachableAt(bound, this.hosts()[0], this.#interfaces);
  }

  /** What the operator has to change, one line each. @param listeners what is bound, by the option that says so */
  warnings(listeners: Readonly<Record<string, string>>): string[] {
    const lines: string[] = [];
    for (const [option, bound] of Object.entries(listeners)) {
      const host = parseHostPort(bound)?.host ?? '';
      if (isIP(host) === 0 || isWildcard(host) || isLoopback(host) || this.#has.has(host)) continue;
      const port = parseHostPort(bound)?.port;
      lines.push(
        `it listens on ${bound}, but this machine has no address ${host} any more: nobody reaches it there; ` +
          `start it again with ${option} 0.0.0.0:${port}, or give the machine its address back`,
      );
    }
    if (this.#isOutOfDate()) {
      const stale = this.#resolved.join(', ');
      const what = stale === this.#advertise ? '' : `${this.#advertise} stands for ${stale}: `;
      lines.push(
        `--advertise is out of date: ${what}this machine has no address ${stale} any more, and others are told what it has; ` +
          'change the name, or start it again without --advertise',
      );
    }
    return lines;
  }

  /** Compares the machine's addresses with those it had. */
  look(): void {
    const interfaces = this.#readInterfaces();
    // Between two leases, or unplugged: nobody would hear of a change now, so what was told stands.
    if (outwardAddresses('::', interfaces).length === 0 && outwardAddresses('::', this.#interfaces).length > 0) return;
    const before = this.#has;
    this.#interfaces = interfaces;
    this.#has = allAddresses(interfaces);
    this.#remember();
    this.#compare();
    const lost = [...before].filter((ip) => !this.#has.has(ip));
    if (lost.length > 0) this.#listener?.lost(lost);
  }

  /** Asks what the advertised name stands for. A name server that fails changes nothing. */
  async lookUp(): Promise<void> {
    if (this.#asking || this.#advertise === undefined) return;
    this.#asking = true;
    try {
      const found = await this.#resolve(this.#advertise);
      if (found.length > 0) this.#resolved = found.slice(0, NAME_ADDRESSES_MAX).sort();
    } catch {
      // What it stood for before is the best guess.
    } finally {
      this.#asking = false;
    }
    this.#compare();
  }

  #compare(): void {
    const told = this.#whatIsTold();
    if (told === this.#told) return;
    this.#told = told;
    this.#listener?.changed();
  }

  #whatIsTold(): string {
    return JSON.stringify([this.hosts(), outwardAddresses('::', this.#interfaces)]);
  }

  /**
   * Somewhere else it may stand for a router that forwards to here; an address that was this machine's own is
   * nobody's, or another's.
   */
  #isOutOfDate(): boolean {
    return this.#resolved.length > 0 && this.#resolved.every((ip) => this.#had.has(ip) && !this.#has.has(ip));
  }

  #remember(): void {
    for (const ip of this.#has) {
      this.#had.delete(ip);
      this.#had.add(ip);
    }
    for (const oldest of this.#had) {
      if (this.#had.size <= ADDRESSES_REMEMBERED_MAX) break;
      this.#had.delete(oldest);
    }
  }
}

async function addressesOfName(name: string): Promise<string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}
