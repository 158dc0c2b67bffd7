// Twin of what looks after snapshots (node/volumes/keeper.ts) and restores lost volumes of them (restorer.ts), around
// the real rules: which is the newest, which are kept, which are held by too few. A snapshot is its description alone.

import type { NamedChange } from '../../crdt/change.ts';
import { asLineageId, type LineageId, type NodeId, type VolumeId } from '../../crdt/ids.ts';
import type { VolumeView } from '../../crdt/view.ts';
import { candidatesOf } from '../../node/core/candidates.ts';
import { rendezvousWeights } from '../../node/core/hash.ts';
import { mayRestore } from '../../node/core/loss.ts';
import { restorePlan } from '../../node/core/newest-snapshot.ts';
import { surplusOf, thinOf } from '../../node/volumes/kept.ts';
import type { LossOrder } from '../../node/volumes/restorer.ts';
import type { SimNode } from './node.ts';
import { hexOf } from './prng.ts';

export type SimSnapshot = { id: string; volume: VolumeId; lineage: LineageId; takenAtMs: number };
export type SimHeld = SimSnapshot & { holders: NodeId[] };

/** As node/storage/copies.ts. */
const HOLDERS_WANTED = 3;
/** As node/volumes/keeper.ts, which waits longer after a failure. */
const LOOK_MS = 15_000;
/** As node/volumes/restorer.ts. */
const PATIENT_MS = 60_000;
const REQUEST_TIMEOUT_MS = 5_000;
const RECEIVE_MS = { min: 20, max: 3_000 };
const ENTRY_BYTES = 300;

export class SimSnapshots {
  /** On disk. */
  readonly held = new Map<string, SimSnapshot>();
  readonly #node: SimNode;
  #taken = 0;
  #made = 0;
  #among = '';
  readonly #restoring = new Set<string>();
  readonly #triedAtMs = new Map<string, number>();

  constructor(node: SimNode) {
    this.#node = node;
  }

  booted(): void {
    this.#among = '';
    this.#restoring.clear();
    this.#triedAtMs.clear();
    this.#look();
  }

