// Whether a named change is allowed on top of a view: a full check of its values and of what it refers to. Throws
// ChangeRejected with one line that says what to do; changes nothing. What a change then does is in changes.ts.

import type { ChangeAuthor, NamedChange } from './change.ts';
import { checkBoolean, checkChoice, checkId, checkInteger, checkName, isRecord, quote } from './checks.ts';
import { ChangeRejected } from './errors.ts';
import {
  INVITE_USES_MAX,
  INVITES_MAX,
  idProblem,
  integerProblem,
  isStaleInvite,
  labelCountProblem,
  labelKeyProblem,
  labelValueProblem,
  NODES_MAX,
  ROLES,
  sealKeyProblem,
  TEAMS,
  tokenHashProblem,
  USERS_MAX,
} from './limits.ts';
import { appRules } from './validate-apps.ts';
import { dataRules } from './validate-data.ts';
import { keyRules } from './validate-keys.ts';
import type { DesiredView, NodeView } from './view.ts';

type Of<Kind extends NamedChange['change']> = Extract<NamedChange, { change: Kind }>;
type Rules = { [Kind in NamedChange['change']]: (view: DesiredView, change: Of<Kind>, author: ChangeAuthor) => void };

const rules: Rules = {
  admitNode: validateAdmission,
  ...keyRules,
  removeNode: validateNodeRemoval,
  setDraining: (view, change) => {
    knownNode(view, change);
    checkBoolean('draining', change.draining);
  },
  labelNode: validateLabels,
  addUser: validateNewUser,
  removeUser: validateUserRemoval,
  setTeams: (_view, change) => checkChoice('teams', change.teams, TEAMS),
  createInvite: validateInvite,
  ...appRules,
  ...dataRules,
};

export function validateChange(view: DesiredView, change: NamedChange, author: ChangeAuthor): void {
  const name: unknown = isRecord(change) ? change.change : undefined;
  if (typeof name !== 'string' || !Object.hasOwn(rules, name)) {
    throw new ChangeRejected(
      'invalid_change',
      `Change ${quote(name)} is not known to this version; upgrade this node, or use a change that it knows.`,
    );
  }
  const rule = rules[change.change] as (view: DesiredView, change: NamedChange, author: ChangeAuthor) => void;
  rule(view, change, author);
}

function knownNode(view: DesiredView, change: { node: NodeView['id'] }): NodeView {
  const node = view.nodes.get(change.node);
  if (node !== undefined) return node;
  throw new ChangeRejected(
    'node_unknown',
    `Node ${quote(change.node)} is not a node of this cluster; see \`peer nodes\` for those that are.`,
  );
}

function validateAdmission(view: DesiredView, change: Of<'admitNode'>, author: ChangeAuthor): void {
  checkId('node', change.node);
  checkName('node name', change.name);
  if (change.operatorTokenHash !== undefined) checkTokenHash(change.operatorTokenHash);
  const sealKey = change.sealKey === undefined ? undefined : sealKeyProblem(change.sealKey);
  if (sealKey !== undefined) throw new ChangeRejected('invalid_value', `seal key: ${sealKey}.`);
  if (view.removedNodes.has(change.node)) {
    throw new ChangeRejected(
      'node_removed',
      `Node ${change.name} was removed from this cluster; delete its data directory and join again with a new invite.`,
    );
  }
  const namesake = [...view.nodes.values()].find((node) => node.name === change.name && node.id !== change.node);
  // Two that were given one name apart both keep it until one of them takes another.
  if (namesake !== undefined && view.nodes.get(change.node)?.name !== change.name) {
    throw new ChangeRejected(
      'node_name_taken',
      `Another node is named ${change.name}; start this one with --name and a name of its own, or remove that one first if it is gone for good (\`peer nodes remove ${change.name}\`).`,
    );
  }
  if (!view.nodes.has(change.node) && view.nodes.size >= NODES_MAX) {
    throw new ChangeRejected('limit_reached', `The cluster holds ${NODES_MAX} nodes, the most there may be.`);
  }
  if (change.invite !== undefined) validateInviteUse(view, change.invite, change.node, author);
}

function validateInviteUse(view: DesiredView, id: string, node: NodeView['id'], author: ChangeAuthor): void {
  const invite = view.invites.get(id);
  if (invite === undefined) {
    throw new ChangeRejected('invite_unknown', 'This invite is not known here; make a new one with `peer invite`.');
  }
  // A joiner that lost the answer asks again: it has been counted, and is let in even if its invite has run out since.
  if (invite.usedBy.includes(node)) return;
  if (invite.expiresAtMs <= author.atMs) {
    throw new ChangeRejected('invite_expired', 'This invite has expired; make a new one with `peer invite`.');
  }
  if (invite.usedBy.length >= invite.usesMax) {
    throw new ChangeRejected(
      'invite_used_up',
      `This invite has been used ${invite.usedBy.length} times, as often as allowed; make a new one with \`peer invite\`.`,
    );
  }
}

