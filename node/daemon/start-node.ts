// The composition root: parts are made, then wired, then started. They are closed in the reverse order of their making
// (shutdown.ts), whether the node ran or could not start.

import { availableParallelism, loadavg } from 'node:os';
import { EventLog } from '../cluster/event-log.ts';
import { KnownCluster } from '../cluster/known-cluster.ts';
import { Replicator } from '../cluster/replicator.ts';
import type { Log } from '../lib/log.ts';
import type { Agent } from './agent.ts';
import { withDisk } from './data-dir.ts';
import { makeData } from './data-parts.ts';
import { actorsOf, makeAgent, OwnReport } from './deciding.ts';
import { Departure } from './departure.ts';
import { goLive } from './going-live.ts';
import { type Ground, layGround } from './ground.ts';
import { type Lines, openLines } from './lines.ts';
import type { NodeOptions } from './options.ts';
import { ResourceMeter } from './resource-meter.ts';
import { makeService } from './service-parts.ts';
import { type Ending, Shutdown } from './shutdown.ts';
import { makeStorage } from './storage-parts.ts';
import { answerJoins, catchUp, hearBlobs, hearDesired, hearOthers, hearVolumes, keepSecrets } from './wiring.ts';
import { makeWorks, type Works } from './works.ts';

export type RunningNode = {
  /** Begins the shutdown; harmless when it has begun. */
  stop(how: Ending): Promise<void>;
  /** Resolves when everything is closed. */
  stopped: Promise<void>;
};

/**
 * Fails with an error of one line when the node cannot start; then nothing of it is left, and instances that ran go
 * on.
 */
export async function startNode(options: NodeOptions, log: Log): Promise<RunningNode> {
  const shutdown = new Shutdown(log);
  try {
    const ground = await layGround({ options, log, shutdown });
    const lines = await openLines(ground, shutdown);
    const works = await makeWorks(ground, shutdown);
    const parts = await makeParts({ ground, lines, works }, shutdown);
    await start(parts, shutdown);
    const { departure } = parts;
    return { stop: (how) => departure.stop(how), stopped: departure.stopped };
  } catch (error) {
    await shutdown.close({ keepInstances: true });
    // Any part may have been the one that could not write.
    throw withDisk(error, options.dataDir);
  }
}

type Parts = Awaited<ReturnType<typeof makeParts>>;

async function makeParts(made: { ground: Ground; lines: Lines; works: Works }, shutdown: Shutdown) {
  const { ground, lines } = made;
  const { log, self, name, view, store } = ground;
  const agent = makeAgent(ground, made.works, shutdown);
  const ownReport = new OwnReport();
  const known = new KnownCluster({ self, view, observed: () => agent.observed(ownReport.told) });
  const events = new EventLog(self, () => Date.now());
  const meter = makeMeter(ground, agent, shutdown);
  const storage = await makeStorage({ ...made, agent, known, events, meter }, shutdown);
  const replicator = new Replicator({
    store,
    gossip: lines.gossip,
    log,
    others: () => agent.mayBeAlive(),
    failed: (error) => meter.failed(error),
  });
  const departure = new Departure({
    self,
    name,
    view,
    write: (changes, by) => replicator.write(changes, { by, atMs: Date.now() }),
    writesEnded: () => replicator.idle(),
    hasLiveInstances: () => agent.hasLiveInstances(),
    shutdown,
    log,
  });
  const data = await makeData({ ...made, agent, known, events, storage, replicator }, shutdown);
  const parts = { ...made, agent, ownReport, known, events, meter, storage, replicator, departure, data };
  return { ...parts, service: makeService(parts) };
}

function makeMeter(ground: Ground, agent: Agent, shutdown: Shutdown): ResourceMeter {
  const meter = new ResourceMeter({
    paths: { dataDir: ground.dataDir.path },
    onMeasures: (measures) =>
      agent.post({ type: 'resourcesMeasured', load: (loadavg()[0] ?? 0) / availableParallelism(), measures }),
    log: ground.log,
  });
  shutdown.add('meter', () => meter.stop());
  return meter;
}

async function start(parts: Parts, shutdown: Shutdown): Promise<void> {
  const { ground, lines, agent, storage, service, data } = parts;
  await lines.gossip.start();
  agent.post({ type: 'selfMoved', to: lines.reach() });
  hearBlobs(parts);
  hearVolumes(parts);
  hearOthers(parts);
  hearDesired(parts, shutdown);
  const upkeep = keepSecrets(parts, shutdown);
  // What it heard until now has waited: the desired state comes before anything that others say.
  agent.begin({
    actors: actorsOf({ ...parts, dropletFetches: storage.dropletFetches }),
    onStep: () => {
      storage.dropletFetches.look();
      service.notifyChanged();
      upkeep.look();
    },
  });
  // Several steps in a row are one look: what runs everywhere is gone through.
  service.onChange(() => data.look());
  for (const [node, list] of ground.addresses) lines.gossip.learnAddresses(node, list);
  const caughtUp = catchUp(parts);
  answerJoins(parts, caughtUp);
  await goLive(parts, caughtUp, shutdown);
  // Until then what an earlier daemon had said holds.
  void caughtUp.then(() => data.begin());
}
