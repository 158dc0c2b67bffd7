// What this node knows of the cluster's members, in the forms in which its parts ask for it. Decides nothing.

import type { AppId, NodeId } from '../../crdt/ids.ts';
import type { DesiredView } from '../../crdt/view.ts';
import type { MemberView, ObservedView } from '../ports/node-service.ts';

export class KnownCluster {
  readonly self: NodeId;
  readonly view: () => DesiredView;
  readonly observed: () => ObservedView;

  constructor(options: { self: NodeId; view: () => DesiredView; observed: () => ObservedView }) {
    this.self = options.self;
    this.view = options.view;
    this.observed = options.observed;
  }

  aliveOtherMembers = (): MemberView[] =>
    this.observed().members.filter(({ id, status }) => id !== this.self && status === 'alive');

  aliveOthers = (): NodeId[] => this.aliveOtherMembers().map(({ id }) => id);

  isAlive = (node: NodeId): boolean =>
    this.observed().members.some(({ id, status }) => id === node && status === 'alive');

  /** The name, or the id of one that is not admitted any more. */
  nameOf = (node: NodeId): string => this.view().nodes.get(node)?.name ?? node;

  linkOf = (node: NodeId): string | undefined => this.observed().members.find(({ id }) => id === node)?.report?.link;

  /** Nodes that run instances of the app. */
  nodesOf = (app: AppId): NodeId[] =>
    this.observed()
      .members.filter(
        ({ status, report }) => status === 'alive' && report?.instances.some((instance) => instance.app === app),
      )
      .map(({ id }) => id);

  /** Of every member that was heard: what a new node dials first. */
  addresses = (): Record<NodeId, string[]> =>
    Object.fromEntries(
      this.observed().members.flatMap(({ id, report }) => (report === undefined ? [] : [[id, report.addresses]])),
    );
}
