// readView: what a desired-state document means. The one place where the rules of limits.ts meet what any node has
// written: a record that breaks them is left out, a field gets its default, and the view says so. Tolerant of what is
// missing or unknown, deterministic (equal documents give equal views, in equal order). Never throws, never writes.

import { asClusterId, asNodeId, type NodeId } from './ids.ts';
import {
  CLUSTER_NAME_LENGTH_MAX,
  domainProblem,
  INVITE_USES_MAX,
  idProblem,
  LABELS_PER_NODE_MAX,
  labelKeyProblem,
  labelValueProblem,
  nameProblem,
  ROLES,
  TEAMS,
  TIME_MS_MAX,
  tokenHashProblem,
} from './limits.ts';
import { readApps } from './read-apps.ts';
import { readData } from './read-data.ts';
import { readKeys, readSealKey } from './read-keys.ts';
import {
  anyText,
  choice,
  type Entries,
  entries,
  entriesIn,
  field,
  flag,
  integerIn,
  isMap,
  line,
  optionalText,
  record,
} from './read-values.ts';
import { Place, RecordProblems } from './record-problems.ts';
import type { Role } from './schema.ts';
import type { Conflict, DesiredView, InviteView, NodeView, UserView } from './view.ts';

const TIME = { max: TIME_MS_MAX, default: 0 };

/** Of an Automerge document, or of a plain copy of one. */
export function readView(doc: unknown): DesiredView {
  const problems = new RecordProblems();
  const at = (key: string): Place => new Place(problems, key);
  const conflicts: Conflict[] = [];
  const removedNodes = readRemoved(entries(field(doc, 'removedNodes')), at('removedNodes'));
  const { nodes, losers } = readNodes(entries(field(doc, 'nodes')), removedNodes, conflicts, at('nodes'));
  const cluster = readCluster(field(doc, 'cluster'), at('cluster'));
  const { domain } = cluster;
  const { apps: named, routes, hosts } = readApps(field(doc, 'apps'), field(doc, 'routes'), { domain, conflicts, at });
  const data = readData(doc, named, { conflicts, at });
  return {
    cluster,
    nodes,
    removedNodes,
    keys: readKeys(entries(field(doc, 'keys')), at('keys')),
    users: readUsers(entries(field(doc, 'users')), { nodes, losers }, at('users')),
    invites: readInvites(entries(field(doc, 'invites')), at('invites')),
    ...data,
    routes,
    hosts,
    conflicts,
    problems: problems.list(),
  };
}

function readCluster(doc: unknown, place: Place): DesiredView['cluster'] {
  const domain = anyText(field(doc, 'domain'));
  const problem = domainProblem(domain);
  if (problem !== undefined && field(doc, 'domain') !== undefined) place.in('domain').replaced(problem);
  return {
    id: asClusterId(optionalText(field(doc, 'id')) ?? ''),
    name: line(doc, 'name', { lengthMax: CLUSTER_NAME_LENGTH_MAX, default: 'peer' }, place),
    domain: problem === undefined && domain !== undefined ? domain : 'localhost',
    teams: choice(doc, 'teams', { choices: TEAMS, default: 'flat' }, place),
  };
}

/** Whether the id of an entry may be one; says so when not. */
function isId(key: string, place: Place): boolean {
  const problem = idProblem(key);
  if (problem !== undefined) place.in(key).leftOut(`its id ${problem}`);
  return problem === undefined;
}

function isRecord(key: string, doc: unknown, place: Place): boolean {
  if (isMap(doc)) return true;
  place.in(key).leftOut('must be a map');
  return false;
}

const readRemoved = (docs: Entries, place: Place): Set<NodeId> =>
  new Set(docs.filter(([key]) => isId(key, place)).map(([key]) => asNodeId(key)));

