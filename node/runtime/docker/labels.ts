// Names the labels that Peer puts on what it makes in a container engine, and reads them back. Pure.

import type { InstanceRecord } from '../instance-folder.ts';

/** On a stack image: the stack it is, such as `debian12-x64`. */
export const STACK_LABEL = 'peer.stack';
/** On a stack image: what it was built from, so that a changed recipe is built anew. */
export const STACK_RECIPE_LABEL = 'peer.stack.recipe';
/** On containers, networks and images of a node: its id. */
export const NODE_LABEL = 'peer.node';
/** On a container: its instance's id. */
export const INSTANCE_LABEL = 'peer.instance';
/** On a container: what adoption needs to know, as JSON; no command and no environment. */
export const RECORD_LABEL = 'peer.record';
/** On a network: the id of the app whose instances are on it. */
export const APP_LABEL = 'peer.app';

export function stackTag(stack: string): string {
  return `peer-stack:${stack}`;
}

export function readRecord(labels: Readonly<Record<string, string>>): InstanceRecord | undefined {
  try {
    const record = JSON.parse(labels[RECORD_LABEL] ?? '') as InstanceRecord;
    return record.version === 1 && record.id === labels[INSTANCE_LABEL] ? record : undefined;
  } catch {
    return undefined;
  }
}
