// Placement in people's words: decisions, and the reasons against a node. Pure.

import type { NodeVerdictShape, WhatIfShape, WhyShape } from '../node/api/shapes.ts';
import { formatBytes } from './format.ts';

type Refusal = WhatIfShape['moves'][number]['refusals'][number];
type Reason = Refusal['reasons'][number];

/** Who fills the slot, and why, in one line. */
export function decisionText(why: WhyShape): string {
  const { owner, from } = why;
  switch (why.decision) {
    case 'kept':
      return `${owner}, which runs it already and so keeps it`;
    case 'bestRank':
      return `${owner}, the first in rank: no node that runs it may keep it`;
    case 'upgradeNeedsRoom':
      return `${owner}, the first in rank: ${from} has no room for the old and the new instance side by side`;
    case 'upgradeBlocked':
      return `${owner}, which keeps it: it has no room for the old and the new instance side by side, and no other node can take it`;
    case 'balance':
      return `${owner}, the first in rank: it moves there from ${from}, which has the most instances of ${why.app}`;
    case 'evening':
      return `${owner}, the emptiest node: it moves there from ${from}, the fullest`;
    case 'unplaceable':
      return 'nobody: every node has a reason against it';
    case 'unwanted':
      return `nobody: ${unwantedText(why)}`;
  }
}

function unwantedText({ app, process, because }: WhyShape): string {
  switch (because) {
    case 'noRelease':
      return `${app} has no release yet: peer push`;
    case 'stopped':
      return `${app} is stopped: peer start-app ${app}`;
    case 'noProcess':
      return `${app} has no process ${process}: see peer app ${app}`;
    case 'scale':
      return `${app} is scaled to fewer instances of ${process}: peer scale ${app} ${process}=N`;
    case 'noApp':
    case null:
      return `there is no app ${app} any more`;
  }
}

export function reasonText(reason: Reason): string {
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
      return `has ${reason.has.join(', ') || 'no stack'}, not ${reason.wanted}`;
    case 'memory':
      return `has ${formatBytes(Math.max(0, reason.freeBytes))} of memory left, not ${formatBytes(reason.wantedBytes)}`;
    case 'exhausted':
      return reason.text;
    case 'noEngine':
      return `has no ${reason.wanted}`;
    case 'noHardQuota':
      return 'cannot give a volume a hard quota: that needs root, loop devices and mkfs.ext4';
    case 'disk':
      return `has ${formatBytes(reason.freeBytes)} of disk free, and its hard quota takes ${formatBytes(reason.wantedBytes)} at once`;
    case 'pinned':
      return `does not have its data, which is on ${reason.nodeName ?? reason.node}`;
    case 'moving':
      return `gets its data from ${reason.nodeName ?? reason.node}, which has not left it yet`;
    case 'split':
      return `does not have all of its data, which is on ${(reason.nodeNames ?? reason.nodes).join(' and ')}`;
    case 'noVolume':
      return 'has no volume for it, as others of its process type have';
  }
}

export const reasonsText = (reasons: readonly Reason[]): string => reasons.map(reasonText).join('; ');

/** Why the node cannot fill the slot; empty when it can. */
export function againstText(one: NodeVerdictShape): string {
  switch (one.verdict) {
    case 'feasible':
      return '';
    case 'infeasible':
      return reasonsText(one.reasons);
    case 'absent':
      return one.status === 'alive' || one.status === 'suspect' ? 'has not reported yet' : `is ${one.status}`;
  }
}
