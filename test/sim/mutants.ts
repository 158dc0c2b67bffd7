// Mutants: deliberate faults in the core, or in what a twin does as node/gossip does, each a few characters changed
// while it is loaded. A checker that catches none of them is no checker. The files on disk are never touched; a text
// that no longer occurs exactly once is an error, so that no mutant goes stale.

import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { ShapeOptions } from './shape.ts';

export type Mutant = {
  name: string;
  /** What is wrong with it, for people. */
  fault: string;
  /** `file` is in node/core, or named from there. */
  changes: { file: string; find: string; replace: string }[];
  /** A shape in which it shows within fewer seeds. */
  provoke?: ShapeOptions;
};

const CORE = new URL('../../node/core/', import.meta.url);
const CONNECTIONS = '../../test/sim/connections.ts';
/** Volumes and services. */
const DATA: ShapeOptions = { nodes: 4, apps: 2, instances: 3, minutes: 1, data: true };
/** The same, with what restores the data of lost nodes. */
const LOSS: ShapeOptions = { ...DATA, nodes: 5, users: ['map'], faults: [], losses: true };
/** Many nodes on one slow machine, which is at times far slower still. */
const CROWD: ShapeOptions = {
  nodes: 14,
  apps: 1,
  instances: 2,
  work: 10,
  processors: 2,
  faults: ['work'],
  users: ['map'],
};
/** As much as it just bears: the pinned seeds hold. */
const OVERLOADED: ShapeOptions = { ...CROWD, work: 11 };

