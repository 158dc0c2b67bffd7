// How a node comes by its desired state at start: opens what it has, creates a new cluster, or joins one with an
// invite.

import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import type { NamedChange } from '../../crdt/change.ts';
import { asClusterId, type ClusterId, type NodeId } from '../../crdt/ids.ts';
import { DesiredStore } from '../../crdt/store.ts';
import type { Identity } from '../identity/identity.ts';
import { newToken, tokenHashOf } from '../identity/tokens.ts';
import type { Log } from '../lib/log.ts';
import type { MembershipStore } from '../ports/membership.ts';
import { decodeInvite, type Invite } from './invite.ts';
import { type JoinTransport, joinCluster } from './joining.ts';

export type ClusterState = {
  store: DesiredStore;
  cluster: ClusterId;
  psk: string;
  operatorToken: string;
  /** Addresses of members that the invite's answer named; empty when nothing was joined now. */
  addresses: Map<NodeId, string[]>;
};

/** What opening a cluster needs of the node. */
export type Opening = {
  /** Where the membership is kept. */
  home: MembershipStore;
  /** `join`: an invite. `domain`: of a cluster that is created. */
  settings: { name: string; domain: string; join?: string | undefined };
  identity: Identity;
  askMember: JoinTransport;
  /** This node's public key, and the first key of a new cluster's secrets for it alone. */
  sealing: { sealKey: string; firstKey(): NamedChange };
  log: Log;
};

/** The data directory, the desired state in it and the invite do not go together. Nothing was changed. */
export class ClusterStateError extends Error {
  readonly code: 'other_cluster' | 'damaged';
  constructor(code: ClusterStateError['code'], message: string) {
    super(message);
    this.name = 'ClusterStateError';
    this.code = code;
  }
}

/**
 * Fails with ClusterStateError, DataDirError, StoreError, InviteError, JoinFailedError, each one line; a failed join
 * leaves the directory as it was.
 */
export async function openClusterState(opening: Opening): Promise<ClusterState> {
  const { home, settings, log } = opening;
  const storeDir = storeDirOf(opening);
  await mkdir(storeDir, { recursive: true, mode: 0o700 });
  const invite = settings.join === undefined ? undefined : decodeInvite(settings.join);
  const known = await home.readMembership().catch((error: unknown) => {
    // Joining again writes it anew.
    if (invite !== undefined && (error as { code?: unknown }).code === 'damaged') return undefined;
    throw error;
  });
  const hasStore = await DesiredStore.exists(storeDir, { log });
  if (known !== undefined && hasStore) {
    if (invite !== undefined && invite.cluster !== known.cluster) throw ofAnotherCluster(home);
    const store = await DesiredStore.open(storeDir, { log });
    if (store.view().cluster.id !== known.cluster) {
      await store.close();
      throw new ClusterStateError(
        'other_cluster',
        `${storeDir} holds another cluster's desired state than cluster.json names`,
      );
    }
    const { psk, operatorToken } = known;
    const state = { store, cluster: asClusterId(known.cluster), psk, operatorToken, addresses: new Map() };
    // Nobody who made the invite is known here: this copy is from before they came, and could not find them by itself.
    const isOlder = invite?.nodes.every(({ id }) => !store.view().nodes.has(id)) ?? false;
    return isOlder ? catchUp(opening, state, invite!) : state;
  }
  if (invite !== undefined) return join(opening, invite);
  if (hasStore) {
    throw new ClusterStateError(
      'damaged',
      `${home.path} holds a desired state but no cluster.json: join again with an invite from another node (on its stdin: peer start --join -)`,
    );
  }
  // Before its first life a founder may have ended between the two; afterwards it is a member of a cluster that goes
  // on.
  if (known !== undefined && (await home.hasLived())) {
    throw new ClusterStateError(
      'damaged',
      `${storeDir} holds no desired state, and this node has been a member of a cluster: join again with an invite from another node (on its stdin: peer start --join -), or found a new cluster with a fresh --data-dir`,
    );
  }
  return create(opening);
}

const storeDirOf = ({ home }: Opening): string => home.file('desired');

const ofAnotherCluster = (home: MembershipStore): ClusterStateError =>
  new ClusterStateError(
    'other_cluster',
    `the data directory ${home.path} belongs to another cluster than the invite: join with a fresh --data-dir`,
  );

async function create(opening: Opening): Promise<ClusterState> {
  const { home, settings, identity, sealing, log } = opening;
  const cluster = randomBytes(16).toString('hex');
  const psk = randomBytes(32).toString('hex');
  const { token: operatorToken, tokenHash } = newToken();
  const { name, domain } = settings;
  // Written before the document: with either alone, the next start knows that the other was not finished.
  await home.writeMembership({ cluster, psk, operatorToken });
  const store = await DesiredStore.create(
    storeDirOf(opening),
    {
      clusterId: asClusterId(cluster),
      name,
      domain,
      author: { by: `operator@${name}`, atMs: Date.now() },
      changes: [
        { change: 'admitNode', node: identity.nodeId, name, operatorTokenHash: tokenHash, sealKey: sealing.sealKey },
        sealing.firstKey(),
      ],
    },
    { log },
  );
  log.info('cluster.created', { cluster });
  return { store, cluster: asClusterId(cluster), psk, operatorToken, addresses: new Map() };
}

async function join(opening: Opening, invite: Invite): Promise<ClusterState> {
  const { home, log } = opening;
  const storeDir = storeDirOf(opening);
  const cluster = asClusterId(invite.cluster);
  // What was lost may have been cluster.json alone.
  const kept = (await DesiredStore.exists(storeDir, { log })) ? await DesiredStore.open(storeDir, { log }) : undefined;
  try {
    if (kept !== undefined && kept.clusterId !== cluster) throw ofAnotherCluster(home);
    const { token: operatorToken, tokenHash } = newToken();
    const { snapshot, addresses } = await ask(opening, invite, tokenHash);
    const { psk } = invite;
    await home.writeMembership({ cluster, psk, operatorToken });
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
async function catchUp(opening: Opening, state: ClusterState, invite: Invite): Promise<ClusterState> {
  const { log } = opening;
  try {
    const { snapshot, addresses } = await ask(opening, invite, tokenHashOf(state.operatorToken));
    await state.store.merge(snapshot);
    log.info('cluster.joined', { cluster: state.cluster, nodes: state.store.view().nodes.size });
    return { ...state, addresses };
  } catch (error) {
    log.warn('cluster.not_joined_again', { error });
    return state;
  }
}

const ask = ({ settings, askMember, sealing }: Opening, invite: Invite, operatorTokenHash: string) =>
  joinCluster(invite, { name: settings.name, operatorTokenHash, sealKey: sealing.sealKey, ask: askMember });
