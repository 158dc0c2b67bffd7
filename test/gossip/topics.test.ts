import { afterEach, expect, test } from 'vitest';
import { reportOf, TestCluster } from './cluster.ts';

const cluster = new TestCluster();
afterEach(() => cluster.close());
const within = { timeout: 10_000, interval: 10 };

test('a report reaches every other node once', async () => {
  const [a, b, c] = await cluster.connected(3);
  a!.gossip.publishReport(reportOf(a!.id, 1));
  await expect.poll(() => [b!.reports.length, c!.reports.length], within).toEqual([1, 1]);
  expect(a!.reports).toEqual([]);
});
