// Announces this node on the local network and hears of others of its cluster. What it hears is only a hint where to
// knock: anyone on the network can announce anything, and the key exchange decides.

import { createHash } from 'node:crypto';
import type { ComponentLogger, PeerDiscovery, PeerInfo, Startable } from '@libp2p/interface';
import { multiaddr } from '@multiformats/multiaddr';
import type { ClusterId } from '../../crdt/ids.ts';
import type { Log } from '../lib/log.ts';
import { isLoopback } from '../lib/machine-addresses.ts';
import type { ListenAddress } from './addresses.ts';
import { reasonOf } from './errors.ts';
import { DISCOVERY_INTERVAL_MS } from './limits.ts';

/** Nothing is announced where nobody else could hear it. */
export const wantsDiscovery = (listen: ListenAddress): boolean => !isLoopback(listen.ip);

export class LanDiscovery {
  readonly #clusterId: ClusterId;
  readonly #addresses: () => string[];
  readonly #logger: ComponentLogger;
  readonly #log: Log;
  readonly #found: (node: string, addresses: string[]) => void;
  #running: (PeerDiscovery & Startable) | undefined;

  /** `addresses` with the peer id; `found` is called again with every announcement. */
  constructor(options: {
    clusterId: ClusterId;
    addresses: () => string[];
    logger: ComponentLogger;
    log: Log;
    found: (node: string, addresses: string[]) => void;
  }) {
    this.#clusterId = options.clusterId;
    this.#addresses = options.addresses;
    this.#logger = options.logger;
    this.#log = options.log;
    this.#found = options.found;
  }

  /** A network without multicast costs a line in the log, not the node. */
  async start(): Promise<void> {
    try {
      const { mdns } = await import('@libp2p/mdns');
      // Names the cluster only to those who know its id.
      const tag = createHash('sha256').update(`peer lan discovery ${this.#clusterId}`).digest('hex').slice(0, 8);
      const create = mdns({ serviceTag: `_peer-${tag}._udp.local`, interval: DISCOVERY_INTERVAL_MS });
      // Run on its own and not by the host, which would remember every id that anyone announces, and tell of each only
      // once.
      const addressManager = { getAddresses: () => this.#addresses().map((address) => multiaddr(address)) };
      const running = create({ addressManager, logger: this.#logger } as Parameters<
        typeof create
      >[0]) as PeerDiscovery & Startable;
      running.addEventListener('peer', (event: CustomEvent<PeerInfo>) => {
        const { id, multiaddrs } = event.detail;
        this.#found(
          id.toString(),
          multiaddrs.map((address) => address.toString()),
        );
      });
      await running.start();
      this.#running = running;
    } catch (error) {
      this.#log.warn('gossip.discovery_unavailable', { reason: reasonOf(error) });
    }
  }

  async stop(): Promise<void> {
    await this.#running?.stop();
    this.#running = undefined;
  }
}