function validateNodeRemoval(view: DesiredView, change: Of<'removeNode'>): void {
  const node = knownNode(view, change);
  if (view.nodes.size === 1) {
    throw new ChangeRejected(
      'last_node',
      `${node.name} is the last node of the cluster; to end the cluster, stop it and delete its data directory.`,
    );
  }
  const admins = [...view.users.values()].filter((user) => user.role === 'admin');
  if (admins.some((user) => user.node === node.id) && admins.length === 1) {
    throw new ChangeRejected(
      'last_admin',
      `The operator of ${node.name} is the last admin; add another with \`peer users add NAME --role admin\` first.`,
    );
  }
}

function validateLabels(view: DesiredView, change: Of<'labelNode'>): void {
  const node = knownNode(view, change);
  if (!isRecord(change.labels)) throw new ChangeRejected('invalid_value', 'labels: must be pairs of key and value.');
  for (const [key, value] of Object.entries(change.labels)) {
    const keyProblem = labelKeyProblem(key);
    if (keyProblem !== undefined) throw new ChangeRejected('invalid_name', `label ${quote(key)}: ${keyProblem}.`);
    const problem = labelValueProblem(value);
    if (problem !== undefined) throw new ChangeRejected('invalid_value', `label ${key}: ${problem}.`);
  }
  const merged = Object.entries({ ...node.labels, ...change.labels }).filter(([, value]) => value !== '');
  const problem = labelCountProblem(merged.length);
  if (problem !== undefined) throw new ChangeRejected('limit_reached', `labels of ${node.name}: ${problem}.`);
}

function validateNewUser(view: DesiredView, change: Of<'addUser'>): void {
  checkName('user name', change.name);
  checkChoice('role', change.role, ROLES);
  checkTokenHash(change.tokenHash);
  if (view.users.has(change.name)) {
    throw new ChangeRejected(
      'user_exists',
      `There is a user ${change.name} already; choose another name, or remove that one with \`peer users remove\`.`,
    );
  }
  if (view.users.size >= USERS_MAX) {
    throw new ChangeRejected('limit_reached', `The cluster holds ${USERS_MAX} users, the most there may be.`);
  }
}

function validateUserRemoval(view: DesiredView, change: Of<'removeUser'>): void {
  const user = view.users.get(change.name);
  if (user === undefined) {
    throw new ChangeRejected(
      'user_unknown',
      `There is no user ${quote(change.name)}; see \`peer users\` for those there are.`,
    );
  }
  const admins = [...view.users.values()].filter((one) => one.role === 'admin');
  if (user.role === 'admin' && admins.length === 1) {
    throw new ChangeRejected(
      'last_admin',
      `${user.name} is the last admin; add another with \`peer users add NAME --role admin\` first.`,
    );
  }
}

function validateInvite(view: DesiredView, change: Of<'createInvite'>, author: ChangeAuthor): void {
  const problem = idProblem(change.id);
  if (problem !== undefined) throw new ChangeRejected('invalid_id', `invite: ${problem}.`);
  checkTokenHash(change.secretHash);
  checkInteger('uses', change.usesMax, { min: 1, max: INVITE_USES_MAX });
  if (
    integerProblem(change.expiresAtMs, { min: 0, max: Number.MAX_SAFE_INTEGER }) ||
    change.expiresAtMs <= author.atMs
  ) {
    throw new ChangeRejected('out_of_range', 'ttl: an invite must expire in the future, for example --ttl 1h.');
  }
  if (view.invites.has(change.id)) {
    throw new ChangeRejected('invite_exists', 'An invite of this id exists already; make another one.');
  }
  const kept = [...view.invites.values()].filter((invite) => !isStaleInvite(invite, author.atMs));
  if (kept.length >= INVITES_MAX) {
    throw new ChangeRejected(
      'limit_reached',
      `${kept.length} invites are open, the most there may be; use one of them, or wait until some have expired.`,
    );
  }
}

function checkTokenHash(hash: unknown): void {
  const problem = tokenHashProblem(hash);
  if (problem !== undefined) throw new ChangeRejected('invalid_value', `token hash: ${problem}.`);
}
