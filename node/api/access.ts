// What a user may do with an app, by role and by team, and the app that a request names once that is known. The one
// place where the API decides it: every route of an app asks here.

import type { Context } from 'hono';
import { asAppId } from '../../crdt/ids.ts';
import type { AppView, DesiredView, ServiceView, UserView } from '../../crdt/view.ts';
import { type ApiEnv, includesRole } from './auth.ts';
import { ApiError } from './errors.ts';
import { appNamed, findApp, findService, serviceNamed, workloadOf } from './lookup.ts';

/**
 * Each includes those before it. `status`: that it is there, where it runs and how it does. `read`: its logs, events,
 * releases and the names in its environment. `change`: everything else, reading values and running commands included.
 */
export type AppAccess = 'status' | 'read' | 'change';
const ORDER: readonly AppAccess[] = ['status', 'read', 'change'];

type Who = Pick<UserView, 'name' | 'role'>;
type Owned = Pick<AppView, 'owner' | 'members'>;

/** By the role alone, unless apps belong to teams (`peer users isolate on`): then others only see the status. */
export function accessTo(view: DesiredView, user: Who, app: Owned): AppAccess {
  const isOutsider = view.cluster.teams === 'owned' && user.role !== 'admin' && !isOfTeam(user, app);
  if (isOutsider) return 'status';
  return includesRole(user.role, 'developer') ? 'change' : 'read';
}

export const includesAccess = (held: AppAccess, needed: AppAccess): boolean =>
  ORDER.indexOf(held) >= ORDER.indexOf(needed);

const isOfTeam = (user: Who, app: Owned): boolean => app.owner === user.name || app.members.includes(user.name);

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

/** A service is its maker's, and has no team beside them. */
const ownedBy = ({ createdBy }: ServiceView): Owned => ({ owner: createdBy, members: [] });

/** The same of a service. */
export function requireServiceAccess(view: DesiredView, user: Who, service: ServiceView, needed: AppAccess): void {
  if (includesAccess(accessTo(view, user, ownedBy(service)), needed)) return;
  const { name, createdBy } = service;
  const isViewer = needed === 'change' && !includesRole(user.role, 'developer');
  throw new ApiError(
    'forbidden',
    isViewer
      ? `this needs the role developer, and ${user.name} is a ${user.role}: ask an admin`
      : `the service ${name} belongs to ${createdBy}: ask ${createdBy} or an admin`,
  );
}

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

/** The service that the path names, for this user. Fails as appFor does. */
export function serviceFor(c: Context<ApiEnv>, view: DesiredView, needed: AppAccess): ServiceView {
  const service = serviceNamed(view, c.req.param('name') ?? '');
  requireServiceAccess(view, c.get('user'), service, needed);
  return service;
}

/** The app of the name, or what runs of the service of the name. Fails as appFor does. */
export function workloadNamed(view: DesiredView, user: Who, name: string, needed: AppAccess): AppView {
  const service = findApp(view, name) === undefined ? findService(view, name) : undefined;
  if (service === undefined) {
    const app = appNamed(view, name);
    requireAccess(view, user, app, needed);
    return app;
  }
  requireServiceAccess(view, user, service, needed);
  const workload = workloadOf(view, service);
  if (workload !== undefined) return workload;
  throw new ApiError('not_found', `${name} was provided: nothing of it runs here`);
}

export const workloadFor = (c: Context<ApiEnv>, view: DesiredView, needed: AppAccess): AppView =>
  workloadNamed(view, c.get('user'), c.req.param('name') ?? '', needed);

/** What says who owns an app or a service, by the id of its logs and events; undefined when it is gone. */
export function ownedIn(view: DesiredView, id: AppView['id']): Owned | undefined {
  const app = view.apps.get(id);
  if (app !== undefined) return app;
  const service = [...view.services.values()].find((one) => asAppId(one.id) === id);
  return service === undefined ? undefined : ownedBy(service);
}

/**
 * Whether the user who asked at first may go on: the same token, the same app, and still the access. For what takes
 * long: a user may have been removed meanwhile, or taken out of the team.
 */
export function stillHas(view: DesiredView, asked: UserView, app: AppView['id'], needed: AppAccess): boolean {
  const user = currentUser(view, asked);
  const now = ownedIn(view, app);
  return user !== undefined && now !== undefined && includesAccess(accessTo(view, user, now), needed);
}

/** As the view knows the user now; undefined when removed, or when another has the name. */
export function currentUser(view: DesiredView, asked: UserView): UserView | undefined {
  const user = view.users.get(asked.name);
  return user?.tokenHash === asked.tokenHash ? user : undefined;
}
