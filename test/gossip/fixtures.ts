// Identities and messages for the tests. Imports no test runner, so that child processes can use it.

import { generateKeyPair } from '@libp2p/crypto/keys';
import { peerIdFromPrivateKey } from '@libp2p/peer-id';
import { asClusterId, type NodeId } from '../../crdt/ids.ts';
import type { Report } from '../../node/core/types.ts';
import type { GossipOptions } from '../../node/gossip/gossip-options.ts';

export const CLUSTER = asClusterId('0123456789abcdef0123456789abcdef');
export const PSK = new Uint8Array(32).fill(7);

export type Identity = GossipOptions['identity'];

export async function newIdentity(): Promise<Identity> {
  const privateKey = await generateKeyPair('Ed25519');
  return { nodeId: peerIdFromPrivateKey(privateKey).toString() as NodeId, privateKey };
}

export function reportOf(node: NodeId, sequence: number, extra: Partial<Report> = {}): Report {
  return {
    node,
    incarnation: 1,
    sequence,
    name: 'n',
    status: 'alive',
    version: '0',
    addresses: [],
    link: '',
    api: '',
    http: '',
    arch: 'x64',
    stacks: [],
    runtimes: [],
    labels: {},
    memoryBytes: 1,
    load: 0,
    instances: [],
    droplets: [],
    heads: [],
    ...extra,
  };
}