function readNodes(docs: Entries, removed: ReadonlySet<NodeId>, conflicts: Conflict[], place: Place) {
  const nodes = new Map<NodeId, NodeView>();
  for (const [key, doc] of docs) {
    const id = asNodeId(key);
    if (removed.has(id) || !isId(key, place) || !isRecord(key, doc, place)) continue;
    const at = place.in(key);
    nodes.set(id, {
      id,
      name: readNodeName(key, field(doc, 'name'), at),
      draining: flag(doc, 'draining', at),
      labels: readLabels(entriesIn(doc, 'labels', at), at.in('labels')),
      admittedAtMs: integerIn(doc, 'admittedAtMs', TIME, at),
      sealKey: readSealKey(field(doc, 'sealKey'), at.in('sealKey')),
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

/** A node without a name, or with one that is none, is called after its id: it is a node all the same. */
function readNodeName(id: string, value: unknown, place: Place): string {
  const name = anyText(value);
  const problem = nameProblem(name);
  if (problem === undefined && name !== undefined) return name;
  if (value !== undefined) place.in('name').replaced(problem ?? '');
  return (
    id
      .slice(-8)
      .toLowerCase()
      .replace(/[^a-z0-9]/g, '') || 'node'
  );
}

/** The operator of a node is a user named after it; `@` keeps the name apart from people's. */
export const operatorName = (node: Pick<NodeView, 'id' | 'name'>, ownsName: boolean): string =>
  ownsName ? `operator@${node.name}` : `operator@${node.name}-${node.id.slice(-8)}`;

/** Nobody who breaks a rule is a user: a default would give rights away. */
function readUsers(
  docs: Entries,
  { nodes, losers }: { nodes: ReadonlyMap<NodeId, NodeView>; losers: ReadonlySet<NodeId> },
  place: Place,
): Map<string, UserView> {
  const users = new Map<string, UserView>();
  for (const [key, doc] of docs) {
    if (!isRecord(key, doc, place)) continue;
    const at = place.in(key);
    const role = ROLES.find((one) => one === anyText(field(doc, 'role')));
    const tokenHash = anyText(field(doc, 'tokenHash'));
    const operatorOf = optionalText(field(doc, 'node'));
    const problem = userProblem({ key, operatorOf, role, tokenHash });
    if (problem !== undefined || role === undefined || tokenHash === undefined) {
      at.leftOut(problem ?? '');
      continue;
    }
    const createdAtMs = integerIn(doc, 'createdAtMs', TIME, at);
    if (operatorOf === undefined) {
      users.set(key, { name: key, role, tokenHash, createdAtMs });
      continue;
    }
    const node = nodes.get(asNodeId(operatorOf));
    // The operator of a removed node went with it, even when the two sides of a partition disagreed for a while.
    if (node === undefined) continue;
    const name = operatorName(node, !losers.has(node.id));
    users.set(name, { name, role, tokenHash, createdAtMs, node: node.id });
  }
  return new Map([...users].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function userProblem(user: {
  key: string;
  operatorOf: string | undefined;
  role: Role | undefined;
  tokenHash: string | undefined;
}): string | undefined {
  if (user.operatorOf !== undefined && user.operatorOf !== user.key)
    return 'the operator of a node is kept under its id';
  const name = user.operatorOf === undefined ? nameProblem(user.key) : idProblem(user.key);
  if (name !== undefined) return `its name ${name}`;
  if (user.role === undefined) return `its role must be one of ${ROLES.join(', ')}`;
  const hash = tokenHashProblem(user.tokenHash);
  return hash === undefined ? undefined : `its token hash ${hash}`;
}

function readInvites(docs: Entries, place: Place): Map<string, InviteView> {
  const invites = new Map<string, InviteView>();
  for (const [id, doc] of docs) {
    if (!isId(id, place) || !isRecord(id, doc, place)) continue;
    const at = place.in(id);
    const secretHash = anyText(field(doc, 'secretHash'));
    const problem = tokenHashProblem(secretHash);
    if (problem !== undefined || secretHash === undefined) {
      at.leftOut(`its secret ${problem}`);
      continue;
    }
    invites.set(id, {
      id,
      secretHash,
      expiresAtMs: integerIn(doc, 'expiresAtMs', TIME, at),
      usesMax: integerIn(doc, 'usesMax', { max: INVITE_USES_MAX, default: 0 }, at),
      usedBy: entriesIn(doc, 'uses', at).map(([node]) => asNodeId(node)),
    });
  }
  return invites;
}

function readLabels(docs: Entries, place: Place): Record<string, string> {
  const labels: [string, string][] = [];
  for (const [key, value] of docs) {
    const label = anyText(value);
    const problem = labelKeyProblem(key) ?? labelValueProblem(label) ?? overflow(labels, LABELS_PER_NODE_MAX, 'labels');
    if (problem !== undefined) place.in(key).leftOut(problem);
    else if (label) labels.push([key, label]);
  }
  return record(labels);
}

/** Of lists that two sides of a partition filled apart: what comes after the bound is left out. */
const overflow = (taken: readonly unknown[], max: number, what: string): string | undefined =>
  taken.length < max ? undefined : `at most ${max} ${what} are allowed`;
