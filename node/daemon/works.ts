// What a node works with: blobs, logs, the isolation of this machine, the stager and the runtime.

import { createBlobStore } from '../blobs/store.ts';
import { Late } from '../lib/late.ts';
import type { Room } from '../ports/blobs.ts';
import type { CachePeers } from '../ports/staging.ts';
import { chooseRuntime } from '../runtime/choose.ts';
import { createLogStore } from '../runtime/logs/store.ts';
import { raiseShield } from '../runtime/network/shield.ts';
import type { Isolation } from '../runtime/sandbox/confinement.ts';
import { closeIsolation, prepareIsolation } from '../runtime/sandbox/isolation.ts';
import { createSandbox } from '../runtime/sandbox/staging-sandbox.ts';
import { volumeUids } from '../runtime/sandbox/users.ts';
import { createVolumeTools } from '../runtime/sandbox/volume-tools.ts';
import { type Engines, engineFor, engineNames, findEngines, kindOf } from '../services/catalogue.ts';
import { Contexts } from '../services/contexts.ts';
import { Launching } from '../services/launching.ts';
import { machine } from '../services/machine.ts';
import { hostStack } from '../staging/stack.ts';
import { createStager } from '../staging/stager.ts';
import { Differences } from '../volumes/difference.ts';
import { Snapshots } from '../volumes/snapshot.ts';
import { VolumeStore } from '../volumes/store.ts';
import type { Ground } from './ground.ts';
import type { Shutdown } from './shutdown.ts';

export type Works = Awaited<ReturnType<typeof makeWorks>>;

/**
 * None where an engine would listen on the machine's own network: open to all who reach the machine, and two of a kind
 * at one port.
 */
export async function enginesFor(
  { bwrap, networks }: Pick<Isolation, 'bwrap' | 'networks'>,
  log: Ground['log'],
): Promise<Engines> {
  if (bwrap === undefined) return new Map();
  const found = await findEngines(machine);
  if (networks !== undefined || found.size === 0) return found;
  const message = `this node runs no services, though it has ${engineNames(found).join(', ')}: its instances share the machine's network, where each would be open to all; start it as root`;
  log.warn('services.none', { message });
  return new Map();
}

/**
 * Nothing runs yet. Fails with RuntimeError where this machine cannot isolate instances and it was not told to do
 * without.
 */
export async function makeWorks(ground: Ground, shutdown: Shutdown) {
  const { options, log, dataDir, self, view } = ground;
  const stack = hostStack();
  /** How much room there is for blobs, and the caches of other nodes: asked of parts that are made of these. */
  const room = new Late<() => Room>('the budget of blobs');
  const cachePeers = new Late<CachePeers>('the build caches');
  const logs = createLogStore({ dataDir: dataDir.path, nodeId: self, log });
  shutdown.add('logs', () => logs.close());
  const blobs = await createBlobStore({ dir: dataDir.file('blobs'), room: () => room.it() });
  shutdown.add('blobs', () => blobs.close());
  const isolation = await prepareIsolation({
    dataDir: dataDir.path,
    nodeId: self,
    log,
    insecure: options.insecureProcessRuntime,
    allowNetworks: options.allowNetworks,
  });
  shutdown.add('isolation', (how) => closeIsolation(isolation, how));
  if (isolation.networks === undefined) {
    // Only what shares the machine's network can be reached past the router.
    const shield = await raiseShield({ nodeId: self, log, ownUsers: isolation.ownUsers });
    shutdown.add('shield', ({ keepInstances }) => (keepInstances ? undefined : shield?.lower()));
  }
  const sandbox = createSandbox(isolation);
  const bringNewer: CachePeers['bringNewer'] = (...question) => cachePeers.it.bringNewer(...question);
  const stager = await createStager({ dataDir: dataDir.path, sandbox, blobs, log, stack, cachePeers: { bringNewer } });
  const volumes = await VolumeStore.open({
    dataDir: dataDir.path,
    users: isolation.ownUsers ? volumeUids(self) : undefined,
    hardQuotas: isolation.ownDisks,
    wanted: (id) => {
      const volume = view().volumes.get(id);
      return volume?.node === self ? volume.lineage : undefined;
    },
    log,
  });
  shutdown.add('volumes', () => volumes.close());
  const engines = await enginesFor(isolation, log);
  const contexts = new Contexts({
    kindOf,
    engineOf: (kind, version) => engineFor(engines, kind, version),
    open: (...sealed) => ground.keyring.open(...sealed),
  });
  const policy = { allowed: options.allowNetworks };
  const runtime = await chooseRuntime({
    wanted: options.runtime,
    nodeId: self,
    isolation,
    stack,
    blobs,
    policy,
    volumes,
    services: new Launching({ view, contexts }),
    logs,
    log,
  });
  shutdown.add('runtime', (how) => runtime.close(how));
  const put: typeof blobs.put = (...asks) => blobs.put(...asks);
  const packing = { store: volumes, tools: createVolumeTools(isolation), put };
  const snapshots = new Snapshots({ ...packing, freeze: (instance) => runtime.freeze(instance) });
  const differences = new Differences(packing);
  shutdown.add('stager', () => stager.close());
  const ofVolumes = { volumes, snapshots, differences };
  return { stack, logs, blobs, isolation, stager, ...ofVolumes, engines, contexts, runtime, room, cachePeers };
}
