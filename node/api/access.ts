// What a user may do with an app, by role and by team, and the app that a request names once that is known. The one
// place where the API decides it: every route of an app asks here.

import type { Context } from 'hono';
import type { AppView, DesiredView, UserView } from '../../crdt/view.ts';
import { type ApiEnv, includesRole } from './auth.ts';
import { ApiError } from './errors.ts';
import { appNamed } from './lookup.ts';

/**
 * Each includes those before it. `status`: that it is there, where it runs and how it does. `read`: its logs, events,
 * releases and the names in its environment. `change`: everything else, reading values and running commands included.
 */
export type AppAccess = 'status' | 'read' | 'change';
const ORDER: readonly AppAccess[] = ['status', 'read', 'change'];

type Who = Pick<UserView, 'name' | 'role'>;

/** By the role alone, unless apps belong to teams (`peer users isolate on`): then others only see the status. */
export function accessTo(view: DesiredView, user: Who, app: AppView): AppAccess {
  const isOutsider = view.cluster.teams === 'owned' && user.role !== 'admin' && !isOfTeam(user, app);
  if (isOutsider) return 'status';
  return includesRole(user.role, 'developer') ? 'change' : 'read';
}

export const includesAccess = (held: AppAccess, needed: AppAccess): boolean =>
  ORDER.indexOf(held) >= ORDER.indexOf(needed);

const isOfTeam = (user: Who, app: AppView): boolean => app.owner === user.name || app.members.includes(user.name);

/** Of what belongs to no app that is there any more. */
export const readsAll = (view: DesiredView, user: Who): boolean =>
  view.cluster.teams === 'flat' || user.role === 'admin';

/** Fails with `forbidden`, which says who could help. */
export function requireAccess(view: DesiredView, user: Who, app: AppView, needed: AppAccess): void {
  if (includesAccess(accessTo(view, user, app), needed)) return;
  if (needed === 'change' && !includesRole(user.role, 'developer')) {
    throw new ApiError('forbidden', `this needs the role developer, and ${user.name} is a ${user.role}: ask an admin`);
  }
  throw new ApiError(
    'forbidden',
    `${app.name} belongs to ${app.owner ?? 'no one'}, and ${user.name} is not of its team: ${helpWith(user, app)}`,
  );
}

const helpWith = (user: Who, app: AppView): string => {
  const whom = app.owner === undefined ? 'an admin' : `${app.owner} or an admin`;
  return `ask ${whom} for peer apps share ${app.name} ${user.name}`;
};

/** Its owner and admins say who works on an app, whatever the setting: it holds when that is changed, too. */
export function requireOwner(user: Who, app: AppView): void {
  if (user.role === 'admin' || (includesRole(user.role, 'developer') && app.owner === user.name)) return;
  const whom = app.owner === undefined ? 'an admin' : `${app.owner} or an admin`;
  throw new ApiError('forbidden', `only its owner and admins decide who works on ${app.name}: ask ${whom}`);
}

/** The app that the path names, for this user. Fails with `not_found` or `forbidden`. */
export function appFor(c: Context<ApiEnv>, view: DesiredView, needed: AppAccess): AppView {
  const app = appNamed(view, c.req.param('name') ?? '');
  requireAccess(view, c.get('user'), app, needed);
  return app;
}

/**
 * Whether the user who asked at first may go on: the same token, the same app, and still the access. For what takes
 * long: a user may have been removed meanwhile, or taken out of the team.
 */
export function stillHas(view: DesiredView, asked: UserView, app: AppView['id'], needed: AppAccess): boolean {
  const user = currentUser(view, asked);
  const now = view.apps.get(app);
  return user !== undefined && now !== undefined && includesAccess(accessTo(view, user, now), needed);
}

/** As the view knows the user now; undefined when removed, or when another has the name. */
export function currentUser(view: DesiredView, asked: UserView): UserView | undefined {
  const user = view.users.get(asked.name);
  return user?.tokenHash === asked.tokenHash ? user : undefined;
}
