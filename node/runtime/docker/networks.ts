// Keeps one bridge network per app that has instances here. What may pass between them and everything else is decided
// in network/policy.ts; on one network, instances do not reach each other either.

import { createHash } from 'node:crypto';
import type Docker from 'dockerode';
import type { AppId } from '../../../crdt/ids.ts';
import { RuntimeError } from '../errors.ts';
import { APP_LABEL, NODE_LABEL } from './labels.ts';

/**
 * Set aside for measuring networks, so neither a LAN nor the internet uses it; the half of that in which services have
 * no addresses. Cut into networks of 64 addresses: the engine's own pools hold 31 networks in all.
 * @see https://www.rfc-editor.org/rfc/rfc2544
 */
const POOL_BASE = (198 << 24) | (19 << 16);
const POOL_BITS = 16;
const SUBNET_BITS = 26;
const SUBNETS = 2 ** (SUBNET_BITS - POOL_BITS);
/** Other nodes on this machine take subnets from the same pool. */
const SUBNET_TRIES_MAX = 64;
/** Five seconds in all: on a busy machine an engine takes its time to let go of a container. */
const REMOVE_TRIES_MAX = 9;

/** Start of the names of a node's bridges; a name of an interface has 15 characters at most. */
export function bridgePrefix(node: string): string {
  return `pr${digest(node).toString('hex').slice(0, 6)}`;
}

export function bridgeName(node: string, app: AppId): string {
  return `${bridgePrefix(node)}${digest(app).toString('hex').slice(0, 7)}`;
}

/** The n-th subnet of the pool. */
export function subnet(n: number): string {
  const address = (POOL_BASE + (n % SUBNETS) * 2 ** (32 - SUBNET_BITS)) >>> 0;
  const bytes = [24, 16, 8, 0].map((shift) => (address >>> shift) & 255);
  return `${bytes.join('.')}/${SUBNET_BITS}`;
}

type Entry = { users: number; ready: Promise<void> };

export class AppNetworks {
  readonly #docker: Docker;
  readonly #node: string;
  readonly #entries = new Map<AppId, Entry>();

  constructor(docker: Docker, node: string) {
    this.#docker = docker;
    this.#node = node;
  }

  /** Name of the app's network, which is there until `release` was called as often. */
  async acquire(app: AppId): Promise<string> {
    const entry = this.#entries.get(app) ?? { users: 0, ready: Promise.resolve() };
    this.#entries.set(app, entry);
    if (entry.users++ === 0) entry.ready = entry.ready.then(() => this.#create(app));
    try {
      await entry.ready;
    } catch (error) {
      entry.users--;
      // The next one tries again.
      if (this.#entries.get(app) === entry && entry.users === 0) this.#entries.delete(app);
      throw error;
    }
    return this.#name(app);
  }

  /** For an adopted instance: its network is there. */
  hold(app: AppId): void {
    const entry = this.#entries.get(app) ?? { users: 0, ready: Promise.resolve() };
    entry.users++;
    this.#entries.set(app, entry);
  }

  async release(app: AppId): Promise<void> {
    const entry = this.#entries.get(app);
    if (entry === undefined || --entry.users > 0) return;
    entry.ready = entry.ready.then(() => this.#remove(this.#name(app)));
    await entry.ready;
    if (entry.users === 0 && this.#entries.get(app) === entry) this.#entries.delete(app);
  }

  /** Removes the node's networks that no instance holds. */
  async sweep(): Promise<void> {
    const filters = { label: [`${NODE_LABEL}=${this.#node}`] };
    const networks = await this.#docker.listNetworks({ filters: JSON.stringify(filters) as never });
    const held = new Set([...this.#entries.keys()].map((app) => this.#name(app)));
    await Promise.all(networks.filter(({ Name }) => !held.has(Name)).map(({ Name }) => this.#remove(Name)));
  }

  #name(app: AppId): string {
    return `peer-${bridgeName(this.#node, app)}`;
  }

  async #create(app: AppId): Promise<void> {
    const first = digest(`${this.#node} ${app}`).readUInt32BE(0);
    for (let tries = 0; tries < SUBNET_TRIES_MAX; tries++) {
      try {
        await this.#docker.createNetwork({
          Name: this.#name(app),
          Driver: 'bridge',
          CheckDuplicate: true,
          EnableIPv6: false,
          IPAM: { Config: [{ Subnet: subnet(first + tries) }] },
          Labels: { [NODE_LABEL]: this.#node, [APP_LABEL]: app },
          Options: {
            'com.docker.network.bridge.name': bridgeName(this.#node, app),
            'com.docker.network.bridge.enable_icc': 'false',
          },
        });
        return;
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        if (/already exists|already used/i.test(message) && !/subnet|pool|address/i.test(message)) return;
        if (!/overlap|already (being )?used|in use|conflict/i.test(message)) {
          throw new RuntimeError('engine_unusable', `the engine made no network for the app: ${message}`, {
            cause: error,
          });
        }
      }
    }
    throw new RuntimeError(
      'engine_unusable',
      `found no free network in ${SUBNET_TRIES_MAX} tries in ${subnet(0).replace(/\/.*/, `/${POOL_BITS}`)}`,
    );
  }

  /** The engine may still be taking the last container off it. */
  async #remove(name: string): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#docker.getNetwork(name).remove();
        return;
      } catch (error) {
        if ((error as { statusCode?: number }).statusCode === 404 || tries === REMOVE_TRIES_MAX) return;
        await new Promise((resolve) => setTimeout(resolve, 2 ** tries * 10));
      }
    }
  }
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
