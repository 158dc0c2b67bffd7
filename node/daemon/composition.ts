// The composition root: makes the parts of one node, wires them together, starts and stops them in order. Decides nothing.

import { randomInt } from 'node:crypto';
import { arch, availableParallelism, loadavg, totalmem } from 'node:os';
import type { AppId, NodeId } from '../../crdt/ids.ts';
import { answerJoin } from '../admission/joining.ts';
import { inviting } from '../admission/new-invite.ts';
import { openClusterState } from '../admission/open-cluster.ts';
import { OwnOperator } from '../admission/own-operator.ts';
import { startApi } from '../api/server.ts';
import { createBlobExchange } from '../blobs/exchange.ts';
import { createBlobStore } from '../blobs/store.ts';
import { ClusterReader } from '../cluster/cluster-reader.ts';
import { EventLog } from '../cluster/event-log.ts';
import { RecordReporter } from '../cluster/record-reporter.ts';
import { Replicator } from '../cluster/replicator.ts';
import { Service } from '../cluster/service.ts';
import { Trouble } from '../cluster/trouble.ts';
import { UsageReader } from '../cluster/usage-reader.ts';
import { resourceBehind } from '../core/pressure.ts';
import { initialState, SALTS } from '../core/state.ts';
import type { Report } from '../core/types.ts';
import { createGossip } from '../gossip/gossip.ts';
import { loadOrCreateIdentity } from '../identity/identity.ts';
import { tokenHashOf } from '../identity/tokens.ts';
import { parseHostPort } from '../lib/host-port.ts';
import type { Log } from '../lib/log.ts';
import { Standstill } from '../lib/standstill.ts';
import { VERSION } from '../lib/version.ts';
import type { BlobExchange } from '../ports/blobs.ts';
import { startRouter } from '../router/handle.ts';
import { joinThroughLink } from '../router/join-client.ts';
import { chooseRuntime } from '../runtime/choose.ts';
import { createLogStore } from '../runtime/logs/store.ts';
import { raiseShield } from '../runtime/network/shield.ts';
import { closeIsolation, prepareIsolation } from '../runtime/sandbox/isolation.ts';
import { createSandbox } from '../runtime/sandbox/staging-sandbox.ts';
import { Sessions } from '../sessions/sessions.ts';
import { hostStack } from '../staging/stack.ts';
import { createStager } from '../staging/stager.ts';
import { BlobBudget, defaultBudgetBytes } from '../storage/blob-budget.ts';
import { BuildCaches } from '../storage/build-caches.ts';
import { DropletFetches } from '../storage/droplet-fetches.ts';
import { Housekeeping } from '../storage/housekeeping.ts';
import { Keeping } from '../storage/keep-promises.ts';
import { createPushSources } from '../storage/push-sources.ts';
import { stageWith } from '../storage/stage-with.ts';
import { AddressWatch } from './address-watch.ts';
import { Agent } from './agent.ts';
import { DataDir } from './data-dir.ts';
import type { NodeOptions } from './options.ts';
import { rememberOptions } from './remembered-options.ts';
import { ResourceMeter } from './resource-meter.ts';
import { adoptInstances } from './runtime-events.ts';

export type RunningNode = {
  /** Begins the shutdown; harmless when it has begun. */
  stop(options: { keepInstances: boolean }): Promise<void>;
  /** Resolves when everything is closed. */
  stopped: Promise<void>;
};

/** The node asks for something that this build or machine does not have. Nothing was started. */
class StartError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Share of the machine's memory that instances may take unless --memory says otherwise; the rest is the system's. */
const MEMORY_SHARE = 0.75;
const JOIN_TIMEOUT_MS = 20_000;
/** A removed node is told of it before the connection to it is closed. */
const REMOVAL_NOTICE_MS = 300;
const INSTANCES_STOP_TIMEOUT_MS = 15_000;
/** Above the core's settleMs, which bounds it. */
const CATCH_UP_MAX_MS = 5_000;
const OPERATOR_RENEWED_WITHIN_MS = 1_000;
const DRAIN_TIMEOUT_MS = 120_000;
const SHUTDOWN_REPLY_MS = 100;

