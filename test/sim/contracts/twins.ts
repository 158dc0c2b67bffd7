// The simulator's twins as the contracts see them. Time moves only while a contract waits.

import { asAppId, asDigest, asInstanceId, asReleaseId, type InstanceId } from '../../../crdt/ids.ts';
import { buildReport } from '../../../node/core/report.ts';
import type { Event, InstanceSpec } from '../../../node/core/types.ts';
import type { RuntimeEvent } from '../../../node/ports/runtime.ts';
import { Clock } from '../clock.ts';
import { Prng } from '../prng.ts';
import { type Quality, SimRuntime } from '../runtime.ts';
import { shapeOf } from '../shape.ts';
import { World } from '../world.ts';
import type { ClockSubject } from './clock.contract.ts';
import type { GossipSubject, Probe } from './gossip.contract.ts';
import type { RuntimeSubject } from './runtime.contract.ts';

const STEP_MS = 5;
const WITHIN_MS = 60_000;

function waiting(clock: Clock): (condition: () => boolean) => Promise<void> {
  return async (condition) => {
    const endMs = clock.nowMs + WITHIN_MS;
    while (!condition()) {
      if (clock.nowMs >= endMs) throw new Error(`not within ${WITHIN_MS} ms of simulated time`);
      clock.runTo(clock.nowMs + STEP_MS);
      // What was promised in between goes on.
      await Promise.resolve();
    }
  };
}

export function twinClock(): ClockSubject {
  const clock = new Clock();
  return { nowMs: () => clock.nowMs, in: (delayMs, run) => clock.in(delayMs, run), until: waiting(clock) };
}

export async function twinRuntime(): Promise<RuntimeSubject> {
  const clock = new Clock();
  const qualities = new Map<InstanceId, Quality>();
  let events: RuntimeEvent[] = [];
  let count = 0;
  const runtime = new SimRuntime({
    clock,
    rng: new Prng('contract'),
    startMs: 100,
    stopMaxMs: 200,
    qualityOf: (spec) => qualities.get(spec.id) ?? 'good',
    lost: () => {},
  });
  const listen = (): void => {
    runtime.listener = (event) => events.push(event);
  };
  listen();
  return {
    async start(behaviour, timeoutMs) {
      const id = asInstanceId(`i-${count++}`);
      qualities.set(id, behaviour === 'deaf' ? 'good' : behaviour);
      const spec: InstanceSpec = {
        id,
        app: { id: asAppId(`app-${id}`), name: 'shop' },
        process: 'web',
        index: 0,
        release: { id: asReleaseId('r-1'), version: 1 },
        restartCount: 0,
        droplet: { digest: asDigest(`sha256:${id}`), sizeBytes: 1, stack: 'test' },
        command: '',
        env: {},
        memoryBytes: 1,
        diskBytes: 1,
        health: { kind: 'port', path: '/', timeoutMs },
        uris: [],
      };
      runtime.start(spec);
      // One in twenty ignores TERM by chance: here it is to be known which.
      runtime.running.get(id)!.stubborn = behaviour === 'deaf';
      return id;
    },
    stop: (id) => runtime.stop(id),
    events: (id) => events.filter((event) => event.id === id),
    async reopen() {
      runtime.daemonEnded();
      events = [];
      const adopted = runtime.adopt();
      listen();
      runtime.checkAdopted();
      return adopted;
    },
    until: waiting(clock),
  };
}

/** Far beyond what the cores in it publish by themselves. */
const SEQUENCE_BASE = 1_000_000;

export async function twinGossip(): Promise<GossipSubject> {
  const shape = { ...shapeOf(new Prng('contract'), { nodes: 4, apps: 0, instances: 1, faults: [] }), delayMaxMs: 2 };
  const world = new World({ seed: 1, shape });
  const { nodes, network } = world;
  const until = waiting(world.clock);
  const heard: Event[][] = nodes.map(() => []);
  for (const node of nodes) {
    const post = node.post.bind(node);
    node.post = (event) => {
      heard[node.index]!.push(event);
      post(event);
    };
  }
  await until(() => nodes.every((node) => node.daemonUp && network.connectedTo(node.index).length === 3));
  world.write(nodes[0]!, [{ change: 'removeNode', node: nodes[3]!.id }]);
  await until(() => [0, 1, 2].every((index) => !nodes[index]!.admits(3)));
  await until(() => network.connectedTo(3).length === 0);
  const events = <T extends Event['type']>(node: number, type: T): Extract<Event, { type: T }>[] =>
    heard[node]!.filter((event): event is Extract<Event, { type: T }> => event.type === type);
  return {
    connected: (node) => network.connectedTo(node),
    reportsFrom: (node, author) =>
      events(node, 'reportReceived')
        .filter(({ report }) => report.node === nodes[author]!.id)
        .map(({ report }) => report.sequence - SEQUENCE_BASE)
        // The cores publish reports of their own, too.
        .filter((number) => number >= 0),
    publishReport(node, number) {
      const { core, gossip } = nodes[node]!;
      gossip!.publishReport({ ...buildReport(core!, nodes[node]!.localMs()), sequence: SEQUENCE_BASE + number });
    },
    publishSuspicion: (node, about) =>
      nodes[node]!.gossip!.publishMembership({
        kind: 'suspect',
        node: nodes[about]!.id,
        incarnation: 0,
        from: nodes[node]!.id,
        evidence: 'silence',
      }),
    heardSuspicion: (node, from, about) =>
      events(node, 'membershipReceived').some(
        ({ message }) => message.from === nodes[from]!.id && message.node === nodes[about]!.id,
      ),
    async probe(from, to, timeoutMs) {
      heard[from] = [];
      nodes[from]!.gossip!.probe(to, timeoutMs);
      const id = nodes[to]!.id;
      const result = (): Probe | undefined => {
        const failed = events(from, 'probeFailed').find(({ node }) => node === id);
        if (failed !== undefined) return failed.reason;
        return events(from, 'probeSucceeded').some(({ node }) => node === id) ? 'ok' : undefined;
      };
      await until(() => result() !== undefined);
      return result()!;
    },
    async end(node) {
      nodes[node]!.crashDaemon();
    },
    freeze: (node) => nodes[node]!.freeze(),
    thaw: (node) => nodes[node]!.thaw(),
    write: (node) =>
      world.write(nodes[node]!, [
        { change: 'createInvite', id: `of-${node}`, secretHash: '00'.repeat(32), expiresAtMs: 1, usesMax: 1 },
      ]),
    heads: (node) => nodes[node]!.store!.document.heads().join(),
    async sync(from, to) {
      let done = false;
      nodes[from]!.gossip!.sync(to, () => {
        done = true;
      });
      await until(() => done);
    },
    until,
  };
}
