// Measures what three connected, idle nodes cost: CPU of a core and memory each. Not a test; run it by hand:
// node test/gossip/idle-cost.ts [seconds]

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { startChild } from './child-process.ts';

const seconds = Number(process.argv[2] ?? 30);
const TICKS_PER_SECOND = 100;
const cpuSeconds = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
};
const memoryKb = (pid: number, field: 'Rss' | 'Pss'): number =>
  Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))![1]);

// A report every 5 s each is what a small cluster's heartbeat costs.
const publishEveryMs = Number(process.argv[3] ?? 5_000);
const children = await Promise.all([1, 2, 3].map(() => startChild([], { publishEveryMs })));
try {
  const all = children.map(({ id, addresses }) => ({ id, addresses }));
  for (const child of children)
    child.process.stdin!.write(`${JSON.stringify(all.filter((peer) => peer.id !== child.id))}\n`);
  while (children.some((child) => child.said.length < 2)) await sleep(50);
  await sleep(5_000);
  const before = children.map((child) => cpuSeconds(child.process.pid!));
  await sleep(seconds * 1000);
  const figures = children.map((child, index) => ({
    cpuPercent: (100 * (cpuSeconds(child.process.pid!) - before[index]!)) / seconds,
    rssMb: memoryKb(child.process.pid!, 'Rss') / 1024,
    pssMb: memoryKb(child.process.pid!, 'Pss') / 1024,
  }));
  console.log(JSON.stringify({ seconds, publishEveryMs, figures }, null, 2));
} finally {
  await Promise.all(children.map((child) => child.end()));
}