  /** Of a volume that is here, as far as this node knows. */
  take(volume: VolumeView): void {
    const { id, lineage } = volume;
    const takenAtMs = this.#node.wallMs();
    const snapshot = { id: `${id}-${this.#node.index}-${this.#taken++}`, volume: id, lineage, takenAtMs };
    this.#keep(snapshot);
    this.#share(snapshot, [this.#node.id], (holders) => {
      if (holders.length < HOLDERS_WANTED) this.#among = '';
      this.#node.world.checkers.snapshotTaken(snapshot, holders);
    });
  }

  restore(order: LossOrder): void {
    const key = order.volumes.map(({ id, lineage }) => `${id} ${lineage}`).join();
    const volumes = order.volumes.flatMap(({ id }) => this.#volumes()?.get(id) ?? []);
    if (this.#restoring.has(key) || volumes.length < order.volumes.length || !this.#mayRestore(order)) return;
    this.#restoring.add(key);
    const end = (): void => void this.#restoring.delete(key);
    const sinceMs = this.#triedAtMs.get(key) ?? this.#node.localMs();
    this.#triedAtMs.set(key, sinceMs);
    const patient = this.#node.localMs() - sinceMs < PATIENT_MS;
    this.#plan(volumes, patient, (plan) => {
      if ('wait' in plan) end();
      else this.#receive(plan, { end, received: () => this.#lookAgain(order, volumes, plan, { end, patient }) });
    });
  }

  /** Fetching and unpacking take their time. */
  #receive(plan: readonly SimHeld[], { end, received }: { end: () => void; received: () => void }): void {
    const { rng } = this.#node;
    this.#node.later(rng.between(RECEIVE_MS.min, RECEIVE_MS.max), () => {
      if (!plan.every((one) => this.#canFetch(one))) {
        end();
        return;
      }
      for (const { holders: _, ...snapshot } of plan) this.#keep(snapshot);
      received();
    });
  }

  #lookAgain(
    order: LossOrder,
    volumes: readonly VolumeView[],
    plan: readonly SimHeld[],
    { end, patient }: { end: () => void; patient: boolean },
  ): void {
    this.#plan(volumes, false, (again) => {
      end();
      if (!('wait' in again) && this.#mayRestore(order)) this.#write(order, volumes, plan, patient);
    });
  }

  #write(order: LossOrder, volumes: readonly VolumeView[], plan: readonly SimHeld[], patient: boolean): void {
    const node = this.#node;
    const changes = volumes.map((volume, at): NamedChange => {
      const { id, takenAtMs } = plan[at]!;
      const lineage = asLineageId(`l-${hexOf(`${node.index}/${node.epoch}/${this.#made++}`, 8)}`);
      const lost = { lost: order.lost, lostLineage: volume.lineage };
      return {
        change: 'restoreVolume',
        volume: volume.id,
        ...lost,
        node: node.id,
        lineage,
        snapshot: { id, takenAtMs },
      };
    });
    node.world.trace(node, 'restores', JSON.stringify(changes));
    node.world.checkers.restoring(node, order, { changes, snapshots: plan, patient });
    node.replicator?.write(changes, { by: `node ${node.self.name}`, atMs: node.wallMs() }, (result) =>
      node.world.written(node, result),
    );
  }

  #mayRestore(order: LossOrder): boolean {
    const { core } = this.#node;
    return core !== undefined && mayRestore(core, candidatesOf(core, this.#node.localMs()), order);
  }

  #volumes(): ReadonlyMap<VolumeId, VolumeView> | undefined {
    return this.#node.store?.document.view().volumes;
  }

  #canFetch({ id, holders }: SimHeld): boolean {
    if (this.held.has(id)) return true;
    const { world, index, disk } = this.#node;
    if (disk.full) return false;
    return holders.some((holder) => {
      const other = world.nodes[world.indexOf(holder)]!;
      return (
        other.daemonUp && !other.frozen && other.snapshots.held.has(id) && world.network.reaches(index, other.index)
      );
    });
  }

  #plan(
    volumes: readonly VolumeView[],
    patient: boolean,
    done: (plan: ReturnType<typeof restorePlan<SimHeld>>) => void,
  ): void {
    const living = this.#aliveOthers().length + 1;
    this.#ask((held, answered) => {
      const admitted = this.#node.core?.desired?.nodes.size ?? 0;
      done(restorePlan(volumes, held, { answered, living, admitted, patient }));
    });
  }

  /** From every node that answers, newest first; `answered`: how many did, this one included. */
  #ask(done: (held: SimHeld[], answered: number) => void): void {
    const found = new Map<string, SimHeld>();
    const add = (snapshots: Iterable<SimSnapshot>, holder: NodeId): void => {
      for (const one of snapshots) {
        found.set(one.id, { ...one, holders: [...(found.get(one.id)?.holders ?? []), holder] });
      }
    };
    add(this.held.values(), this.#node.id);
    const others = this.#aliveOthers();
    let [waiting, answered] = [others.length, 1];
    const end = (): void => done([...found.values()].sort(newestFirst), answered);
    if (waiting === 0) end();
    for (const other of others) {
      const over = (): void => {
        if (--waiting === 0) end();
      };
      this.#node.gossip?.request<SimSnapshot[]>(
        other,
        { bytes: ENTRY_BYTES, timeoutMs: REQUEST_TIMEOUT_MS },
        (node, reply) => {
          const held = [...node.snapshots.held.values()];
          reply(held, ENTRY_BYTES * held.length);
        },
        (held) => {
          answered++;
          add(held, this.#node.world.idOf(other));
          over();
        },
        over,
      );
    }
  }

  #keep(snapshot: SimSnapshot): void {
    this.held.set(snapshot.id, snapshot);
    const volumes = this.#volumes();
    if (volumes === undefined) return;
    const here = [...this.held.values()].sort(newestFirst);
    for (const { id } of surplusOf(here, volumes, this.#node.wallMs())) this.held.delete(id);
  }

  #share(snapshot: SimSnapshot, holders: readonly NodeId[], done: (holders: readonly NodeId[]) => void): void {
    const weight = rendezvousWeights(snapshot.volume);
    const ids = this.#aliveOthers().map((index) => this.#node.world.idOf(index));
    const [next] = ids.filter((id) => !holders.includes(id)).sort((a, b) => weight(b) - weight(a));
    if (holders.length >= HOLDERS_WANTED || next === undefined) {
      done(holders);
      return;
    }
    this.#node.gossip?.request<boolean>(
      this.#node.world.indexOf(next),
      { bytes: ENTRY_BYTES, timeoutMs: REQUEST_TIMEOUT_MS },
      (node, reply) => {
        if (!node.disk.full) node.snapshots.#keep(snapshot);
        reply(!node.disk.full, 1);
      },
      (held) => {
        if (held) this.#share(snapshot, [...holders, next], done);
        else done(holders);
      },
      () => done(holders),
    );
  }

  #look(): void {
    this.#node.later(LOOK_MS, () => {
      this.#look();
      const volumes = this.#volumes();
      const mine = [...(volumes?.values() ?? [])]
        .filter(({ node }) => node === this.#node.id)
        .map(({ id, snapshotsKept }) => `${id} ${snapshotsKept}`);
      const among = [...this.#aliveOthers(), ...mine].join();
      if (among === this.#among || volumes === undefined) return;
      this.#among = among;
      const self = this.#node.id;
      this.#ask((held, answered) => {
        const living = this.#aliveOthers().length + 1;
        if (answered < living) this.#among = '';
        const isSpread = (holders: readonly string[]): boolean => holders.length >= Math.min(HOLDERS_WANTED, living);
        const isHere = (id: VolumeId): boolean => volumes.get(id)?.node === self;
        for (const one of thinOf(held, volumes, { isHere, isSpread, nowMs: this.#node.wallMs() })) {
          const { holders, ...snapshot } = one;
          if (!this.#canFetch(one)) this.#among = '';
          else {
            this.#keep(snapshot);
            this.#share(snapshot, [...new Set([self, ...holders])], (now) => {
              if (!isSpread(now)) this.#among = '';
            });
          }
        }
      });
    });
  }

  #aliveOthers(): number[] {
    const { core, world } = this.#node;
    const alive: number[] = [];
    for (const member of core?.members.values() ?? []) {
      if (member.status === 'alive' && core?.desired?.nodes.has(member.node)) alive.push(world.indexOf(member.node));
    }
    return alive.sort((a, b) => a - b);
  }
}

const newestFirst = (a: SimSnapshot, b: SimSnapshot): number => b.takenAtMs - a.takenAtMs || (a.id < b.id ? 1 : -1);
