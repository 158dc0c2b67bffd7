import { afterEach, describe, expect, test } from 'vitest';
import { asInstanceId } from '../../crdt/ids.ts';
import type { Report } from '../../node/core/types.ts';
import { CHANGES_BYTES_MAX, REPORT_BYTES_MAX } from '../../node/gossip/limits.ts';
import { allConnected, TestCluster, type TestNode } from './cluster.ts';
import { reportOf } from './fixtures.ts';
import { type RawPeer, rawPeer } from './raw-peer.ts';

const cluster = new TestCluster();
const raws: RawPeer[] = [];
afterEach(async () => {
  await Promise.all(raws.splice(0).map((raw) => raw.stop()));
  await cluster.close();
});
const within = { timeout: 10_000, interval: 10 };
const sequences = (node: TestNode): number[] => node.reports.map((report) => report.sequence);

describe('topics', () => {
  test('a report that needs no relay reaches every connected node, straight from its author', async () => {
    const nodes = await cluster.connected(4);
    const [author, ...others] = nodes;
    author!.gossip.publishReport(reportOf(author!.id, 1), { relay: true });
    await expect.poll(() => others.map(sequences), within).toEqual(others.map(() => [1]));
    for (let sequence = 2; sequence <= 20; sequence++) {
      author!.gossip.publishReport(reportOf(author!.id, sequence), { relay: false });
    }
    await expect.poll(() => others.map((node) => sequences(node).at(-1)), within).toEqual(others.map(() => 20));
    for (const node of others) expect(sequences(node)).toEqual([...sequences(node)].sort((a, b) => a - b));
  });

  test('a report reaches every other node once, and not its author', async () => {
    const [a, b, c] = await cluster.connected(3);
    a!.gossip.publishReport(reportOf(a!.id, 1), { relay: true });
    await expect.poll(() => [sequences(b!), sequences(c!)], within).toEqual([[1], [1]]);
    a!.gossip.publishReport(reportOf(a!.id, 2), { relay: true });
    await expect
      .poll(() => [sequences(b!), sequences(c!)], within)
      .toEqual([
        [1, 2],
        [1, 2],
      ]);
    expect(a!.reports).toEqual([]);
  });

  test('a report arrives as it was sent, with fields of a newer version', async () => {
    const [a, b] = await cluster.connected(2);
    const report = {
      ...reportOf(a!.id, 1, { labels: { zone: 'cellar' }, load: 0.25, heads: ['ab'], droplets: [] }),
      instances: [
        {
          id: asInstanceId('i-1-1'),
          app: 'app',
          process: 'web',
          index: 0,
          release: 'r',
          restartCount: 0,
          state: 'ready',
          sinceMs: 12.5,
          crashes: 0,
          memoryBytes: 1024,
          port: 61_000,
          warmth: 'new',
        },
      ],
      colour: 'new',
    } as unknown as Report;
    a!.gossip.publishReport(report, { relay: true });
    await expect.poll(() => b!.reports, within).toEqual([report]);
  });

  test('a node that connects later is told the newest report at once', async () => {
    const [a, b] = await cluster.connected(2);
    a!.gossip.publishReport(reportOf(a!.id, 7), { relay: true });
    const late = await cluster.node();
    for (const node of [a!, b!, late]) node.admit(a!, b!, late);
    await expect.poll(() => sequences(late), within).toEqual([7]);
  });

  test('reports that say little new travel as changes, and are understood by whoever connects later, too', async () => {
    const [a, b] = await cluster.connected(2);
    const droplets = [`sha256:${'a'.repeat(64)}`, `sha256:${'b'.repeat(64)}`] as unknown as Report['droplets'];
    const reports = [1, 2, 3].map((sequence) => reportOf(a!.id, sequence, { droplets, load: sequence / 4 }));
    for (const [at, report] of reports.entries()) {
      a!.gossip.publishReport(report, { relay: true });
      await expect.poll(() => b!.reports, within).toEqual(reports.slice(0, at + 1));
    }
    const late = await cluster.node();
    for (const node of [a!, b!, late]) node.admit(a!, b!, late);
    await expect.poll(() => late.reports, within).toEqual([reports[2]]);
    a!.gossip.publishReport(reportOf(a!.id, 4, { droplets, load: 1 }), { relay: true });
    await expect.poll(() => sequences(late), within).toEqual([3, 4]);
  });

  test('an older report is dropped unless it is of an earlier incarnation, whose author may not know better', async () => {
    const [a, b] = await cluster.connected(2);
    const heard = (): number[][] => b!.reports.map((report) => [report.incarnation, report.sequence]);
    const publish = (incarnation: number, sequence: number): void =>
      a!.gossip.publishReport(reportOf(a!.id, sequence, { incarnation }), { relay: true });
    publish(2, 5);
    await expect.poll(heard, within).toEqual([[2, 5]]);
    for (const sequence of [5, 4]) publish(2, sequence);
    publish(1, 9);
    await expect.poll(heard, within).toEqual([
      [2, 5],
      [1, 9],
    ]);
    publish(2, 6);
    await expect.poll(heard, within).toEqual([
      [2, 5],
      [1, 9],
      [2, 6],
    ]);
    publish(3, 1);
    await expect.poll(heard, within).toEqual([
      [2, 5],
      [1, 9],
      [2, 6],
      [3, 1],
    ]);
  });

  test('membership messages and changes arrive with their author', async () => {
    const [a, b, c] = await cluster.connected(3);
    a!.gossip.publishMembership({ kind: 'suspect', node: c!.id, incarnation: 3, from: a!.id, evidence: 'refused' });
    await expect
      .poll(() => b!.membership, within)
      .toEqual([{ kind: 'suspect', node: c!.id, incarnation: 3, from: a!.id, evidence: 'refused' }]);
    // In the first moments of a connection changes travel by anti-entropy, so it may take more than one.
    const changes = [Uint8Array.of(1, 2), Uint8Array.of(3)];
    await expect
      .poll(() => {
        if (b!.changes.length === 0) a!.gossip.publishChanges(changes);
        return b!.changes[0];
      }, within)
      .toEqual({ changes, from: a!.id });
  });

  test('a change too large for gossip travels by anti-entropy', async () => {
    const [a, b] = await cluster.connected(2);
    a!.desired.items.add('large');
    a!.gossip.publishChanges([new Uint8Array(CHANGES_BYTES_MAX)]);
    await expect.poll(() => [...b!.desired.items], within).toEqual(['large']);
    expect(b!.changes).toEqual([]);
  });

  test('a report larger than the bound is refused to its author', async () => {
    const [a] = await cluster.connected(2);
    const droplets = Array.from(
      { length: 4_000 },
      (_, index) => `sha256:${String(index).padStart(64, '0')}`,
    ) as unknown as Report['droplets'];
    expect(() => a!.gossip.publishReport(reportOf(a!.id, 1, { droplets }), { relay: true })).toThrow(/at most/);
  });
});

