// Placement: the pure function from (desired state, observed state) to "which node fills which slot". Every node
// computes it for the whole cluster; equal inputs give equal outputs whatever the order they arrived in. Starts and
// stops nothing.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { AppView, DesiredView, ReleaseView } from '../../crdt/view.ts';
import type { Candidate } from './candidates.ts';
import { type Considered, fillingDecision, type Recorder } from './decision.ts';
import { evenOutMemory } from './evening.ts';
import { type Infeasible, infeasibleReasons, isExhausted, isFeasible, mayKeep } from './feasibility.ts';
import { bestHolder, type Holder, holdersBySlot } from './holders.ts';
import { type Pin, pinsOf } from './pins.ts';
import type { Placement } from './placed.ts';
import {
  type CoarseRank,
  coarseRankOf,
  compareCoarseRanks,
  compareRanks,
  type Rank,
  rankOf,
  weightsOf,
} from './ranking.ts';
import {
  countsIn,
  FinalRanks,
  Rivals,
  type Spread,
  SUCCESSOR_SLOTS_MAX,
  SUCCESSORS_PER_SLOT,
  zoneOf,
} from './rivals.ts';
import { isCurrent, keyedSlotsOf, slotKey } from './slots.ts';
import { compareText } from './text.ts';
import type { Slot } from './types.ts';

/**
 * @param candidates every node with a report that is not known to be dead; `freeBytes` must be its whole budget. They
 *   are sorted here, and not kept.
 * @param record for explanations; deciding costs nothing more without it.
 */
export function place(view: DesiredView, candidates: readonly Candidate[], record?: Recorder): Placement {
  const nodes = candidates.map((candidate) => ({ ...candidate })).sort((a, b) => compareText(a.node, b.node));
  const holders = holdersBySlot(nodes);
  const apps = [...view.workloads.values()].sort((a, b) => compareText(a.id, b.id));
  const work = apps.map((app) => new AppPlacement(app, nodes, holders, record));
  const ranks = new FinalRanks(nodes);
  const byApp = new Map(work.map((one) => [one.app, one]));
  const placement: Placement = {
    assigned: new Map(),
    unplaceable: new Map(),
    successorsOf: (app) => byApp.get(app)?.successors() ?? [],
    isSuccessor: (app, node) => byApp.get(app)?.isSuccessor(ranks.of(node), ranks.emptiestFirst) ?? false,
    holders,
  };
  // Incumbents of every app come first: nothing new may take the memory of what already runs.
  for (const one of work) one.keepIncumbents('running');
  for (const one of work) one.keepIncumbents('crashed');
  for (const one of work) one.fillEmptySlots(placement);
  let moves = 0;
  for (const one of work) if (one.moveOneSlotToABetterNode()) moves++;
  if (moves === 0 && work.every((one) => one.isQuiet)) evenOutMemory(work, nodes);
  for (const one of work) one.report(placement);
  return placement;
}

/** The placement of one app's slots; the candidates' free memory is shared by all apps. */
class AppPlacement {
  readonly #app: AppView;
  readonly #release: ReleaseView | undefined;
  readonly #nodes: Candidate[];
  readonly #holders: Map<string, Holder[]>;
  readonly #slots: readonly Slot[];
  readonly #keys: readonly string[];
  /** Keyed by slot: of those whose data is on one node. They go where that is, and are never moved. */
  readonly #pins: ReadonlyMap<string, Pin> | undefined;
  readonly #record: Recorder | undefined;
  /** Changed by #own alone, which keeps the counts. */
  readonly #owner = new Map<string, Candidate>();
  readonly #spread: Spread = { nodes: new Map(), zones: new Map() };
  /** Keyed by slot: what its owner's copy takes, which was perhaps started before the app was set to another size. */
  readonly #taken = new Map<string, number>();
  /** Slots whose owner runs the right release, ready, while no other copy serves. */
  #settledSlots = 0;
  /** Pinned slots that their node cannot run: nobody else can, so no other app waits for them. */
  #strandedSlots = 0;
  /** Slots kept by a copy that crashed and waits there for its next start, or has not run for long enough since. */
  readonly #shaky = new Set<string>();
  /** Slots kept by a ready copy of an old release alone. */
  readonly #outdated = new Set<string>();

  constructor(app: AppView, nodes: Candidate[], holders: Map<string, Holder[]>, record: Recorder | undefined) {
    this.#app = app;
    this.#release = app.release;
    this.#nodes = nodes;
    this.#holders = holders;
    const { slots, keys } = keyedSlotsOf(app);
    this.#slots = slots;
    this.#keys = keys;
    this.#pins = pinsOf(app);
    this.#record = record;
  }

  get app(): AppId {
    return this.#app.id;
  }

