// How far an app is on the way to what was asked, as data: which slots are ready, what crashed and why, what cannot be
// placed. Pure; the waiting is in rollout.ts.

import type { InstanceId, NodeId, ReleaseId } from '../../crdt/ids.ts';
import type { AppView, DesiredView } from '../../crdt/view.ts';
import { type Infeasible, infeasibleReasons } from '../core/feasibility.ts';
import { type Pin, pinsOf } from '../core/pins.ts';
import { fullOf } from '../core/pressure.ts';
import { slotsOf } from '../core/slots.ts';
import type { MemberView, ObservedView } from '../ports/node-service.ts';
import { instancesOf, slotName } from './shaping.ts';

/** What is waited for. */
export type RolloutTarget = {
  /** Undefined: whatever release the app has. */
  release: ReleaseId | undefined;
  /** An instance that must have gone: one slot was restarted. */
  replaced: InstanceId | undefined;
};

export type RolloutProgress = {
  ready: number;
  total: number;
  /** Everything wanted is ready, and nothing is left of what is not wanted. */
  settled: boolean;
  /**
   * Slots without any instance, or with one that is to be replaced, for which no node can be found now, and why; one
   * line each.
   */
  unplaceable: string[];
  /**
   * Slots of the release that have crashed, also those that run again. `ended` is the copy that has just ended, if it
   * is still there.
   */
  crashed: CrashedSlot[];
};

export type CrashedSlot = {
  node: NodeId;
  nodeName: string;
  slot: string;
  crashes: number;
  ended: InstanceId | undefined;
  reason: string | undefined;
};

export function rolloutProgress(
  app: AppView,
  view: DesiredView,
  observed: ObservedView,
  target: RolloutTarget,
): RolloutProgress {
  const release = target.release ?? app.release?.id;
  const instances = instancesOf(app, observed);
  const wanted = new Set(slotsOf(app).map(slotName));
  const ready = new Set<string>();
  const present = new Set<string>();
  /** Of those, the slots with a copy of what is wanted now. */
  const underWay = new Set<string>();
  const crashed: RolloutProgress['crashed'] = [];
  let unwanted = 0;
  for (const { member, instance } of instances) {
    const slot = slotName(instance);
    if (instance.state === 'stopping') {
      // An app's is out of the way by then; a service has its data until its engine has written it all.
      if (app.release?.service !== undefined) unwanted++;
      continue;
    }
    const current = instance.release === release && instance.restartCount >= app.restartCount;
    const ended = instance.state === 'crashed';
    if (current && wanted.has(slot) && (ended || instance.crashes > 0)) {
      crashed.push({
        node: member.id,
        nodeName: member.name,
        slot,
        crashes: instance.crashes,
        ended: ended ? instance.id : undefined,
        reason: instance.reason,
      });
    }
    if (ended) continue;
    if (!wanted.has(slot) || instance.id === target.replaced) {
      unwanted++;
      continue;
    }
    present.add(slot);
    if (current) underWay.add(slot);
    if (instance.state === 'ready' && current) ready.add(slot);
  }
  const missing = [...wanted].filter((slot) => !present.has(slot) && !crashed.some((crash) => crash.slot === slot));
  // A copy that is to be replaced makes room for the next, but neither disk nor descriptors.
  const waiting = [...present].filter((slot) => !underWay.has(slot));
  const stuck = missing.length > 0 ? missing : waiting.length > 0 && isNowhereRoom(app, observed) ? waiting : [];
  return {
    ready: ready.size,
    total: wanted.size,
    settled: ready.size === wanted.size && unwanted === 0,
    unplaceable: unplaceableSlots(stuck, app, view, observed),
    crashed,
  };
}

