// A libp2p host without our rules, for playing a node that misbehaves: it says whatever bytes a test wants.

import type { ConnectionGater } from '@libp2p/interface';
import { peerIdFromString } from '@libp2p/peer-id';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import type { NodeId } from '../../crdt/ids.ts';
import { createHost, type Host } from '../../node/gossip/host.ts';
import { RpcServer } from '../../node/gossip/rpc-server.ts';
import { type TopicNames, topicNames } from '../../node/gossip/topics.ts';
import { anyMethod } from './any-method.ts';
import type { TestNode } from './cluster.ts';
import { CLUSTER, type Identity, newIdentity, PSK } from './fixtures.ts';
import { collectingLog } from './twins.ts';

export type RawPeer = {
  id: NodeId;
  host: Host;
  topics: TopicNames;
  /** Where it listens, though it tells nobody. */
  listening: readonly Multiaddr[];
  connect(node: TestNode): Promise<void>;
  joinTopics(node: TestNode): Promise<void>;
  /** Answers a request of the name with what is given. */
  answer(method: string, reply: () => unknown): Promise<void>;
  stop(): Promise<void>;
};

export async function rawPeer(
  options: { psk?: Uint8Array; identity?: Identity; gater?: ConnectionGater } = {},
): Promise<RawPeer> {
  const identity = options.identity ?? (await newIdentity());
  const topics = topicNames(CLUSTER);
  const host = await createHost({
    privateKey: identity.privateKey,
    psk: options.psk ?? PSK,
    listen: { ip: '127.0.0.1', port: 0 },
    gater: { denyDialMultiaddr: () => false, ...options.gater },
    topics: Object.values(topics),
    advertised: () => [],
  });
  const listening: Multiaddr[] = [];
  host.addEventListener('transport:listening', (event) => listening.push(...event.detail.getAddrs()));
  await host.start();
  return {
    listening,
    id: identity.nodeId,
    host,
    topics,
    async connect(node) {
      await host.dial(
        node.gossip.addresses().map((address) => multiaddr(address)),
        { signal: AbortSignal.timeout(5_000) },
      );
    },
    /** Waits until what it publishes reaches the node. */
    async joinTopics(node) {
      for (const topic of Object.values(topics)) host.services.pubsub.subscribe(topic);
      const streams = host.services.pubsub as unknown as { streamsOutbound: Map<string, unknown> };
      const deadline = Date.now() + 10_000;
      while (
        !streams.streamsOutbound.has(node.id) ||
        !host.services.pubsub.getSubscribers(topics.reports).some((peer) => peer.equals(peerIdFromString(node.id)))
      ) {
        if (Date.now() > deadline) throw new Error('the node did not join the topics');
        await new Promise((resolve) => setImmediate(resolve));
      }
    },
    async answer(method, reply) {
      const server = new RpcServer(collectingLog());
      server.handle(anyMethod(method), async () => reply());
      await host.handle(`/peer/${CLUSTER}/rpc/1`, (stream, connection) => server.serve(stream, connection));
    },
    async stop() {
      await host.stop();
    },
  };
}