  /**
   * A crashed copy keeps its slot only where there is room to start it again, beside all that runs, and nothing has
   * run out.
   */
  keepIncumbents(which: 'running' | 'crashed'): void {
    const release = this.#release;
    if (release === undefined) return;
    for (const [at, slot] of this.#slots.entries()) {
      const key = this.#keys[at]!;
      if (this.#owner.has(key)) continue;
      const staying = (this.#holders.get(key) ?? []).filter(
        ({ candidate, instance }) =>
          mayKeep(candidate, this.#pins?.get(key)) &&
          (instance.state === 'crashed') === (which === 'crashed') &&
          (which === 'running' || (candidate.freeBytes >= this.#app.memoryBytes && !isExhausted(candidate))),
      );
      const best = bestHolder(staying, this.#app, release, key);
      if (best === undefined) continue;
      this.#record?.({ slot, why: 'kept', owner: best.candidate.node }, () => this.#consider(key, release));
      this.#own(key, best.candidate);
      const alone = this.#takeWhatRuns(key, best);
      if (which === 'crashed') this.#shaky.add(key);
      else if (alone) this.#classify(key, best, release);
    }
  }

  #classify(key: string, best: Holder, release: ReleaseView): void {
    const { crashes, state } = best.instance;
    if (!isCurrent(best.instance, this.#app, release)) {
      if (state === 'ready') this.#outdated.add(key);
    } else if (crashes > 0) this.#shaky.add(key);
    else if (state === 'ready') this.#settledSlots++;
  }

  /**
   * The owner's copy takes what it was started with, whatever the app is set to now; a crashed one has its place kept.
   * A copy elsewhere that serves takes its memory until it goes, one that only starts there may be the slot's next
   * home. Returns whether no other copy serves.
   */
  #takeWhatRuns(key: string, best: Holder): boolean {
    const takenBytes = best.instance.state === 'crashed' ? this.#app.memoryBytes : best.instance.memoryBytes;
    this.#taken.set(key, takenBytes);
    best.candidate.freeBytes -= takenBytes;
    let alone = true;
    for (const { candidate, instance } of this.#holders.get(key) ?? []) {
      if (instance === best.instance || instance.state === 'crashed' || instance.state === 'starting') continue;
      alone = false;
      if (candidate !== best.candidate) candidate.freeBytes -= instance.memoryBytes;
    }
    return alone;
  }

  fillEmptySlots(placement: Placement): void {
    const release = this.#release;
    if (release === undefined) return;
    for (const [at, slot] of this.#slots.entries()) {
      const key = this.#keys[at]!;
      const owner = this.#owner.get(key);
      if (owner !== undefined && !this.#needsAnotherNodeToUpgrade(key, owner, release)) continue;
      const best = this.#bestNode(key, release, [owner]);
      this.#record?.(fillingDecision(slot, { owner: owner?.node, best: best?.node }), () =>
        this.#consider(key, release),
      );
      if (best !== undefined) {
        // An owner that hands its slot on has its memory back only when its copy has gone.
        this.#own(key, best);
        best.freeBytes -= this.#app.memoryBytes;
      } else if (owner === undefined) {
        placement.unplaceable.set(key, this.#refusals(key, release));
        if (this.#pins?.has(key)) this.#strandedSlots++;
      }
    }
  }

  /**
   * Spreads a settled app by one slot at a time, and only when that evens out a difference of two or more: so a move
   * can never call for the move back, and load alone never moves anything.
   */
  moveOneSlotToABetterNode(): boolean {
    const release = this.#release;
    if (release === undefined || this.#slots.length < 2 || !this.isSettled) return false;
    const counts = this.#spread.nodes;
    let most = 0;
    for (const count of counts.values()) most = Math.max(most, count);
    if (most < 2) return false;
    const last = this.#pins === undefined ? this.#keys.at(-1) : this.#keys.findLast((key) => !this.#pins?.has(key));
    const best = last === undefined ? undefined : this.#bestNode(last, release, []);
    if (last === undefined || best === undefined) return false;
    let crowded: Candidate | undefined;
    for (const node of this.#nodes) {
      if (crowded === undefined || (counts.get(node.node) ?? 0) > (counts.get(crowded.node) ?? 0)) crowded = node;
    }
    if (crowded === undefined || (counts.get(crowded.node) ?? 0) - (counts.get(best.node) ?? 0) < 2) return false;
    const moving = this.#nextToMove(crowded, best, () => true);
    if (moving === undefined) return false;
    this.#record?.({ slot: moving, why: 'balance', owner: best.node, from: crowded.node }, () =>
      this.#consider(last, release),
    );
    this.#reassign(moving, crowded, best);
    return true;
  }

  /** Every slot is filled by a ready instance of the right release that has not crashed of late. */
  get isSettled(): boolean {
    return this.#settledSlots + this.#strandedSlots === this.#slots.length;
  }

  /**
   * The same, but for slots that have crashed, whether they wait, start or run, and those whose roll-out waits for
   * them: an app that keeps crashing is not moved, and neither holds up a move of another nor causes one each time it
   * runs for a moment.
   */
  get isQuiet(): boolean {
    const stuck = this.#shaky.size === 0 ? 0 : this.#outdated.size;
    return this.#settledSlots + this.#strandedSlots + this.#shaky.size + stuck === this.#slots.length;
  }

  takenBytes(slot: Slot): number {
    return this.#taken.get(slotKey(slot)) ?? this.#app.memoryBytes;
  }

  get memoryBytes(): number {
    return this.#app.memoryBytes;
  }

  /** The last slot on `from` that may go to `to` without worsening the app's spread over nodes and zones. */
  slotToMove(from: Candidate, to: Candidate): Slot | undefined {
    const release = this.#release;
    if (release === undefined || !isFeasible(to, this.#app, release)) return undefined;
    const { nodes, zones } = this.#spread;
    if ((nodes.get(to.node) ?? 0) >= (nodes.get(from.node) ?? 0)) return undefined;
    const [fromZone, toZone] = [zoneOf(from), zoneOf(to)];
    if (fromZone !== toZone && (zones.get(toZone) ?? 0) >= (zones.get(fromZone) ?? 0) && toZone !== '')
      return undefined;
    return this.#nextToMove(from, to, (key) => !this.#shaky.has(key) && !this.#outdated.has(key));
  }

  /**
   * One that starts on `to` already, if there is any, so that a move that has begun goes on, and a daemon that was
   * away gets back what ran on there; else the last one.
   */
  #nextToMove(from: Candidate, to: Candidate, mayMove: (key: string) => boolean): Slot | undefined {
    let last: Slot | undefined;
    for (let at = this.#slots.length - 1; at >= 0; at--) {
      const key = this.#keys[at]!;
      if (this.#owner.get(key) !== from || this.#pins?.has(key) || !mayMove(key)) continue;
      if (this.#startsOn(key, to)) return this.#slots[at];
      last ??= this.#slots[at];
    }
    return last;
  }

  #startsOn(key: string, node: Candidate): boolean {
    const release = this.#release;
    if (release === undefined) return false;
    return (this.#holders.get(key) ?? []).some(
      ({ candidate, instance }) =>
        candidate === node && instance.state === 'starting' && isCurrent(instance, this.#app, release),
    );
  }

  move(slot: Slot, from: Candidate, to: Candidate): void {
    const release = this.#release;
    if (release === undefined) return;
    this.#record?.({ slot, why: 'evening', owner: to.node, from: from.node }, () =>
      this.#consider(slotKey(slot), release),
    );
    this.#reassign(slot, from, to);
  }

  #reassign(slot: Slot, from: Candidate, to: Candidate): void {
    from.freeBytes += this.takenBytes(slot);
    to.freeBytes -= this.#app.memoryBytes;
    this.#own(slotKey(slot), to);
  }

  #own(key: string, owner: Candidate): void {
    const before = this.#owner.get(key);
    if (before !== undefined) this.#count(before, -1);
    this.#owner.set(key, owner);
    this.#count(owner, 1);
  }

  #count(owner: Candidate, by: number): void {
    const { nodes, zones } = this.#spread;
    nodes.set(owner.node, (nodes.get(owner.node) ?? 0) + by);
    const zone = zoneOf(owner);
    if (zone !== '') zones.set(zone, (zones.get(zone) ?? 0) + by);
  }

  report(placement: Placement): void {
    for (const [key, owner] of this.#owner) placement.assigned.set(key, owner.node);
  }

  /**
   * A single instance cannot be stopped before its successor runs; without room for both, the successor runs
   * elsewhere. Where something has run out, nothing new is started if another node can.
   */
  #needsAnotherNodeToUpgrade(key: string, owner: Candidate, release: ReleaseView): boolean {
    if (this.#pins?.has(key)) return false;
    const exhausted = isExhausted(owner);
    if (!exhausted && (this.#slots.length !== 1 || this.#app.strategy === 'recreate')) return false;
    const held = (this.#holders.get(key) ?? []).filter(
      ({ candidate, instance }) => candidate === owner && instance.state !== 'crashed',
    );
    if (held.length === 0 || held.some((holder) => isCurrent(holder.instance, this.#app, release))) return false;
    return exhausted || owner.freeBytes < this.#app.memoryBytes;
  }

  #bestNode(key: string, release: ReleaseView, except: readonly (Candidate | undefined)[]): Candidate | undefined {
    const pin = this.#pins?.get(key);
    const weightOf = weightsOf(key);
    const { nodes, zones } = this.#spread;
    let best: { candidate: Candidate; rank: CoarseRank; weight: number | undefined } | undefined;
    for (const candidate of this.#nodes) {
      // What of the rank is cheap, first: of a thousand nodes most are no match for the best so far.
      if (best !== undefined) {
        const byApp = (nodes.get(candidate.node) ?? 0) - best.rank.sameApp;
        if (byApp > 0 || (byApp === 0 && (zones.get(zoneOf(candidate)) ?? 0) > best.rank.sameZone)) continue;
      }
      if (!isFeasible(candidate, this.#app, release, pin) || except.includes(candidate)) continue;
      const rank = coarseRankOf(candidate, countsIn(this.#spread, candidate));
      const order = best === undefined ? -1 : compareCoarseRanks(rank, best.rank);
      if (best === undefined || order < 0) {
        best = { candidate, rank, weight: undefined };
      } else if (order === 0) {
        best.weight ??= weightOf(best.candidate);
        const weight = weightOf(candidate);
        if (weight > best.weight) best = { candidate, rank, weight };
      }
    }
    return best?.candidate;
  }

  /** Every feasible node, best first. */
  #rankedNodes(key: string, release: ReleaseView): Ranked[] {
    return this.#nodes
      .filter((candidate) => isFeasible(candidate, this.#app, release, this.#pins?.get(key)))
      .map((candidate) => ({ candidate, rank: this.#rankOf(candidate, key) }))
      .sort((a, b) => compareRanks(a.rank, b.rank));
  }

  /** Every node, weighed for the slot as things stand: the feasible ones first, best first. */
  #consider(key: string, release: ReleaseView): Considered[] {
    const feasible = this.#rankedNodes(key, release).map(
      ({ candidate: { node, freeBytes }, rank }): Considered => ({ node, freeBytes, rank }),
    );
    const refused = this.#refusals(key, release).filter(({ reasons }) => reasons.length > 0);
    return [...feasible, ...refused];
  }

  #refusals(key: string, release: ReleaseView): { node: NodeId; reasons: Infeasible[] }[] {
    return this.#nodes.map((candidate) => ({
      node: candidate.node,
      reasons: infeasibleReasons(candidate, this.#app, release, this.#pins?.get(key)),
    }));
  }

  /** Where the app's first slots would go next, the owner of each left out. */
  successors(): NodeId[] {
    const release = this.#release;
    if (release === undefined) return [];
    const chosen = new Set<NodeId>();
    for (const key of this.#succeededKeys()) {
      const owner = this.#owner.get(key);
      let except = owner === undefined ? [] : [owner];
      for (let place = 0; place < SUCCESSORS_PER_SLOT; place++) {
        const next = this.#bestNode(key, release, except);
        if (next === undefined) break;
        chosen.add(next.node);
        except = [...except, next];
      }
    }
    return [...chosen];
  }

  isSuccessor(candidate: Candidate | undefined, others: readonly Candidate[]): boolean {
    const release = this.#release;
    if (release === undefined || candidate === undefined || !isFeasible(candidate, this.#app, release)) return false;
    const rivals = new Rivals(others, (other) =>
      other === candidate || !isFeasible(other, this.#app, release)
        ? 1
        : compareCoarseRanks(
            coarseRankOf(other, countsIn(this.#spread, other)),
            coarseRankOf(candidate, countsIn(this.#spread, candidate)),
          ),
    );
    for (const key of this.#succeededKeys()) {
      // One of the better ones may own the slot, and does not count then.
      if (rivals.betterCount > SUCCESSORS_PER_SLOT) return false;
      if (this.#isNextOf(key, candidate, rivals)) return true;
    }
    return false;
  }

  /** Nobody succeeds the node that has the data. */
  #succeededKeys(): readonly string[] {
    const free = this.#pins === undefined ? this.#keys : this.#keys.filter((key) => !this.#pins?.has(key));
    return free.slice(0, SUCCESSOR_SLOTS_MAX);
  }

  /** Whether fewer nodes than a slot has successors rank before this one, which stops being so after a few of them. */
  #isNextOf(key: string, candidate: Candidate, rivals: Rivals): boolean {
    const owner = this.#owner.get(key);
    if (candidate === owner) return false;
    const weightOf = weightsOf(key);
    const weight = weightOf(candidate);
    let before = 0;
    for (let at = 0; before < SUCCESSORS_PER_SLOT; at++) {
      const rival = rivals.at(at);
      if (rival === undefined) return true;
      if (rival.candidate !== owner && (rival.isBetter || weightOf(rival.candidate) > weight)) before++;
    }
    return false;
  }

  #rankOf(candidate: Candidate, slot: string): Rank {
    return rankOf(candidate, { slot, ...countsIn(this.#spread, candidate) });
  }
}

type Ranked = { candidate: Candidate; rank: Rank };
