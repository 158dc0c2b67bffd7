// Builds the libp2p host: TCP, private-network key, noise, yamux, identify and gossipsub, each with its bounds.
// Configuration only; who may connect and what is said is decided elsewhere.

import { type GossipSub, gossipsub, type Message } from '@chainsafe/libp2p-gossipsub';
import { noise } from '@chainsafe/libp2p-noise';
import { type Identify, identify } from '@libp2p/identify';
import type { ComponentLogger, ConnectionGater, Libp2p, Logger, PrivateKey } from '@libp2p/interface';
import { preSharedKey } from '@libp2p/pnet';
import { tcp } from '@libp2p/tcp';
import { multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import { type ListenAddress, toMultiaddr } from './addresses.ts';
import * as limits from './limits.ts';
import { yamux } from './muxer.ts';

export type HostServices = { identify: Identify; pubsub: GossipSub };
export type Host = Libp2p<HostServices>;

export type HostOptions = {
  privateKey: PrivateKey;
  psk: string | Uint8Array;
  listen: ListenAddress;
  gater: ConnectionGater;
  topics: string[];
  /** What to tell others, with the peer id; asked whenever it is needed. */
  advertised: () => string[];
};

/**
 * Goes to Node's connect() as it is: `timeout` bounds the wait for the host to accept, which libp2p does not bound
 * apart.
 */
const accepting = {
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: limits.TCP_KEEP_ALIVE_DELAY_MS,
  timeout: limits.DIAL_ACCEPT_TIMEOUT_MS,
};

/** Not started yet. */
export async function createHost(options: HostOptions): Promise<Host> {
  return createLibp2p<HostServices>({
    start: false,
    logger: silent,
    privateKey: options.privateKey,
    nodeInfo: { name: 'peer', version: '1', userAgent: 'peer' },
    addresses: {
      listen: [toMultiaddr(options.listen.ip, options.listen.port)],
      announceFilter: () => options.advertised().map((address) => multiaddr(address)),
    },
    transports: [
      tcp({
        maxConnections: limits.CONNECTIONS_MAX + limits.CONNECTIONS_PENDING_MAX,
        backlog: limits.LISTEN_BACKLOG,
        dialOpts: accepting,
        listenOpts: { noDelay: true, keepAlive: true, keepAliveInitialDelay: limits.TCP_KEEP_ALIVE_DELAY_MS },
      }),
    ],
    connectionProtector: preSharedKey({ psk: swarmKey(options.psk) }),
    connectionEncrypters: [noise()],
    streamMuxers: [
      yamux({
        maxInboundStreams: limits.STREAMS_PER_CONNECTION_MAX,
        maxOutboundStreams: limits.STREAMS_PER_CONNECTION_MAX,
        maxEarlyStreams: limits.STREAMS_PER_CONNECTION_MAX,
        streamOptions: {
          maxStreamWindowSize: limits.STREAM_WINDOW_BYTES_MAX,
          maxReadBufferLength: limits.STREAM_UNREAD_BYTES_MAX,
        },
      }),
    ],
    connectionGater: options.gater,
    connectionManager: {
      maxConnections: limits.CONNECTIONS_MAX,
      maxParallelDials: limits.DIALS_PARALLEL_MAX,
      maxDialQueueLength: limits.ADDRESS_BOOK_NODES_MAX,
      maxPeerAddrsToDial: limits.ADDRESSES_PER_NODE_MAX,
      dialTimeout: limits.DIAL_TIMEOUT_MS,
      addressDialTimeout: limits.DIAL_ADDRESS_TIMEOUT_MS,
      // The order of the address book is the order to dial in.
      addressSorter: () => 0,
      inboundConnectionThreshold: limits.INBOUND_PER_HOST_PER_SECOND_MAX,
      maxIncomingPendingConnections: limits.CONNECTIONS_PENDING_MAX,
      inboundUpgradeTimeout: limits.INBOUND_UPGRADE_TIMEOUT_MS,
      inboundStreamProtocolNegotiationTimeout: limits.STREAM_OPEN_TIMEOUT_MS,
      outboundStreamProtocolNegotiationTimeout: limits.STREAM_OPEN_TIMEOUT_MS,
      reconnectRetries: 0,
    },
    // The core probes neighbours itself; a second judge with other time-outs would only contradict it.
    connectionMonitor: { enabled: false },
    services: {
      identify: identify({ maxInboundStreams: 4, maxOutboundStreams: 4 }),
      pubsub: gossipsub({
        globalSignaturePolicy: 'StrictSign',
        allowedTopics: options.topics,
        emitSelf: false,
        fallbackToFloodsub: false,
        // One's own messages go to every neighbour at once; the mesh carries them to the rest.
        floodPublish: true,
        allowPublishToZeroTopicPeers: true,
        ignoreDuplicatePublishError: true,
        doPX: false,
        tagMeshPeers: false,
        heartbeatInterval: limits.GOSSIP_HEARTBEAT_MS,
        D: limits.GOSSIP_MESH.aim,
        Dlo: limits.GOSSIP_MESH.min,
        Dhi: limits.GOSSIP_MESH.max,
        Dscore: limits.GOSSIP_MESH.min,
        Dout: 1,
        msgIdFn: messageId,
        Dlazy: limits.GOSSIP_LAZY_NEIGHBOURS,
        gossipFactor: 0,
        mcacheLength: 3,
        mcacheGossip: 2,
        seenTTL: limits.GOSSIP_SEEN_TTL_MS,
        maxInboundStreams: 4,
        maxOutboundStreams: 4,
        maxInboundDataLength: limits.GOSSIP_FRAME_BYTES_MAX,
        maxOutboundBufferSize: limits.GOSSIP_UNSENT_BYTES_MAX,
        decodeRpcLimits: {
          maxSubscriptions: 16,
          maxMessages: 1_000,
          maxIhaveMessageIDs: 5_000,
          maxIwantMessageIDs: 5_000,
          maxIdontwantMessageIDs: 512,
          maxControlMessages: 1_000,
          maxPeerInfos: 0,
        },
        // Everyone behind the gate is trusted, and many nodes may share one address: no scores.
        scoreParams: { IPColocationFactorWeight: 0, behaviourPenaltyWeight: 0, retainScore: 0 },
      }),
    },
  });
}

/**
 * Half as long as gossipsub's own id, and as good among nodes that are admitted: it travels more often than its
 * message.
 */
function messageId(message: Message): Uint8Array {
  if (message.type !== 'signed') return new Uint8Array(0);
  const id = new Uint8Array(16);
  new DataView(id.buffer).setBigUint64(0, message.sequenceNumber);
  id.set(message.from.toMultihash().digest.slice(-8), 8);
  return id;
}

/** libp2p's swarm key text, from that text or from the 32 bytes of the key. */
export function swarmKey(psk: string | Uint8Array): Uint8Array {
  const header = '/key/swarm/psk/1.0.0/\n/base16/\n';
  const text = typeof psk === 'string' ? psk.trim() : header + Buffer.from(psk).toString('hex');
  if (!/^\/key\/swarm\/psk\/1\.0\.0\/\r?\n\/base16\/\r?\n[0-9a-f]{64}$/i.test(text)) {
    throw new Error(
      'the private-network key is damaged: expected a libp2p swarm key of 32 bytes; take it anew from an invite',
    );
  }
  return new TextEncoder().encode(text.replaceAll('\r', ''));
}

// libp2p's own log would cost a formatter per stream; what matters is logged by its users.
const nothing: Logger = Object.assign(() => undefined, {
  error: () => undefined,
  trace: () => undefined,
  enabled: false,
  newScope: () => nothing,
});
export const silent: ComponentLogger = { forComponent: () => nothing };
