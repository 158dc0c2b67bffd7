// false-deaths [--minutes M]: five hosts of their own that lose every twentieth packet, on a machine whose cores are
// kept busy: what a poor network and a busy machine look like from within. Nobody dies, so nobody may be held dead.

import { type ChildProcess, spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { EventShape } from '../../node/api/log-lines.ts';
import { Lan } from '../lan.ts';
import { LocalCluster } from '../local-cluster.ts';
import { writeApp } from './app.ts';
import { type Bench, figure } from './figure.ts';

const NODES = 5;
const INSTANCES = 5;
const LOSS_SHARE = 0.05;
const MINUTES_DEFAULT = '10';
const MINUTES_MAX = 120;
/** A node keeps its last 2,000 events; they are read long before as many have come. */
const READ_EVERY_MS = 20_000;
const LINES = '2000';

const falseDeaths: Bench = async (args, say) => {
  const { values } = parseArgs({ args, options: { minutes: { type: 'string', default: MINUTES_DEFAULT } } });
  const minutes = Number(values.minutes);
  if (!(minutes > 0 && minutes <= MINUTES_MAX)) {
    throw new Error(`--minutes must be a number up to ${MINUTES_MAX}, not "${values.minutes}"`);
  }
  say(`starting ${NODES} nodes on hosts of their own`);
  const names = Array.from({ length: NODES }, (_, index) => `node-${index + 1}`);
  const lan = await Lan.create(names);
  const cluster = await LocalCluster.create();
  const busy: ChildProcess[] = [];
  try {
    await cluster.startOn(lan, names);
    const folder = join(cluster.folder, 'app');
    await writeApp(folder, '1');
    await cluster.json(cluster.nodes[0]!, ['push', folder, '--name', 'hello', '--instances', String(INSTANCES)]);
    const before = new Set(await eventsOf(cluster));
    await lan.setLinks(
      names.flatMap((from) => names.filter((to) => to !== from).map((to) => [from, to] as const)),
      { lossShare: LOSS_SHARE },
    );
    for (let core = 0; core < availableParallelism(); core++) busy.push(keepOneCoreBusy(minutes));
    say(`${minutes} minutes of busy cores, with ${LOSS_SHARE * 100} % of all packets lost`);
    const seen = new Set<string>();
    const untilMs = performance.now() + minutes * 60_000;
    for (let leftMs = minutes * 60_000; leftMs > 0; leftMs = untilMs - performance.now()) {
      await new Promise((resolve) => setTimeout(resolve, Math.min(leftMs, READ_EVERY_MS)));
      for (const event of await eventsOf(cluster)) if (!before.has(event)) seen.add(event);
      say(`${Math.max(0, Math.round((untilMs - performance.now()) / 1_000))} s left: ${summaryOf(seen)}`);
    }
    return figuresOf(seen, minutes);
  } finally {
    for (const child of busy) child.kill('SIGKILL');
    await cluster.stop();
    await lan.remove();
  }
};
export default falseDeaths;

/** Each as its JSON text, so that what was read twice counts once. */
async function eventsOf(cluster: LocalCluster): Promise<string[]> {
  const texts: string[] = [];
  for (const node of cluster.nodes) {
    // The others' events come with its own, unless it holds them dead: then they come from themselves.
    const events = await cluster.json<EventShape[]>(node, ['events', '--lines', LINES]);
    for (const event of events) texts.push(JSON.stringify(event));
  }
  return texts;
}

const countOf = (events: readonly EventShape[], name: string): number =>
  events.filter((event) => event.name === name).length;

const summaryOf = (seen: ReadonlySet<string>): string => {
  const events = [...seen].map((text) => JSON.parse(text) as EventShape);
  return `${countOf(events, 'member.suspect')} suspicions, ${countOf(events, 'member.dead')} deaths`;
};

function figuresOf(seen: ReadonlySet<string>, minutes: number) {
  const events = [...seen].map((text) => JSON.parse(text) as EventShape);
  return [
    figure('members held dead', countOf(events, 'member.dead'), 'verdicts', { atMost: 0 }),
    figure('suspicions', countOf(events, 'member.suspect'), 'suspicions'),
    figure('suspicions refuted', countOf(events, 'member.alive'), 'suspicions'),
    figure('instances stopped', countOf(events, 'instance.stopped'), 'instances', { atMost: 0 }),
    figure('time observed', minutes, 'min'),
  ];
}

/** At normal priority, and no longer than it was asked for, whatever becomes of its parent. */
function keepOneCoreBusy(minutes: number): ChildProcess {
  const script = `const endMs = performance.now() + ${minutes * 60_000}; while (performance.now() < endMs);`;
  return spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
}