export const MUTANTS: Mutant[] = [
  {
    name: 'two-users',
    fault: 'the next instance of a slot is started while the one before still uses its data',
    changes: [
      {
        file: 'pinned.ts',
        find: '  if (!isFree(state, slot)) return Number.POSITIVE_INFINITY;\n',
        replace: '',
      },
    ],
    provoke: DATA,
  },
  {
    name: 'pin-ignored',
    fault: 'a slot is started on another node when the one that has its data is silent',
    changes: [
      {
        file: 'feasibility.ts',
        find: "node === pin.node ? undefined : { kind: 'pinned', node: pin.node }",
        replace: 'undefined',
      },
      {
        file: 'pinned.ts',
        find: "pin.kind === 'pinned' && pin.node === state.self.node",
        replace: "pin.kind === 'pinned'",
      },
    ],
    provoke: DATA,
  },
  {
    name: 'moved-at-once',
    fault: 'data that was moved is used before the node before has left it',
    changes: [{ file: 'pins.ts', find: 'return from === undefined ?', replace: 'return true as boolean ?' }],
    provoke: DATA,
  },
  {
    name: 'left-early',
    fault: 'a node says that it has left data that an instance still uses',
    changes: [{ file: 'pinned.ts', find: '    if (!isFree(state, slotOf(volume))) continue;\n', replace: '' }],
    provoke: DATA,
  },
  {
    name: 'old-lineage',
    fault: 'an instance goes on with data that was recovered from elsewhere meanwhile',
    changes: [{ file: 'pins.ts', find: 'one.id === id && one.lineage === lineage', replace: 'one.id === id' }],
    provoke: { ...DATA, nodes: 2 },
  },
  {
    name: 'restores-in-minority',
    fault: 'lost data is restored on a side that sees no majority',
    changes: [
      { file: 'loss.ts', find: 'const counts = hasMajority(state);', replace: 'const counts = true;' },
      {
        file: 'loss.ts',
        find: 'if (!state.lost.includes(holder) || !hasMajority(state)) return false;',
        replace: '',
      },
      { file: 'loss.ts', find: 'return said >= needed;', replace: 'return said > 0;' },
      {
        file: 'newest-snapshot.ts',
        find: "if (2 * answered <= admitted) return { wait: 'minority' };",
        replace: '',
      },
    ],
    provoke: { ...LOSS, faults: ['partition'] },
  },
  {
    name: 'restores-early',
    fault: 'lost data is restored before its node has had its time to come back',
    changes: [
      {
        file: 'loss.ts',
        find: 'sinceMs + state.config.lossDelayMs',
        replace: 'sinceMs + state.config.lossDelayMs / 2',
      },
    ],
    provoke: LOSS,
  },
  {
    name: 'counts-on',
    fault: 'the time that a node has to come back runs on while no majority is seen',
    changes: [
      { file: 'loss.ts', find: 'if (!counts || !holders.has(node)', replace: 'if (!holders.has(node)' },
      {
        file: 'loss.ts',
        find: 'if (!counts || !isGone(state, view, node)) continue;',
        replace: 'if (!isGone(state, view, node)) continue;',
      },
      {
        file: 'loss.ts',
        find: '    if (nowMs >= lostAtMs) lost.push(node);',
        replace: '    if (counts && nowMs >= lostAtMs - 12_000) lost.push(node);',
      },
    ],
    provoke: LOSS,
  },
  {
    name: 'restores-what-waits',
    fault: 'data that is to wait for its node is restored elsewhere',
    changes: [
      {
        file: 'pins.ts',
        find: "volumes.every(({ onLoss }) => onLoss === 'restore')",
        replace: 'volumes.every(Boolean)',
      },
    ],
    provoke: LOSS,
  },
  {
    name: 'restores-older',
    fault: 'lost data is restored from a snapshot that is not the newest',
    changes: [{ file: 'newest-snapshot.ts', find: 'b.takenAtMs - a.takenAtMs', replace: 'a.takenAtMs - b.takenAtMs' }],
    provoke: LOSS,
  },
  {
    name: 'restores-never',
    fault: 'lost data is never restored, though its volumes say so',
    changes: [{ file: 'loss.ts', find: '.filter(({ node }) => node === state.self.node);', replace: '.slice(0, 0);' }],
    provoke: { ...LOSS, faults: ['wipe'] },
  },
  {
    name: 'holder-unfenced',
    fault: 'a fenced slot whose data a majority may restore runs on where no majority is seen',
    changes: [
      { file: 'reconcile.ts', find: 'pin !== undefined && !isRestorable(pin);', replace: 'pin !== undefined;' },
    ],
    provoke: { ...LOSS, faults: ['partition'] },
  },
  {
    name: 'forgets-snapshots',
    fault: 'a node forgets one snapshot more than a volume is to keep',
    changes: [
      {
        file: '../volumes/kept.ts',
        find: 'volume.snapshotsKept === 0 ? KEPT_DEFAULT : volume.snapshotsKept',
        replace: 'volume.snapshotsKept === 0 ? KEPT_DEFAULT : volume.snapshotsKept - 1',
      },
    ],
    provoke: LOSS,
  },
  {
    name: 'thins-out',
    fault: 'snapshots whose holders die are not given to others',
    changes: [
      {
        file: '../volumes/kept.ts',
        find: '.filter(({ holders }) => !asked.isSpread(holders))',
        replace: '.slice(0, 0)',
      },
    ],
    provoke: { ...LOSS, faults: ['wipe'] },
  },
  {
    name: 'no-incumbents',
    fault: 'placement forgets who runs a slot already',
    changes: [
      {
        file: 'placement.ts',
        find: '          mayKeep(candidate, this.#pins?.get(key)) &&\n',
        replace: '          candidate === undefined &&\n',
      },
    ],
  },
  {
    name: 'stop-before-ready',
    fault: 'a copy is given up before the other one is ready',
    changes: [
      {
        file: 'reconcile.ts',
        find: "        holder.instance.state === 'ready' &&\n",
        replace: '',
      },
      { file: 'reconcile.ts', find: 'if (isPromised(state, instance, copies, nowMs))', replace: '' },
    ],
  },
  {
    name: 'no-promise',
    fault: 'a copy goes as soon as another one is ready, without its promise to stay',
    changes: [{ file: 'reconcile.ts', find: 'if (isPromised(state, instance, copies, nowMs))', replace: '' }],
  },
  {
    name: 'replaced-early',
    fault: 'an old copy is stopped as soon as the new one has been started beside it',
    changes: [
      { file: 'reconcile.ts', find: "const replaces = best.state === 'ready' ||", replace: 'const replaces = true ||' },
    ],
  },
  {
    name: 'take-down-any',
    fault: 'old copies make room whatever maxUnavailable says',
    changes: [
      { file: 'rollout.ts', find: 'this.#readySlots().length > this.#neededReady()', replace: 'true' },
      { file: 'rollout.ts', find: 'promised.length >= this.#neededReady()', replace: 'true' },
    ],
  },
  {
    name: 'take-down-alone',
    fault: 'an old copy makes room without the promise of the others to stay meanwhile',
    changes: [{ file: 'rollout.ts', find: 'promised.length >= this.#neededReady()', replace: 'true' }],
    provoke: {
      nodes: 5,
      apps: 1,
      instances: 5,
      slack: 1,
      users: ['push', 'env'],
      faults: ['partition', 'slow', 'cut', 'freeze'],
    },
  },
  {
    name: 'no-budget',
    fault: 'a node starts what it has no memory for',
    changes: [
      {
        file: 'launching.ts',
        find: 'return usedBytes + memoryBytes <= state.self.memoryBytes',
        replace: 'return usedBytes >= 0',
      },
    ],
  },
  {
    name: 'stopping-is-free',
    fault: 'instances that are still stopping are not counted against the memory',
    changes: [
      {
        file: 'launching.ts',
        find: "if (instance.state !== 'crashed') usedBytes +=",
        replace: "if (instance.state !== 'crashed' && instance.state !== 'stopping') usedBytes +=",
      },
    ],
  },
  {
    name: 'arrival-order',
    fault: 'ties between nodes go to the one heard of first',
    changes: [
      { file: 'placement.ts', find: '.sort((a, b) => compareText(a.node, b.node))', replace: '' },
      { file: 'ranking.ts', find: 'return (candidate) => weights(candidate.node)', replace: 'return () => 0' },
    ],
  },
  {
    name: 'wrong-upstreams',
    fault: 'a route leads to the instances of any app',
    changes: [
      {
        file: 'routes.ts',
        find: 'upstreams: upstreams.get(app) ?? []',
        replace: 'upstreams: [...upstreams.values()].flat()',
      },
    ],
  },
  {
    name: 'dead-keep-routes',
    fault: 'routes go on leading to members held dead',
    changes: [
      {
        file: 'routes.ts',
        find: "if (member.report === undefined || (member.status !== 'alive' && member.status !== 'suspect')) continue;",
        replace: 'if (member.report === undefined) continue;',
      },
    ],
  },
  {
    name: 'nobody-dies',
    fault: 'a suspicion never runs out',
    changes: [{ file: 'membership.ts', find: '    suspicion.sinceMs +\n', replace: '    Infinity +\n' }],
  },
  {
    name: 'old-reports',
    fault: 'an older report replaces a newer one',
    changes: [
      { file: 'membership.ts', find: 'if (report.incarnation < known.incarnation) return false;', replace: '' },
      {
        file: 'membership.ts',
        find: 'if (report.incarnation === known.incarnation && report.sequence <= known.sequence) return false;',
        replace: '',
      },
    ],
  },
  {
    name: 'one-sync',
    fault: 'anti-entropy is asked for once for the same heads, though it can fail',
    changes: [
      {
        file: 'step.ts',
        find: 'if (isRetry && nowMs - member.syncAskedAtMs < state.config.syncRetryMs) return;',
        replace: 'if (isRetry) return;',
      },
    ],
  },
  {
    name: 'never-failed',
    fault: 'a release that cannot become ready is never given up',
    changes: [{ file: 'instances.ts', find: 'if (!hasOlderGoodOne) return;', replace: 'if (hasOlderGoodOne) return;' }],
  },
  {
    name: 'unwanted-stay',
    fault: 'what the user scaled away or deleted runs on',
    changes: [
      { file: 'reconcile.ts', find: "stop(state, instance, 'no longer wanted', nowMs, effects);", replace: '' },
    ],
  },
  {
    name: 'drain-ignored',
    fault: 'a draining node keeps its instances',
    changes: [{ file: 'feasibility.ts', find: '    !candidate.draining &&\n', replace: '' }],
  },
  {
    name: 'forgets-adopted',
    fault: 'instances that outlived the daemon are not taken over',
    changes: [
      {
        file: 'instances.ts',
        find: 'for (const adopted of instances) {',
        replace: 'for (const adopted of instances.slice(1)) {',
      },
    ],
  },
  {
    name: 'restless',
    fault: 'slots are moved for the smallest difference in spread',
    changes: [
      {
        file: 'placement.ts',
        find: '(counts.get(best.node) ?? 0) < 2) return false;',
        replace: '(counts.get(best.node) ?? 0) < 1) return false;',
      },
    ],
  },
  {
    name: 'no-fence',
    fault: 'a side without a majority runs fenced apps',
    changes: [{ file: 'fencing.ts', find: 'return 2 * seen > admitted;', replace: 'return 2 * seen > 0;' }],
  },
  {
    name: 'majority-of-old',
    fault: 'a node that stood still for long counts a majority that it has not heard since',
    changes: [{ file: 'fencing.ts', find: 'state.staleSinceMs = nowMs;', replace: '' }],
    provoke: { nodes: 3, apps: 3, instances: 3, minutes: 4, faults: ['freeze', 'partition'], users: ['map'], work: 0 },
  },
  {
    name: 'incarnation-reused',
    fault: 'a start begins at an incarnation that a refutation may have used',
    changes: [
      {
        file: 'state.ts',
        find: '  start * INCARNATIONS_PER_START + salt;',
        replace: '  start;',
      },
      {
        file: 'state.ts',
        find: '    start: options.incarnation,\n',
        replace: '    start: Math.ceil(options.incarnation / 2),\n',
      },
    ],
  },
  {
    name: 'lives-alike',
    fault: 'two lives that have one number give their instances the same ids',
    changes: [
      { file: 'lives.ts', find: 'firstIncarnation(state).toString(LIFE_RADIX)', replace: 'state.start.toString(36)' },
    ],
    provoke: { faults: ['restore', 'partition', 'cut'] },
  },
  {
    name: 'stays-behind',
    fault: 'a node whose disk was put back does not believe that others have seen a later life of it',
    changes: [
      {
        file: 'lives.ts',
        find: 'if (incarnation > state.incarnation || (isOfThisLife && sequence > state.sequence)) {',
        replace: 'if (incarnation < 0) {',
      },
    ],
    provoke: { nodes: 3, apps: 2, instances: 3, faults: ['restore'] },
  },
  {
    name: 'verdict-once',
    fault: 'the failure of a release is written once, though the write can fail',
    changes: [{ file: 'instances.ts', find: 'nowMs + state.config.verdictRepeatMs', replace: 'Infinity' }],
    // With more nodes another one writes it.
    provoke: { nodes: 2, apps: 1, instances: 2, minutes: 1.5, data: false, faults: ['disk'] },
  },
  {
    name: 'held-up',
    fault: 'a slot that no node has room for holds up the roll-out of those after it',
    changes: [{ file: 'rollout.ts', find: '!ready && this.#placement.assigned.has(earlierKey)', replace: '!ready' }],
  },
  {
    name: 'recreate-waits',
    fault: 'a recreate roll-out waits for an old copy elsewhere, which waits for the new one',
    changes: [
      {
        file: 'reconcile.ts',
        find: "app.strategy === 'recreate' && !current && instance.state !== 'crashed'",
        replace: 'app.strategy === undefined',
      },
    ],
  },
  {
    name: 'size-as-set',
    fault: 'a running copy counts as large as the app is set to now',
    changes: [
      {
        file: 'placement.ts',
        find: "best.instance.state === 'crashed' ? this.#app.memoryBytes : best.instance.memoryBytes",
        replace: 'this.#app.memoryBytes',
      },
    ],
    provoke: { nodes: 3, apps: 3, slack: 1.2, users: ['push', 'scale', 'memory'] },
  },
  {
    name: 'old-copies-pile-up',
    fault: 'old copies of several releases stay on a node together',
    changes: [
      {
        file: 'reconcile.ts',
        find: "else stop(state, old, 'replaced', nowMs, effects);",
        replace: '',
      },
    ],
    provoke: { nodes: 1, apps: 1, instances: 1, slack: 2, users: ['push'], faults: [] },
  },
  {
    name: 'adopted-is-nothing',
    fault: 'an instance that was just adopted does not count as serving',
    changes: [{ file: 'reconcile.ts', find: "instance.state === 'starting' && instance.everReady", replace: 'false' }],
  },
  {
    name: 'oldest-stays',
    fault: 'of two copies of one release on a node, the one that was told to stop is kept',
    changes: [{ file: 'reconcile.ts', find: 'const best = current[0];', replace: 'const best = current.at(-1);' }],
    // Told by a daemon that has ended before they had.
    provoke: {
      nodes: 1,
      apps: 1,
      instances: 2,
      minutes: 1.5,
      data: false,
      users: ['restartSlot'],
      faults: ['memory'],
      stopMaxMs: 5_000,
    },
  },
  {
    name: 'newest-serves',
    fault: 'of two adopted copies of different releases, the newer one is taken for the one that serves',
    changes: [
      {
        file: 'reconcile.ts',
        find: "serving?.state === 'starting' && mayServeInstead(old, serving)",
        replace: 'false',
      },
    ],
    provoke: {
      nodes: 2,
      apps: 1,
      instances: 2,
      minutes: 1.5,
      data: false,
      users: ['push'],
      faults: ['memory'],
      stopMaxMs: 5_000,
    },
  },
  {
    name: 'waits-unseen',
    fault: 'a slot that waits out its crashes does not say so when another release ran there in between',
    changes: [{ file: 'launching.ts', find: 'recordCrash(state, own, history);', replace: '{}' }],
  },
  {
    name: 'crashers-move',
    fault: 'an app that keeps crashing, or its roll-out, counts as settled each time it runs for a moment',
    changes: [
      { file: 'placement.ts', find: '} else if (crashes > 0) this', replace: '} else if (crashes < 0) this' },
      { file: 'placement.ts', find: "if (state === 'ready') this.#outdated.add(key);", replace: '' },
    ],
    provoke: {
      nodes: 3,
      apps: 3,
      instances: 3,
      slack: 4,
      minutes: 0.7,
      data: false,
      users: ['push'],
      faults: ['machine'],
    },
  },
  {
    name: 'forgets-unseen',
    fault: 'a crash that is forgotten is no news, though placement reads how often a slot has crashed',
    changes: [{ file: 'essence.ts', find: "  'crashes',\n", replace: '' }],
    provoke: {
      nodes: 2,
      apps: 1,
      instances: 2,
      slack: 4,
      minutes: 1,
      data: false,
      users: ['map'],
      faults: ['machine', 'instance', 'instance', 'instance'],
      forgets: true,
    },
  },
  {
    name: 'probe-closes',
    fault: 'a probe that gets no answer in time closes the connection, as if opening a new one cost nothing',
    changes: [
      {
        file: CONNECTIONS,
        find: "const expire = (): void => end('timeout');",
        replace: "const expire = () => { if (!over) network.close(node.index, other); end('timeout'); };",
      },
    ],
    provoke: CROWD,
  },
  {
    name: 'redial-at-once',
    fault: 'the same, and everyone who is lost is dialled at once',
    changes: [
      {
        file: CONNECTIONS,
        find: "const expire = (): void => end('timeout');",
        replace: "const expire = () => { if (!over) network.close(node.index, other); end('timeout'); };",
      },
      { file: CONNECTIONS, find: 'DIALS_AT_ONCE_MAX = 4', replace: 'DIALS_AT_ONCE_MAX = 1_000' },
      { file: CONNECTIONS, find: 'SPREAD_PER_DIAL_MS = 50', replace: 'SPREAD_PER_DIAL_MS = 0' },
    ],
    provoke: CROWD,
  },
  {
    name: 'never-doubts',
    fault: 'members that proved to be only slow are given no more time than before',
    changes: [
      {
        file: 'doubt.ts',
        find: 'Math.min(state.config.falseAlarmsMax, state.falseAlarms + 1)',
        replace: '0',
      },
    ],
    provoke: CROWD,
  },
  {
    name: 'never-learns',
    fault: 'members that are late as a rule are missed as soon as others',
    changes: [{ file: 'overdue.ts', find: 'Math.max(overdueMs, member.overdueMs * (1 - FADES_BY))', replace: '0' }],
    provoke: OVERLOADED,
  },
  {
    name: 'late-suspects',
    fault: 'a node that was late itself takes what it missed meanwhile for the silence of others',
    changes: [{ file: 'lateness.ts', find: 'if (lateMs < latenessMs) return;', replace: 'if (lateMs >= 0) return;' }],
    provoke: OVERLOADED,
  },
  {
    name: 'impatient',
    fault: 'a node on a busy machine waits no longer for an answer than on an idle one',
    changes: [{ file: 'lateness.ts', find: 'LATENESS_PER_ANSWER = 8', replace: 'LATENESS_PER_ANSWER = 0' }],
    provoke: OVERLOADED,
  },
  {
    name: 'decides-over',
    fault: 'a copy that offered to go, and takes long to stop, is decided on over and over',
    changes: [
      {
        file: 'reconcile.ts',
        find: "if (instance.state === 'ready') wakeAtMs = Math.min(wakeAtMs, offerEndsAtMs",
        replace: 'wakeAtMs = Math.min(wakeAtMs, offerEndsAtMs',
      },
    ],
  },
  {
    name: 'no-way-in',
    fault: 'an old copy that fills the room for the new one stays, though the new one runs on a node that drains',
    changes: [
      {
        file: 'reconcile.ts',
        find: 'if (isHandedOver(input, own, serving)) {',
        replace: 'if (slotKey === undefined) {',
      },
    ],
    provoke: {
      nodes: 2,
      apps: 1,
      instances: 2,
      slack: 1.2,
      minutes: 1.5,
      data: false,
      users: ['push', 'drain'],
      faults: [],
    },
  },
  {
    name: 'blames-the-release',
    fault: 'starts that fail for want of disk count as crashes of the release',
    changes: [
      { file: 'instances.ts', find: 'if (lacks !== undefined && !instance.everReady) {', replace: 'if (nowMs < 0) {' },
    ],
    provoke: { nodes: 3, users: ['push'], faults: ['disk'] },
  },
];

/** Changes the core for everything this thread loads from now on. Throws when a text does not occur exactly once. */
export function applyMutant(mutant: Mutant): void {
  const sources = mutatedSources(mutant);
  registerHooks({
    load(url, context, next) {
      const loaded = next(url, context);
      const source = sources.get(url);
      return source === undefined ? loaded : { ...loaded, source };
    },
  });
}

/** By address of the file. */
export function mutatedSources(mutant: Mutant): Map<string, string> {
  const sources = new Map<string, string>();
  for (const { file, find, replace } of mutant.changes) {
    const url = new URL(file, CORE);
    const source = sources.get(url.href) ?? readFileSync(fileURLToPath(url), 'utf8');
    if (source.split(find).length !== 2) {
      throw new Error(`mutant ${mutant.name}: the text to change must occur exactly once in ${file}: ${find}`);
    }
    sources.set(
      url.href,
      source.replace(find, () => replace),
    );
  }
  return sources;
}
