// applyChange: what each named change does to the document, once validateChange has found it allowed on top of the
// view. Deterministic; touches as few keys as it can, so that edits made apart merge. Never reads a clock, never does
// I/O.

import type { ChangeAuthor, NamedChange } from './change.ts';
import { appEffects, memberKey } from './changes-apps.ts';
import { dataEffects } from './changes-data.ts';
import { keyEffects } from './changes-keys.ts';
import { type Draft, drop, mapIn, put, putMap } from './draft.ts';
import type { NodeId } from './ids.ts';
import { isStaleInvite } from './limits.ts';
import { readView } from './read.ts';
import { isMap } from './read-values.ts';
import { validateChange } from './validate.ts';
import type { DesiredView } from './view.ts';

type Of<Kind extends NamedChange['change']> = Extract<NamedChange, { change: Kind }>;
type Applied = { author: ChangeAuthor; view: DesiredView };
type Effects = { [Kind in NamedChange['change']]: (doc: Draft, change: Of<Kind>, applied: Applied) => void };

const effects: Effects = {
  admitNode,
  ...keyEffects,
  removeNode,
  setDraining: (doc, change) => put(nodeDoc(doc, change.node), 'draining', change.draining),
  labelNode,
  addUser: (doc, { name, role, tokenHash }, { author }) =>
    putMap(mapIn(doc, 'users'), name, { role, tokenHash, createdAtMs: author.atMs }),
  // The operator of a node is kept under the node's id.
  removeUser,
  setTeams: (doc, { teams }) => put(mapIn(doc, 'cluster'), 'teams', teams),
  createInvite,
  ...appEffects,
  ...dataEffects,
};

/**
 * Validates the change against `view`, which must be the view of `doc`, and applies it to `doc`: the draft inside an
 * Automerge change, or a plain copy. Throws ChangeRejected before anything is touched.
 */
export function applyChange(
  doc: Draft,
  change: NamedChange,
  author: ChangeAuthor,
  view: DesiredView = readView(doc),
): void {
  validateChange(view, change, author);
  const effect = effects[change.change] as (doc: Draft, change: NamedChange, applied: Applied) => void;
  effect(doc, change, { author, view });
}

function admitNode(doc: Draft, change: Of<'admitNode'>, { author, view }: Applied): void {
  const nodes = mapIn(doc, 'nodes');
  const users = mapIn(doc, 'users');
  if (view.nodes.has(change.node)) {
    // It asks again, because the answer was lost or because it was given another name.
    put(nodeDoc(doc, change.node), 'name', change.name);
    if (change.sealKey !== undefined) put(nodeDoc(doc, change.node), 'sealKey', change.sealKey);
  } else {
    putMap(nodes, change.node, {
      name: change.name,
      admittedAtMs: author.atMs,
      admittedBy: author.by,
      draining: false,
      labels: {},
      sealKey: change.sealKey,
    });
  }
  if (change.invite !== undefined) {
    const uses = mapIn(mapIn(doc, 'invites')[change.invite]!, 'uses');
    if (!Object.hasOwn(uses, change.node)) put(uses, change.node, author.atMs);
  }
  if (change.operatorTokenHash === undefined) return;
  const operator = users[change.node];
  if (isMap(operator)) {
    put(operator, 'tokenHash', change.operatorTokenHash);
    put(operator, 'role', 'admin');
    return;
  }
  putMap(users, change.node, {
    role: 'admin',
    tokenHash: change.operatorTokenHash,
    createdAtMs: author.atMs,
    node: change.node,
  });
}

function removeNode(doc: Draft, { node }: Of<'removeNode'>, { author }: Applied): void {
  put(mapIn(doc, 'removedNodes'), node, author.atMs);
  drop(mapIn(doc, 'nodes'), node);
  drop(mapIn(doc, 'users'), node);
}

function labelNode(doc: Draft, change: Of<'labelNode'>): void {
  const labels = mapIn(nodeDoc(doc, change.node), 'labels');
  for (const [key, value] of Object.entries(change.labels)) {
    if (value === '') drop(labels, key);
    else put(labels, key, value);
  }
}

/** The next user of that name begins without the apps of the one before. */
function removeUser(doc: Draft, { name }: Of<'removeUser'>, { view }: Applied): void {
  drop(mapIn(doc, 'users'), view.users.get(name)?.node ?? name);
  for (const app of view.apps.values()) {
    if (app.members.includes(name)) drop(mapIn(doc, 'apps')[app.id]!, memberKey(name));
  }
}

function createInvite(doc: Draft, change: Of<'createInvite'>, { author, view }: Applied): void {
  const invites = mapIn(doc, 'invites');
  for (const invite of view.invites.values()) if (isStaleInvite(invite, author.atMs)) drop(invites, invite.id);
  putMap(invites, change.id, {
    secretHash: change.secretHash,
    createdAtMs: author.atMs,
    expiresAtMs: change.expiresAtMs,
    usesMax: change.usesMax,
    uses: {},
  });
}

/** Of a node that validation has seen in the view. */
const nodeDoc = (doc: Draft, node: NodeId) => mapIn(doc, 'nodes')[node]!;