/** Those of the slots that no node can take, with why, one line each. */
function unplaceableSlots(slots: readonly string[], app: AppView, view: DesiredView, observed: ObservedView): string[] {
  const pins = slots.length === 0 ? undefined : pinsOf(app);
  /** Of slots that may run anywhere: the same for all of them. */
  let anywhere: { refusals: string | undefined } | undefined;
  return slots.flatMap((slot) => {
    const pin = pins?.get(`${app.id}/${slot}`);
    if (pin === undefined) anywhere ??= { refusals: refusalsOf(app, view, observed) };
    const refusals = pin === undefined ? anywhere?.refusals : refusalsOf(app, view, observed, pin);
    return refusals === undefined ? [] : [`insufficient resources: no node can take ${slot}: ${refusals}`];
  });
}

/** Whether every node that lives has run out of something that the copies which run do not hold. */
function isNowhereRoom(app: AppView, observed: ObservedView): boolean {
  const living = observed.members.filter(({ status, report }) => status === 'alive' && report !== undefined);
  return app.release !== undefined && living.length > 0 && living.every(({ report }) => fullOf(report!).length > 0);
}

/**
 * Why each node refuses the app, in one line; undefined when at least one could take it. Of a slot whose data is on
 * one node, what is wrong with that.
 */
function refusalsOf(app: AppView, view: DesiredView, observed: ObservedView, pin?: Pin): string | undefined {
  const release = app.release;
  if (release === undefined) return undefined;
  const only = pin !== undefined && 'node' in pin ? pin.node : undefined;
  if (only !== undefined && !view.nodes.has(only)) return 'the node that has its data was removed from the cluster';
  const before = only === undefined ? (name: string) => name : (name: string) => `its data is on ${name}, which`;
  const lines: string[] = [];
  for (const node of view.nodes.values()) {
    if (only !== undefined && node.id !== only) continue;
    const member = observed.members.find((candidate) => candidate.id === node.id);
    if (member?.report === undefined) {
      lines.push(`${before(node.name)} has not been heard of`);
      continue;
    }
    const reasons = infeasibleReasons(
      {
        node: node.id,
        status: member.status,
        draining: node.draining,
        report: member.report,
        freeBytes: freeBytesOf(member),
      },
      app,
      release,
      pin,
    );
    if (reasons.length === 0) return undefined;
    lines.push(`${before(node.name)} ${reasonText(reasons.find(({ kind }) => kind === 'exhausted') ?? reasons[0]!)}`);
  }
  const shown = lines.slice(0, REFUSALS_SHOWN_MAX);
  if (lines.length > shown.length) shown.push(`${lines.length - shown.length} more nodes refuse too`);
  return shown.join('; ');
}

const REFUSALS_SHOWN_MAX = 5;

function freeBytesOf(member: MemberView): number {
  const report = member.report!;
  return report.instances.reduce(
    (free, instance) => (instance.state === 'crashed' ? free : free - instance.memoryBytes),
    report.memoryBytes,
  );
}

/** In words, to follow the node's name. */
export function reasonText(reason: Infeasible): string {
  switch (reason.kind) {
    case 'notAlive':
      return `is ${reason.status}`;
    case 'draining':
      return 'is draining';
    case 'leaving':
      return 'is leaving';
    case 'noRuntime':
      return 'has no runtime';
    case 'noContainers':
      return 'has no container engine to run an image with';
    case 'stack':
      return `has no stack ${reason.wanted}`;
    case 'memory':
      return `has ${mebibytes(reason.freeBytes)} of memory free, ${mebibytes(reason.wantedBytes)} is needed`;
    case 'exhausted':
      return reason.text;
    case 'noEngine':
      return `has no ${reason.wanted}`;
    case 'noHardQuota':
      return 'cannot give a volume a hard quota';
    case 'disk':
      return `has ${mebibytes(reason.freeBytes)} of disk free, and its hard quota takes ${mebibytes(reason.wantedBytes)} at once`;
    case 'pinned':
      return `does not have its data, which is on ${reason.nodeName ?? reason.node}`;
    case 'moving':
      return `gets its data from ${reason.nodeName ?? reason.node}, which has not left it yet`;
    case 'split':
      return 'does not have all of its data, which is on several nodes';
    case 'noVolume':
      return 'has no volume for it';
  }
}

const mebibytes = (bytes: number): string => `${Math.max(0, Math.floor(bytes / 1024 ** 2))}M`;