describe('what an admitted node that lies or is broken publishes', () => {
  async function withLiar(): Promise<{
    a: TestNode;
    b: TestNode;
    liar: RawPeer;
    send(topic: 'reports' | 'membership' | 'changes', data: Uint8Array | object): Promise<void>;
  }> {
    const [a, b] = [await cluster.node(), await cluster.node()];
    const liar = await rawPeer();
    raws.push(liar);
    const admitted = new Map([a, b].map((node) => [node.id, { addresses: node.gossip.addresses() }]));
    for (const node of [a, b]) node.gossip.setAdmitted(new Map([...admitted, [liar.id, { addresses: [] }]]));
    await allConnected([a, b]);
    await liar.connect(a);
    await liar.joinTopics(a);
    return {
      a,
      b,
      liar,
      async send(topic, data) {
        await liar.host.services.pubsub.publish(
          liar.topics[topic],
          data instanceof Uint8Array ? data : new TextEncoder().encode(JSON.stringify(data)),
        );
      },
    };
  }

  test('who hears a change without the report that it changes asks its author', async () => {
    const { a, liar, send } = await withLiar();
    const base = reportOf(liar.id, 1);
    const whole = reportOf(liar.id, 2, { load: 0.5 });
    let asked = 0;
    await liar.answer('gossip.reports.get', () => {
      asked++;
      return [base, whole];
    });
    await send('reports', { incarnation: 1, sequence: 2, base: { incarnation: 1, sequence: 1 }, laterMs: 5 });
    await expect.poll(() => a.reports, within).toEqual([whole]);
    await send('reports', { incarnation: 1, sequence: 3, base: { incarnation: 1, sequence: 1 }, laterMs: 9 });
    await expect.poll(() => a.reports, within).toEqual([whole, { ...base, sequence: 3 }]);
    expect(asked).toBe(1);
  });

  test('is believed only in its own name, and travels on when it is true', async () => {
    const { a, b, liar, send } = await withLiar();
    await send('reports', reportOf(b.id, 99));
    await send('membership', { kind: 'dead', node: b.id, incarnation: 1, from: b.id });
    await send('reports', reportOf(liar.id, 1));
    await expect.poll(() => [a.reports.length, b.reports.length], within).toEqual([1, 1]);
    expect([a, b].map((node) => node.reports[0]!.node)).toEqual([liar.id, liar.id]);
    expect([...a.membership, ...b.membership]).toEqual([]);
    expect([a.rejected('report_forged'), a.rejected('membership_forged')]).toEqual([true, true]);
    // Refused at the first honest node, it never came to the second.
    expect([b.rejected('report_forged'), b.rejected('membership_forged')]).toEqual([false, false]);
  });

  test.each([
    ['bytes that are not text', 'reports', Uint8Array.of(0xff, 0xfe, 0x00), 'report_invalid'],
    ['text that is not JSON', 'reports', new TextEncoder().encode('{"node":'), 'report_invalid'],
    ['JSON that is not a report', 'reports', { node: 1 }, 'report_invalid'],
    ['a negative sequence', 'reports', { ...reportOf('x' as never, -1) }, 'report_invalid'],
    ['a report beyond the size bound', 'reports', new Uint8Array(REPORT_BYTES_MAX + 1).fill(32), 'report_invalid'],
    [
      'a membership message of no known kind',
      'membership',
      { kind: 'zombie', node: 'n', incarnation: 1, from: 'n' },
      'membership_invalid',
    ],
    ['changes cut off', 'changes', Uint8Array.of(0, 0, 0, 9, 1), 'changes_invalid'],
    ['no changes', 'changes', new Uint8Array(0), 'changes_invalid'],
  ] as const)('%s: refused, and the node lives on', async (_, topic, data, kind) => {
    const { a, b, send } = await withLiar();
    await send(topic, data);
    await expect.poll(() => a.rejected(kind), within).toBe(true);
    expect([...a.reports, ...a.membership, ...a.changes]).toEqual([]);
    b.gossip.publishReport(reportOf(b.id, 1), { relay: true });
    await expect.poll(() => sequences(a), within).toEqual([1]);
  });

  test('beyond the frame bound: the stream ends, and honest gossip flows again', async () => {
    const { a, b, liar, send } = await withLiar();
    await send('reports', new Uint8Array(5 * 1024 * 1024));
    b.gossip.publishReport(reportOf(b.id, 1), { relay: true });
    await expect.poll(() => sequences(a), within).toEqual([1]);
    expect(a.gossip.connected()).toContain(liar.id);
    expect(a.log.lines.filter((line) => line.level === 'error')).toEqual([]);
  });

  test('a flood of bad messages costs one line of log', async () => {
    const { a, send } = await withLiar();
    for (let index = 0; index < 200; index += 1) await send('reports', { bad: index });
    await send('membership', { bad: true });
    await expect.poll(() => a.rejected('membership_invalid'), within).toBe(true);
    expect(a.log.lines.filter((line) => line.fields.kind === 'report_invalid')).toHaveLength(1);
  });

  test('once it is removed, what it signed is ignored from whomever it comes', async () => {
    const { a, b, liar, send } = await withLiar();
    b.gossip.setAdmitted(new Map([[a.id, { addresses: [] }]]));
    await send('reports', reportOf(liar.id, 1));
    await expect.poll(() => sequences(a), within).toEqual([1]);
    await expect.poll(() => b.rejected('author_not_admitted'), within).toBe(true);
    expect(b.reports).toEqual([]);
  });
});
