// The real parts as the contracts see them: timers, the process runtime in its sandbox, gossip on sockets of loopback.

import { expect } from 'vitest';
import { asInstanceId, type NodeId } from '../../../crdt/ids.ts';
import { type Child, startChild } from '../../gossip/child-process.ts';
import { TestCluster, type TestNode } from '../../gossip/cluster.ts';
import { reportOf } from '../../gossip/fixtures.ts';
import { processHarness } from '../../runtime/harness.ts';
import { Opened, specOf } from '../../runtime/runtime.contract.ts';
import type { ClockSubject } from './clock.contract.ts';
import type { GossipSubject } from './gossip.contract.ts';
import type { Behaviour, RuntimeSubject } from './runtime.contract.ts';

type Closing<T> = T & { close(): Promise<void> };

const until = async (condition: () => boolean): Promise<void> => {
  await expect.poll(condition, { timeout: 30_000, interval: 10 }).toBe(true);
};

export const realClock = (): ClockSubject => ({
  nowMs: () => performance.now(),
  in: (delayMs, run) => void setTimeout(run, delayMs),
  until,
});

const serve = (onTerm: string, more = ''): string =>
  `require('node:http').createServer((_, res) => res.end('ok')).listen(process.env.PORT, process.env.HOST);
   process.on('SIGTERM', () => { ${onTerm} });
   ${more}`;
const PROGRAMS: Record<Behaviour, string> = {
  good: serve('process.exit(0)'),
  deaf: serve(''),
  crash: 'process.exit(1)',
  never: 'setInterval(() => {}, 1000)',
  flap: serve('process.exit(0)', 'setTimeout(() => process.exit(3), 2000);'),
};

export async function realRuntime(): Promise<Closing<RuntimeSubject>> {
  const harness = await processHarness();
  let opened = new Opened(await harness.open());
  await opened.runtime.adopt();
  return {
    async start(behaviour, timeoutMs) {
      const digest = await harness.droplet({ 'app/server.js': PROGRAMS[behaviour] });
      const spec = specOf(digest, { health: { kind: 'port', path: '/', timeoutMs } });
      opened.runtime.start(spec);
      return asInstanceId(spec.id);
    },
    stop: (id) => opened.runtime.stop(id, 'asked for'),
    events: (id) => opened.of(id),
    async reopen() {
      await opened.runtime.close({ keepInstances: true });
      opened = new Opened(await harness.open());
      return opened.runtime.adopt();
    },
    until,
    async close() {
      await opened.runtime.close({ keepInstances: false });
      await harness.checkNothingLeft();
      await harness.dispose();
    },
  };
}

/** Nodes 0, 1 and 3 in this process, 2 in one of its own, which can be stopped and killed. */
export async function realGossip(): Promise<Closing<GossipSubject>> {
  const cluster = new TestCluster();
  const [a, b, stranger] = [await cluster.node(), await cluster.node(), await cluster.node()];
  const child: Child = await startChild([a, b], { listens: true });
  const here: (TestNode | undefined)[] = [a, b, undefined, stranger];
  const ids: NodeId[] = [a.id, b.id, child.id, stranger.id];
  const addressed = new Map(
    [a, b].map((node): [NodeId, { addresses: string[] }] => [node.id, { addresses: node.gossip.addresses() }]),
  ).set(child.id, { addresses: child.addresses });
  for (const node of [a, b, stranger]) node.gossip.setAdmitted(addressed);
  const numberOf = (id: NodeId): number => ids.indexOf(id);
  const said = (): Record<string, unknown>[] => child.said.map((line) => JSON.parse(line));
  const at = (node: number): TestNode => here[node]!;
  return {
    connected(node) {
      if (node !== 2) return at(node).gossip.connected().map(numberOf);
      const now = new Set<NodeId>();
      for (const { connected, disconnected } of said()) {
        if (connected !== undefined) now.add(connected as NodeId);
        if (disconnected !== undefined) now.delete(disconnected as NodeId);
      }
      return [...now].map(numberOf);
    },
    reportsFrom(node, author) {
      const reports =
        node === 2
          ? said().flatMap(({ report }) => (report === undefined ? [] : [report as { node: NodeId; sequence: number }]))
          : at(node).reports;
      return reports.filter((report) => report.node === ids[author]).map(({ sequence }) => sequence);
    },
    publishReport: (node, number) => at(node).gossip.publishReport(reportOf(ids[node]!, number), { relay: true }),
    publishSuspicion: (node, about) =>
      at(node).gossip.publishMembership({
        kind: 'suspect',
        node: ids[about]!,
        incarnation: 1,
        from: ids[node]!,
        evidence: 'silence',
      }),
    heardSuspicion(node, from, about) {
      const claims =
        node === 2
          ? said().flatMap(({ claim }) => (claim === undefined ? [] : [claim as { from: NodeId; node: NodeId }]))
          : at(node).membership;
      return claims.some((claim) => claim.from === ids[from] && claim.node === ids[about]);
    },
    probe: (from, to, timeoutMs) => at(from).gossip.probe(ids[to]!, timeoutMs),
    end: () => child.end(),
    freeze: () => void child.process.kill('SIGSTOP'),
    thaw: () => void child.process.kill('SIGCONT'),
    write: (node) => void at(node).desired.items.add(`of ${node}`),
    heads: (node) => at(node).desired.heads().join(),
    sync: (from, to) => at(from).gossip.syncDesired(ids[to]!),
    until,
    async close() {
      await child.end();
      await cluster.close();
    },
  };
}
