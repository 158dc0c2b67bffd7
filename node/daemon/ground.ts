// What a node stands on: its data directory, its identity, and the cluster's desired state. Made first, closed last.

import { openClusterState } from '../admission/open-cluster.ts';
import { loadOrCreateIdentity, seedOf } from '../identity/identity.ts';
import type { Log } from '../lib/log.ts';
import { joinThroughLink } from '../router/join-client.ts';
import { Keyring } from '../secrets/keyring.ts';
import { newKeyFor } from '../secrets/new-key.ts';
import { nodeKeyOf } from '../secrets/wrap.ts';
import { DataDir } from './data-dir.ts';
import type { NodeOptions } from './options.ts';
import type { Shutdown } from './shutdown.ts';

const JOIN_TIMEOUT_MS = 20_000;

/** The node asks for something that this build or machine does not have. Nothing was started. */
export class StartError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export type Ground = Awaited<ReturnType<typeof layGround>>;

/** Fails with DataDirError, ClusterStateError, StoreError, InviteError, JoinFailedError or StartError. */
export async function layGround({ options, log, shutdown }: { options: NodeOptions; log: Log; shutdown: Shutdown }) {
  const dataDir = await DataDir.lock(options.dataDir);
  shutdown.add('data directory', () => dataDir.release());
  if (dataDir.opened.length > 0) log.warn('data_dir.made_private', { dir: dataDir.path, opened: dataDir.opened });
  const identity = await loadOrCreateIdentity(dataDir.path, options.unlock);
  const self = identity.nodeId;
  const seed = seedOf(identity);
  const { sealKey } = nodeKeyOf(seed);
  const { store, ...cluster } = await openClusterState({
    home: dataDir,
    settings: options,
    identity,
    askMember: (link, expectedNode, request) =>
      joinThroughLink({ link, expectedNode, tls: identity.tls, request }, JOIN_TIMEOUT_MS),
    sealing: { sealKey, firstKey: () => newKeyFor([{ id: self, sealKey }]) },
    log,
  });
  shutdown.add('desired state', () => store.close());
  const view = () => store.view();
  const keyring = new Keyring({ self, seed, view });
  if (view().removedNodes.has(self)) {
    throw new StartError(
      'node_removed',
      'this node was removed from the cluster: join again with an invite and a fresh --data-dir',
    );
  }
  const start = await dataDir.nextStart();
  const name = view().nodes.get(self)?.name ?? options.name;
  const nowMs = () => performance.now();
  return { options, log, dataDir, identity, self, name, store, view, keyring, start, nowMs, ...cluster };
}
