// How a node comes by its desired state at start: opens what it has, creates a new cluster, or joins one with an invite.

import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { asClusterId, type ClusterId, type NodeId } from '../../crdt/ids.ts';
import { DesiredStore } from '../../crdt/store.ts';
import { newToken, tokenHashOf } from '../api/auth.ts';
import { type DataDir, DataDirError } from '../daemon/data-dir.ts';
import type { NodeOptions } from '../daemon/options.ts';
import type { Identity } from '../identity/identity.ts';
import type { Log } from '../ports.ts';
import { joinThroughLink } from '../router/join-client.ts';
import { decodeInvite, type Invite } from './invite.ts';
import { joinCluster } from './joining.ts';

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
  const known = await dataDir.readMembership().catch((error: unknown) => {
    // Joining again writes it anew.
    if (invite !== undefined && error instanceof DataDirError && error.code === 'damaged') return undefined;
    throw error;
  });
  const hasStore = await DesiredStore.exists(storeDir, { log });
  if (known !== undefined && hasStore) {
    if (invite !== undefined && invite.cluster !== known.cluster) throw ofAnotherCluster(dataDir);
    const store = await DesiredStore.open(storeDir, { log });
    if (store.view().cluster.id !== known.cluster) {
      await store.close();
      throw new DataDirError(
        'other_cluster',
        `${storeDir} holds another cluster's desired state than cluster.json names`,
      );
    }
    const { psk, operatorToken } = known;
    const state = { store, cluster: asClusterId(known.cluster), psk, operatorToken, addresses: new Map() };
    // Nobody who made the invite is known here: this copy is from before they came, and could not find them by itself.
    const isOlder = invite?.nodes.every(({ id }) => !store.view().nodes.has(id)) ?? false;
    return isOlder ? catchUp(state, options, identity, invite!, log) : state;
  }
  if (invite !== undefined) return join(dataDir, storeDir, options, identity, invite, log);
  if (hasStore) {
    throw new DataDirError(
      'damaged',
      `${dataDir.path} holds a desired state but no cluster.json: join again with an invite from another node (on its stdin: peer start --join -)`,
    );
  }
  // Before its first life a founder may have ended between the two; afterwards it is a member of a cluster that goes on.
  if (known !== undefined && (await dataDir.hasLived())) {
    throw new DataDirError(
      'damaged',
      `${storeDir} holds no desired state, and this node has been a member of a cluster: join again with an invite from another node (on its stdin: peer start --join -), or found a new cluster with a fresh --data-dir`,
    );
  }
  return create(dataDir, storeDir, options, identity, log);
}

const ofAnotherCluster = (dataDir: DataDir): DataDirError =>
  new DataDirError(
    'other_cluster',
    `the data directory ${dataDir.path} belongs to another cluster than the invite: join with a fresh --data-dir`,
  );

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
  const cluster = asClusterId(invite.cluster);
  // What was lost may have been cluster.json alone.
  const kept = (await DesiredStore.exists(storeDir, { log })) ? await DesiredStore.open(storeDir, { log }) : undefined;
  try {
    if (kept !== undefined && kept.clusterId !== cluster) throw ofAnotherCluster(dataDir);
    const { token: operatorToken, tokenHash } = newToken();
    const { snapshot, addresses } = await ask(options, identity, invite, tokenHash);
    const { psk } = invite;
    await dataDir.writeMembership({ cluster, psk, operatorToken });
    await kept?.merge(snapshot);
    const store = kept ?? (await DesiredStore.join(storeDir, snapshot, cluster, { log }));
    log.info('cluster.joined', { cluster, nodes: store.view().nodes.size });
    return { store, cluster, psk, operatorToken, addresses };
  } catch (error) {
    await kept?.close();
    throw error;
  }
}

/** With an invite to a cluster that this node is a member of. One that is no good any more is not needed either. */
async function catchUp(
  state: ClusterState,
  options: NodeOptions,
  identity: Identity,
  invite: Invite,
  log: Log,
): Promise<ClusterState> {
  try {
    const { snapshot, addresses } = await ask(options, identity, invite, tokenHashOf(state.operatorToken));
    await state.store.merge(snapshot);
    log.info('cluster.joined', { cluster: state.cluster, nodes: state.store.view().nodes.size });
    return { ...state, addresses };
  } catch (error) {
    log.warn('cluster.not_joined_again', { error });
    return state;
  }
}

const ask = (options: NodeOptions, identity: Identity, invite: Invite, operatorTokenHash: string) =>
  joinCluster(invite, {
    name: options.name,
    operatorTokenHash,
    ask: (link, expectedNode, request) =>
      joinThroughLink({ link, expectedNode, tls: identity.tls, request }, JOIN_TIMEOUT_MS),
  });
