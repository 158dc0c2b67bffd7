// What connects a node with others and with the world: the router's process, gossip, and the addresses that it is
// reached at.

import { createGossip } from '../gossip/gossip.ts';
import { Standstill } from '../lib/standstill.ts';
import { startRouter } from '../router/handle.ts';
import { AddressWatch } from './address-watch.ts';
import type { Ground } from './ground.ts';
import type { Shutdown } from './shutdown.ts';

export type Lines = Awaited<ReturnType<typeof openLines>>;

/** The router listens from here on; gossip does when it is started. Fails with RouterError. */
export async function openLines(ground: Ground, shutdown: Shutdown) {
  const { options, log, dataDir, identity, self } = ground;
  const standstill = new Standstill();
  shutdown.add('standstill', () => standstill.stop());
  const { http, link, listen, advertise } = options;
  const blobsDir = dataDir.file('blobs');
  const router = await startRouter({ nodeId: self, tls: identity.tls, http, link, blobsDir, log });
  shutdown.add('router', () => router.close());
  const addressWatch = new AddressWatch({ advertise });
  const gossip = await createGossip({
    identity: { nodeId: self, privateKey: identity.privateKey },
    clusterId: ground.cluster,
    psk: Buffer.from(ground.psk, 'hex'),
    listen,
    advertise: () => addressWatch.hosts(),
    dataDir: dataDir.path,
    desired: ground.store,
    log,
    standstill,
  });
  shutdown.add('gossip', () => gossip.stop());
  /** What others are told; all of it may change while the node runs. */
  const reach = () => ({
    addresses: gossip.addresses(),
    link: addressWatch.reachableAt(router.link),
    http: addressWatch.reachableAt(router.http),
  });
  return { standstill, router, addressWatch, gossip, reach };
}