export async function startNode(options: NodeOptions, log: Log): Promise<RunningNode> {
  const dataDir = await DataDir.lock(options.dataDir);
  if (dataDir.opened.length > 0) log.warn('data_dir.made_private', { dir: dataDir.path, opened: dataDir.opened });
  const closers: (() => Promise<unknown> | unknown)[] = [() => dataDir.release()];
  try {
    return await compose(dataDir, options, log, closers);
  } catch (error) {
    for (const close of closers.reverse()) await Promise.resolve(close()).catch(() => {});
    throw error;
  }
}

async function compose(
  dataDir: DataDir,
  options: NodeOptions,
  log: Log,
  closers: (() => Promise<unknown> | unknown)[],
): Promise<RunningNode> {
  const nowMs = () => performance.now();
  const identity = await loadOrCreateIdentity(dataDir.path);
  const self = identity.nodeId;
  const { store, cluster, psk, operatorToken, addresses } = await openClusterState({
    home: dataDir,
    settings: options,
    identity,
    askMember: (link, expectedNode, request) =>
      joinThroughLink({ link, expectedNode, tls: identity.tls, request }, JOIN_TIMEOUT_MS),
    log,
  });
  closers.push(() => store.close());
  const view = () => store.view();
  if (view().removedNodes.has(self)) {
    throw new StartError(
      'node_removed',
      'this node was removed from the cluster: join again with an invite and a fresh --data-dir',
    );
  }
  const start = await dataDir.nextStart();
  const stack = hostStack();

  const blobsDir = dataDir.file('blobs');
  const budgetBytes = options.blobsBytes ?? (await defaultBudgetBytes(dataDir.path));
  const blobs = await createBlobStore({ dir: blobsDir, room: () => budget.room() });
  closers.push(() => blobs.close());
  const logs = createLogStore({ dataDir: dataDir.path, nodeId: self, log });
  const isolation = await prepareIsolation({
    dataDir: dataDir.path,
    nodeId: self,
    log,
    insecure: options.insecureProcessRuntime,
    allowNetworks: options.allowNetworks,
  });
  closers.push(() => isolation.networks?.close());
  // Only what shares the machine's network can be reached past the router.
  const shield =
    isolation.networks === undefined
      ? await raiseShield({ nodeId: self, log, ownUsers: isolation.ownUsers })
      : undefined;
  const stager = await createStager({
    dataDir: dataDir.path,
    sandbox: createSandbox(isolation),
    blobs,
    log,
    stack,
    cachePeers: { bringNewer: (...question) => buildCaches.bringNewer(...question) },
  });
  const runtime = await chooseRuntime({
    wanted: options.runtime,
    nodeId: self,
    isolation,
    stack,
    blobs,
    policy: { allowed: options.allowNetworks },
    logs,
    log,
  });

  const standstill = new Standstill();
  closers.push(async () => standstill.stop());
  const router = await startRouter({
    nodeId: self,
    tls: identity.tls,
    http: options.http,
    link: options.link,
    blobsDir,
    log,
  });
  closers.push(() => router.close());
  const { listen } = options;
  const { privateKey } = identity;
  const addressWatch = new AddressWatch({ advertise: options.advertise });
  const gossip = await createGossip({
    identity: { nodeId: self, privateKey },
    clusterId: cluster,
    psk: Buffer.from(psk, 'hex'),
    listen,
    advertise: () => addressWatch.hosts(),
    dataDir: dataDir.path,
    desired: store,
    log,
    standstill,
  });

  const events = new EventLog(self, () => Date.now());
  let ownReport: { report: Report; atMs: number } | undefined;
  const observed = () => agent.observed(ownReport);
  const aliveOthers = (): NodeId[] =>
    observed()
      .members.filter((member) => member.id !== self && member.status === 'alive')
      .map((member) => member.id);
  const nameOf = (node: NodeId): string => view().nodes.get(node)?.name ?? node;
  const exchange = createBlobExchange({
    blobs,
    identity: identity.tls,
    linkOf: (node) => observed().members.find(({ id }) => id === node)?.report?.link,
    onCorrupt: ({ digest, holder, reason }) => {
      const message = `${nameOf(holder)} sent a damaged part of ${digest} (${reason}): it comes from other nodes`;
      events.record({ name: 'blob.corrupt', node: holder, message });
    },
    log,
  });
  const budget = new BlobBudget({
    self,
    budgetBytes,
    blobs,
    caches: { list: stager.listCaches, remove: stager.removeCache },
    keeping: new Keeping({ gossip, holds: blobs.has, nowMs }),
    view,
    observed,
    instancesHere: () => agent.instancesHere(),
    unusedSinceMs: () => housekeeping.unusedSinceMs(),
    nowMs,
    log,
  });
  const dropletFetches = new DropletFetches({
    exchange,
    budget,
    failed: (digest, error) => {
      meter.failed(error);
      const lacks = resourceBehind(error);
      agent.post({
        type: 'dropletFetchFailed',
        digest,
        reason: error.message,
        ...(lacks === undefined ? {} : { lacks }),
      });
    },
    log,
  });
  const meter = new ResourceMeter({
    paths: { dataDir: dataDir.path },
    onMeasures: (measures) =>
      agent.post({ type: 'resourcesMeasured', load: (loadavg()[0] ?? 0) / availableParallelism(), measures }),
    log,
  });
  closers.push(() => meter.stop());
  const replicator = new Replicator({
    store,
    gossip,
    log,
    others: () => agent.mayBeAlive(),
    failed: (error) => meter.failed(error),
  });
  /** For what only saves time. */
  const exchangeAhead: BlobExchange = {
    fetch: (digest, asks) => exchange.fetch(digest, { ...asks, room: budget.roomAhead() }),
  };
  const buildCaches = new BuildCaches({
    gossip,
    exchange: exchangeAhead,
    local: { stack, cacheVersion: stager.cacheVersion, packCache: stager.packCache },
    log,
    aliveOthers,
  });
  const reader = new ClusterReader({ gossip, logs, events, aliveOthers });

  await gossip.start();
  closers.push(() => gossip.stop());
  /** What others are told; all of it may change while the node runs. */
  const reach = () => ({
    addresses: gossip.addresses(),
    link: addressWatch.reachableAt(router.link),
    http: addressWatch.reachableAt(router.http),
  });
  const state = initialState({
    self: {
      node: self,
      name: view().nodes.get(self)?.name ?? options.name,
      version: VERSION,
      ...reach(),
      api: '',
      arch: arch(),
      stacks: [...runtime.stacks],
      runtimes: [runtime.kind],
      labels: options.labels,
      memoryBytes: options.memoryBytes ?? Math.floor(totalmem() * MEMORY_SHARE),
    },
    incarnation: start,
    salt: randomInt(SALTS),
    nowMs: nowMs(),
    droplets: blobs.list(),
  });
  const failRelease = async (app: AppId, release: never, reason: string): Promise<void> => {
    try {
      const author = { by: `node ${state.self.name}`, atMs: Date.now() };
      await replicator.write([{ change: 'failRelease', app, release, reason }], author);
    } catch (error) {
      log.warn('release.fail_not_written', { app, release, error });
    }
  };
  const agent = new Agent({
    state,
    log,
    nowMs,
    onStep: () => {
      dropletFetches.look();
      service.notifyChanged();
    },
    actors: {
      startInstance: (spec) => runtime.start(spec),
      stopInstance: (id, reason) => runtime.stop(id, reason),
      fetchDroplet: (wanted) => dropletFetches.fetch(wanted),
      probe: (node, timeoutMs) => {
        void gossip.probe(node, timeoutMs).then((result) => {
          if (result === 'ok') agent.post({ type: 'probeSucceeded', node });
          else agent.post({ type: 'probeFailed', node, reason: result });
        });
      },
      publishReport: (report, how) => {
        ownReport = { report, atMs: nowMs() };
        gossip.publishReport(report, how);
      },
      askReport: (node, belief) => void gossip.askReport(node, belief),
      persistStart: (start) => {
        dataDir.rememberStart(start).catch((error) => log.error('node.start_not_kept', { start, error }));
      },
      publishMembership: (message) => gossip.publishMembership(message),
      setRoutes: (table) => router.setTable(table),
      syncDesired: (node) => {
        gossip.syncDesired(node).catch((error) => log.debug('desired.sync_failed', { node, error }));
      },
      failRelease: ({ app, release, reason }) => void failRelease(app, release as never, reason),
      recordEvent: (event) => {
        events.record(event);
        log.info(event.name, {
          message: event.message,
          ...(event.instance === undefined ? {} : { instance: event.instance }),
        });
      },
    },
  });
  const sources = createPushSources({ store: blobs.sources, exchange: exchangeAhead, gossip, aliveOthers, nowMs, log });
  const sessions = new Sessions({
    self: { id: self, name: state.self.name },
    runner: runtime,
    duplex: gossip,
    logs,
    log,
    view,
    candidates: () => agent.candidates(),
    holds: (digest) => blobs.has(digest),
    fetchBlob: (digest, options) => exchange.fetch(digest, options),
    record: (event) => events.record(event),
  });
  const usage = new UsageReader({
    self,
    gossip,
    meter: runtime,
    nodesOf: (app) =>
      observed()
        .members.filter(
          ({ status, report }) => status === 'alive' && report?.instances.some((instance) => instance.app === app),
        )
        .map(({ id }) => id),
    log,
  });
  const service: Service = new Service({
    sessions,
    usage,
    createInvite: inviting({ self, cluster, psk, observed, write: (changes, by) => service.write(changes, by) }),
    self: { id: self, name: state.self.name, version: VERSION, pid: process.pid, dataDir: dataDir.path },
    cluster,
    blobs,
    exchange,
    budget,
    sources,
    resources: meter,
    gossip,
    log,
    reader,
    replicator,
    stager: {
      keepBuildpack: stager.keepBuildpack,
      stage: async (request) => {
        await budget.makeRoom();
        const onLine = (text: string): void => {
          logs.append({ app: request.app.id, source: 'STG', stream: 'out', text });
          request.onLine(text);
        };
        try {
          return await stageWith({ stager, images: runtime.images }, { ...request, onLine });
        } finally {
          budget.cachesChanged();
        }
      },
    },
    view,
    observed,
    candidates: () => agent.candidates(),
    restartSlotHere: (slot) => agent.post({ type: 'restartSlot', slot }),
    // The answer to whoever asked goes out first.
    shutdown: ({ leave }) => {
      setTimeout(() => void (leave ? drainAndLeave() : stop({ keepInstances: false })), SHUTDOWN_REPLY_MS);
    },
  });

  // ---------------------------------------------------------------- events into the mailbox
  blobs.onChange(() => agent.post({ type: 'dropletsHeld', digests: blobs.list() }));
  gossip.on({
    connected: (node) => agent.post({ type: 'connected', node }),
    disconnected: (node) => agent.post({ type: 'disconnected', node }),
    report: (report) => agent.post({ type: 'reportReceived', report }),
    membership: (message) => agent.post({ type: 'membershipReceived', message }),
    belief: (belief) => agent.post({ type: 'beliefHeard', belief }),
  });
  const housekeeping = new Housekeeping({
    view,
    blobs,
    nowMs,
    log,
    daemonLog: dataDir.file('daemon.log'),
    isRunning: (app) => agent.hasLiveInstances(app),
    appsLogged: () => logs.apps(),
    appGone: async (app) => {
      await logs.remove(app);
      await stager.removeCache(app);
      budget.cachesChanged();
    },
  });
  blobs.onGrowth(() => void budget.look());
  void budget.look();
  const admit = (): void => {
    gossip.setAdmitted(
      new Map([...view().nodes.keys()].filter((node) => node !== self).map((node) => [node, { addresses: [] }])),
    );
  };
  const recordReporter = new RecordReporter({ log, record: (event) => events.record(event) });
  /** What one part stumbles over is not to keep the news from the others. */
  const tell = (part: string, told: () => void): void => {
    try {
      told();
    } catch (error) {
      log.error('desired.not_taken_up', { part, error });
    }
  };
  /** This node removes itself: it ends when the others have that on disk. */
  let leaving = false;
  let removedCount = view().removedNodes.size;
  const desiredChanged = (): void => {
    const now = view();
    agent.post({ type: 'desiredChanged', view: now, heads: store.heads() });
    if (now.removedNodes.size > removedCount) setTimeout(() => tell('gossip', admit), REMOVAL_NOTICE_MS);
    else tell('gossip', admit);
    removedCount = now.removedNodes.size;
    tell('housekeeping', () => housekeeping.desiredChanged());
    tell('records', () => recordReporter.look(now));
    if (now.removedNodes.has(self) && !leaving) {
      log.error('node.removed', { message: 'this node was removed from the cluster; it stops its instances and ends' });
      // It may have been asked to remove itself: the others, and who asked, hear of it before it ends.
      void replicator.idle().then(() => setTimeout(() => void stop({ keepInstances: false }), SHUTDOWN_REPLY_MS));
    }
  };
  store.onChange(desiredChanged);
  const operator = new OwnOperator({
    self,
    tokenHash: tokenHashOf(operatorToken),
    view,
    write: (changes, by) => service.write(changes, by),
    log,
  });
  /** Who may do what is not known before. Nobody is let in when the node stops meanwhile. */
  const catchUp = async (): Promise<void> => {
    await until(() => agent.isCaughtUp(), CATCH_UP_MAX_MS);
    operator.look();
    store.onChange(() => operator.look());
    await until(() => operator.isInOrder, OPERATOR_RENEWED_WITHIN_MS);
  };
  const caughtUp = catchUp().catch(() => {});
  router.onJoin(async (request, from) => {
    // An invite may have been used up since.
    await caughtUp;
    const known = observed().members.filter((member) => member.report !== undefined);
    return answerJoin(
      {
        view,
        write: (changes, by) => service.write(changes, by),
        snapshot: () => store.snapshot(),
        addresses: () => Object.fromEntries(known.map((member) => [member.id, member.report!.addresses])),
      },
      request,
      from,
    );
  });

  // ---------------------------------------------------------------- start
  // The core ignores connections of nodes that it does not know to be admitted: the view comes first.
  agent.post({ type: 'desiredChanged', view: view(), heads: store.heads() });
  tell('gossip', admit);
  tell('records', () => recordReporter.look(view()));
  for (const [node, list] of addresses) gossip.learnAddresses(node, list);
  const apiHost = parseHostPort(options.api)?.host ?? '';
  const isLoopback = apiHost === 'localhost' || apiHost === '::1' || apiHost.startsWith('127.');
  const server = await startApi({
    service,
    listen: options.api,
    ...(isLoopback ? {} : { tls: identity.tls }),
    log,
    standstill,
    caughtUp,
  });
  closers.push(() => server.close());
  agent.post({ type: 'selfMoved', to: { api: server.address } });
  const machinePorts = {
    open: portsOf([router.http]),
    closed: portsOf([server.address, router.link, boundListen(gossip.addresses()[0], listen)]),
  };
  await isolation.networks?.setMachinePorts(machinePorts);
  await runtime.setMachinePorts?.(machinePorts);
  // Before anything is decided: a full node that starts takes nothing new.
  await meter.look();
  await adoptInstances(runtime, (event) => {
    if (event.type === 'instanceExited' && event.lacks !== undefined) void meter.look();
    agent.post(event);
  });
  const bound = {
    api: server.address,
    http: router.http,
    link: router.link,
    listen: boundListen(gossip.addresses()[0], listen),
  };
  const trouble = new Trouble({
    self: state.self.name,
    gossip,
    router,
    warnings: () => addressWatch.warnings({ '--listen': bound.listen, '--link': bound.link, '--http': bound.http }),
    isAlive: (node) => observed().members.some(({ id, status }) => id === node && status === 'alive'),
    nameOf,
    post: (event) => agent.post(event),
    record: (event) => events.record(event),
    nowMs,
    log,
  });
  trouble.start();
  addressWatch.start({
    changed: () => {
      const to = reach();
      log.info('node.moved', to);
      agent.post({ type: 'selfMoved', to });
    },
    lost: (lost) => {
      log.info('node.address_lost', { lost });
      gossip.checkConnections();
      trouble.look();
    },
  });
  closers.push(() => addressWatch.stop());
  await rememberOptions(options, bound);
  await dataDir.writeNodeFile({ id: self, name: state.self.name, pid: process.pid, ...bound, token: operatorToken });
  log.info('node.ready', { name: state.self.name, id: self, api: server.address, http: router.http });

  // ---------------------------------------------------------------- stop
  let stopping: Promise<void> | undefined;
  const { promise: stopped, resolve: resolveStopped } = Promise.withResolvers<void>();
  const shutDown = async (keepInstances: boolean): Promise<void> => {
    log.info('node.stopping', { keepInstances });
    agent.post({ type: 'leave', keepInstances });
    addressWatch.stop();
    trouble.stop();
    meter.stop();
    housekeeping.stop();
    budget.stop();
    dropletFetches.stop();
    if (!keepInstances) await until(() => !agent.hasLiveInstances(), INSTANCES_STOP_TIMEOUT_MS);
    await server.close();
    await stager.close();
    await runtime.close({ keepInstances });
    if (!keepInstances) await shield?.lower();
    await closeIsolation(isolation, { keepInstances });
    agent.stop();
    await blobs.close();
    await router.close();
    await gossip.stop();
    await store.close();
    await logs.close();
    await dataDir.release();
    log.info('node.stopped');
  };
  const stop = (how: { keepInstances: boolean }): Promise<void> => {
    stopping ??= shutDown(how.keepInstances)
      .catch((error) => log.error('node.stop_failed', { error }))
      .finally(resolveStopped);
    return stopping;
  };
  /** Replacements first, then the farewell: nobody misses an instance of this node. */
  const drainAndLeave = async (): Promise<void> => {
    const by = `node ${state.self.name}`;
    try {
      if (view().nodes.size > 1) {
        await service.write([{ change: 'setDraining', node: self, draining: true }], by);
        const isEmpty = await until(() => !agent.hasLiveInstances(), DRAIN_TIMEOUT_MS);
        if (!isEmpty)
          log.warn('node.drain_incomplete', { message: 'some instances found no other node; they stop now' });
        leaving = true;
        await service.write([{ change: 'removeNode', node: self }], by);
      }
    } catch (error) {
      log.error('node.leave_failed', { error });
    }
    await stop({ keepInstances: false });
  };
  return { stop, stopped };
}

/** `HOST:PORT` of the listener: the host that was asked for, with the port that was chosen. */
function boundListen(address: string | undefined, asked: string): string {
  const port = /\/tcp\/(\d+)/.exec(address ?? '')?.[1];
  return port === undefined ? asked : asked.replace(/:\d+$/, `:${port}`);
}

/** Ports of `HOST:PORT` addresses. */
function portsOf(addresses: readonly string[]): number[] {
  return addresses.map((address) => Number(/:(\d+)$/.exec(address)?.[1])).filter((port) => port > 0);
}

const POLL_MS = 50;

/** Whether the condition came to hold within the time. */
async function until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
  const endMs = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() >= endMs) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  return true;
}
