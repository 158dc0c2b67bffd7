// readView: what a desired-state document means. Tolerant (a missing, unknown or wrong-typed field becomes its default, or
// its entry is left out; never throws) and deterministic (equal documents give equal views, in equal order). Never writes.

import { asClusterId, asNodeId, type NodeId } from './ids.ts';
import { domainProblem, idProblem, LABEL_KEY_PATTERN, ROLES } from './limits.ts';
import { readApps } from './read-apps.ts';
import { choice, type Entries, entries, field, integer, isMap, optionalText, text } from './read-values.ts';
import type { Conflict, DesiredView, InviteView, NodeView, UserView } from './view.ts';

/** Of an Automerge document, or of a plain copy of one. */
export function readView(doc: unknown): DesiredView {
  const cluster = field(doc, 'cluster');
  const conflicts: Conflict[] = [];
  const removedNodes = new Set(entries(field(doc, 'removedNodes')).map(([id]) => asNodeId(id)));
  const { nodes, losers } = readNodes(entries(field(doc, 'nodes')), removedNodes, conflicts);
  const { apps, routes } = readApps(field(doc, 'apps'), field(doc, 'routes'), conflicts);
  const domain = text(field(cluster, 'domain'), 'localhost');
  return {
    cluster: {
      id: asClusterId(text(field(cluster, 'id'), '')),
      name: text(field(cluster, 'name'), 'peer'),
      domain: domainProblem(domain) ? 'localhost' : domain,
    },
    nodes,
    removedNodes,
    users: readUsers(entries(field(doc, 'users')), nodes, losers),
    invites: readInvites(entries(field(doc, 'invites'))),
    apps,
    routes,
    conflicts,
  };
}

function readNodes(docs: Entries, removed: ReadonlySet<NodeId>, conflicts: Conflict[]) {
  const nodes = new Map<NodeId, NodeView>();
  for (const [key, doc] of docs) {
    const id = asNodeId(key);
    if (idProblem(key) || removed.has(id) || !isMap(doc)) continue;
    nodes.set(id, {
      id,
      name: text(field(doc, 'name'), key.slice(-8).toLowerCase()),
      draining: field(doc, 'draining') === true,
      labels: readLabels(field(doc, 'labels')),
      admittedAtMs: integer(field(doc, 'admittedAtMs'), { default: 0 }),
    });
  }
  // The oldest owns the name; `nodes` is in the order of ids, and sorting keeps that order among equals.
  const owners = new Map<string, NodeId>();
  const losers = new Set<NodeId>();
  for (const node of [...nodes.values()].sort((a, b) => a.admittedAtMs - b.admittedAtMs)) {
    const owner = owners.get(node.name);
    if (owner === undefined) owners.set(node.name, node.id);
    else {
      losers.add(node.id);
      conflicts.push({ kind: 'nodeName', name: node.name, winner: owner, loser: node.id });
    }
  }
  return { nodes, losers };
}

/** The operator of a node is a user named after it; `@` keeps the name apart from people's. */
export const operatorName = (node: Pick<NodeView, 'id' | 'name'>, ownsName: boolean): string =>
  ownsName ? `operator@${node.name}` : `operator@${node.name}-${node.id.slice(-8)}`;

function readUsers(docs: Entries, nodes: ReadonlyMap<NodeId, NodeView>, losers: ReadonlySet<NodeId>) {
  const users = new Map<string, UserView>();
  for (const [key, doc] of docs) {
    const role = choice(field(doc, 'role'), ROLES, undefined);
    const tokenHash = optionalText(field(doc, 'tokenHash'));
    // Without a role or a token nobody could log in as this user, and a default would give rights away.
    if (role === undefined || tokenHash === undefined) continue;
    const operatorOf = optionalText(field(doc, 'node'));
    const createdAtMs = integer(field(doc, 'createdAtMs'), { default: 0 });
    if (operatorOf === undefined) {
      users.set(key, { name: key, role, tokenHash, createdAtMs });
      continue;
    }
    const node = nodes.get(asNodeId(operatorOf));
    // The operator of a removed node went with it, even when the two sides of a partition disagreed for a while.
    if (node === undefined || operatorOf !== key) continue;
    const name = operatorName(node, !losers.has(node.id));
    users.set(name, { name, role, tokenHash, createdAtMs, node: node.id });
  }
  return new Map([...users].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function readInvites(docs: Entries): Map<string, InviteView> {
  const invites = new Map<string, InviteView>();
  for (const [id, doc] of docs) {
    const secretHash = optionalText(field(doc, 'secretHash'));
    if (secretHash === undefined) continue;
    invites.set(id, {
      id,
      secretHash,
      expiresAtMs: integer(field(doc, 'expiresAtMs'), { default: 0 }),
      usesMax: integer(field(doc, 'usesMax'), { default: 0 }),
      usedBy: entries(field(doc, 'uses')).map(([node]) => asNodeId(node)),
    });
  }
  return invites;
}

function readLabels(doc: unknown): Record<string, string> {
  const labels: [string, string][] = [];
  for (const [key, value] of entries(doc)) {
    const label = optionalText(value);
    if (label !== undefined && LABEL_KEY_PATTERN.test(key)) labels.push([key, label]);
  }
  return Object.fromEntries(labels);
}
