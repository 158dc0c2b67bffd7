// How a node comes by its desired state at start: opens what it has, creates a new cluster, or joins one with an invite.

import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { asClusterId, type ClusterId, type NodeId } from '../crdt/ids.ts';
import { DesiredStore } from '../crdt/store.ts';
import { newToken } from './api/auth.ts';
import { type DataDir, DataDirError } from './data-dir.ts';
import type { Identity } from './identity.ts';
import { decodeInvite, type Invite } from './invite.ts';
import { joinCluster } from './joining.ts';
import type { NodeOptions } from './options.ts';
import type { Log } from './ports.ts';
import { joinThroughLink } from './router/join-client.ts';

export type ClusterState = {
  store: DesiredStore;
  cluster: ClusterId;
  psk: string;
  operatorToken: string;
  /** Addresses of members that the invite's answer named; empty when nothing was joined now. */
  addresses: Map<NodeId, string[]>;
};

const JOIN_TIMEOUT_MS = 20_000;

/** Fails with DataDirError, StoreError, InviteError, JoinFailedError, each one line; a failed join leaves the directory as it was. */
export async function openClusterState(
  dataDir: DataDir,
  options: NodeOptions,
  identity: Identity,
  log: Log,
): Promise<ClusterState> {
  const storeDir = dataDir.file('desired');
  await mkdir(storeDir, { recursive: true, mode: 0o700 });
  const invite = options.join === undefined ? undefined : decodeInvite(options.join);
  const known = await dataDir.readMembership();
  const isComplete = known !== undefined && (await DesiredStore.exists(storeDir, { log }));
  if (isComplete) {
    if (invite !== undefined && invite.cluster !== known.cluster) {
      throw new DataDirError(
        'other_cluster',
        `the data directory ${dataDir.path} belongs to another cluster than the invite: join with a fresh --data-dir`,
      );
    }
    const store = await DesiredStore.open(storeDir, { log });
    if (store.view().cluster.id !== known.cluster) {
      throw new DataDirError(
        'other_cluster',
        `${storeDir} holds another cluster's desired state than cluster.json names`,
      );
    }
    const { psk, operatorToken } = known;
    return { store, cluster: asClusterId(known.cluster), psk, operatorToken, addresses: new Map() };
  }
  if (invite !== undefined) return join(dataDir, storeDir, options, identity, invite, log);
  if (await DesiredStore.exists(storeDir, { log })) {
    throw new DataDirError(
      'damaged',
      `${dataDir.path} holds a desired state but no cluster.json: remove the directory and join again with an invite`,
    );
  }
  return create(dataDir, storeDir, options, identity, log);
}

async function create(
  dataDir: DataDir,
  storeDir: string,
  options: NodeOptions,
  identity: Identity,
  log: Log,
): Promise<ClusterState> {
  const cluster = randomBytes(16).toString('hex');
  const psk = randomBytes(32).toString('hex');
  const { token: operatorToken, tokenHash } = newToken();
  const author = { by: `operator@${options.name}`, atMs: Date.now() };
  // Written before the document: with either alone, the next start knows that the other was not finished.
  await dataDir.writeMembership({ cluster, psk, operatorToken });
  const store = await DesiredStore.create(
    storeDir,
    {
      clusterId: asClusterId(cluster),
      name: options.name,
      domain: options.domain,
      author,
      changes: [{ change: 'admitNode', node: identity.nodeId, name: options.name, operatorTokenHash: tokenHash }],
    },
    { log },
  );
  log.info('cluster.created', { cluster });
  return { store, cluster: asClusterId(cluster), psk, operatorToken, addresses: new Map() };
}

async function join(
  dataDir: DataDir,
  storeDir: string,
  options: NodeOptions,
  identity: Identity,
  invite: Invite,
  log: Log,
): Promise<ClusterState> {
  const { token: operatorToken, tokenHash } = newToken();
  const { snapshot, addresses } = await joinCluster(invite, {
    name: options.name,
    operatorTokenHash: tokenHash,
    ask: (link, expectedNode, request) =>
      joinThroughLink({ link, expectedNode, tls: identity.tls, request }, JOIN_TIMEOUT_MS),
  });
  const { cluster, psk } = invite;
  await dataDir.writeMembership({ cluster, psk, operatorToken });
  const store = await DesiredStore.join(storeDir, snapshot, asClusterId(cluster), { log });
  log.info('cluster.joined', { cluster, nodes: store.view().nodes.size });
  return { store, cluster: asClusterId(cluster), psk, operatorToken, addresses };
}
