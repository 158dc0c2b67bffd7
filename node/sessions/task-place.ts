// Which node runs a task: where the data of its slot is, else the one that has the droplet and room. Pure.

import type { NodeId } from '../../crdt/ids.ts';
import type { AppView, VolumeView } from '../../crdt/view.ts';
import type { Candidate } from '../core/candidates.ts';
import { isFeasible } from '../core/feasibility.ts';
import { mountsOf } from '../core/pins.ts';
import type { VolumeMount } from '../core/types.ts';
import { SessionError } from './errors.ts';

/** The slot whose volumes a task sees. */
export type TaskSlot = { process: string; index: number };

export type TaskPlaceQuestion = {
  app: AppView;
  slot: TaskSlot | undefined;
  /** With the memory of each that is promised to nobody. */
  candidates: readonly Candidate[];
  self: NodeId;
  nameOf: (node: NodeId) => string;
};

/** Fails with SessionError `no_release` or `no_node_for_task`. */
export function nodeForTask(question: TaskPlaceQuestion): NodeId {
  const { app, slot, candidates, self } = question;
  const { release } = app;
  if (release === undefined) throw noRelease(app);
  const volumes = volumesOf(app, slot);
  if (volumes.length > 0) return nodeOfData(question, volumes);
  const able = candidates
    .filter((candidate) => isFeasible(candidate, app, release))
    .map(({ node, report, freeBytes }) => ({
      node,
      freeBytes,
      preference: (report.droplets.includes(release.droplet.digest) ? 2 : 0) + (node === self ? 1 : 0),
    }))
    .sort((a, b) => b.preference - a.preference || b.freeBytes - a.freeBytes);
  const [best] = able;
  if (best !== undefined) return best.node;
  throw new SessionError('no_node_for_task', `no node can run a task of ${app.name}: it needs ${needsOf(app)}`);
}

/**
 * What a task of the slot mounts on this node. Fails with SessionError `no_node_for_task` where the data is not here,
 * or not yet.
 */
export function mountsOnNode(
  app: AppView,
  slot: TaskSlot | undefined,
  question: Pick<TaskPlaceQuestion, 'self' | 'nameOf'>,
): VolumeMount[] {
  const volumes = volumesOf(app, slot);
  if (volumes.length === 0) return [];
  const { node } = dataOf(app, volumes, question);
  if (node === question.self) return mountsOf({ volumes });
  throw new SessionError(
    'no_node_for_task',
    `the data of ${app.name} has moved to ${question.nameOf(node)}: try again`,
  );
}

/** Whether what a task has mounted is still what its slot is to have there. */
export const isStillThere = (app: AppView | undefined, self: NodeId, mounted: readonly VolumeMount[]): boolean =>
  mounted.every(({ id, lineage }) =>
    app?.volumes.some(
      (one) => one.id === id && one.lineage === lineage && one.node === self && one.movedFrom === undefined,
    ),
  );

/** Those of the slot that is named; it has to have some, unless it is the first one that nobody named. */
function volumesOf({ name, volumes }: AppView, slot: TaskSlot | undefined): VolumeView[] {
  if (slot === undefined) return [];
  const found = volumes.filter(({ process, index }) => process === slot.process && index === slot.index);
  if (found.length > 0 || (slot.process === 'web' && slot.index === 0)) return found;
  const which = slot.process === 'web' ? `${name}/${slot.index}` : `${name}/${slot.process}/${slot.index}`;
  throw new SessionError('bad_request', `${which} has no volume: see peer volumes, or peer run ${name}`);
}

/** The one node that all of them are on. */
function dataOf(
  app: AppView,
  volumes: readonly VolumeView[],
  { nameOf }: Pick<TaskPlaceQuestion, 'nameOf'>,
): { node: NodeId } {
  const [node, other] = [...new Set(volumes.map((one) => one.node))];
  const moving = volumes.find(({ movedFrom }) => movedFrom !== undefined)?.movedFrom;
  if (other !== undefined || moving !== undefined) {
    const where = moving === undefined ? 'is on several nodes' : `is on its way from ${nameOf(moving)}`;
    throw new SessionError('no_node_for_task', `the data of ${app.name} ${where}: see peer volumes`);
  }
  return { node: node! };
}

function nodeOfData(question: TaskPlaceQuestion, volumes: readonly VolumeView[]): NodeId {
  const { app, candidates, nameOf } = question;
  const { node } = dataOf(app, volumes, question);
  const candidate = candidates.find((one) => one.node === node);
  const name = nameOf(node);
  const without = `or without it: peer run --no-volumes ${app.name}`;
  if (candidate === undefined || candidate.status !== 'alive') {
    const message = `the data of ${app.name} is on ${name}, which is not alive: run it when that is back, ${without}`;
    throw new SessionError('no_node_for_task', message);
  }
  const pin = { kind: 'pinned' as const, node, volumes };
  if (isFeasible(candidate, app, app.release!, pin)) return node;
  const message = `the data of ${app.name} is on ${name}, which cannot run a task of it: it needs ${needsOf(app)}; ${without}`;
  throw new SessionError('no_node_for_task', message);
}

export const noRelease = ({ name }: Pick<AppView, 'name'>): SessionError =>
  new SessionError('no_release', `${name} has no release to run: push it first`);

function needsOf({ release, memoryBytes }: AppView): string {
  const stack = release?.droplet.stack;
  const place =
    release?.image === undefined ? `the stack ${stack}` : `an engine for its image (runtime docker, stack ${stack})`;
  return `${place} and ${Math.ceil(memoryBytes / 1024 ** 2)}M of free memory; see peer nodes`;
}
