// Whether a named change of an app is allowed on top of a view. Part of validateChange; changes nothing.

import type { AppSettings, ChangeAuthor, NamedChange, NewRelease } from './change.ts';
import {
  checkBoolean,
  checkChoice,
  checkEnv,
  checkEnvKey,
  checkEnvSet,
  checkedHost,
  checkedRoute,
  checkId,
  checkInteger,
  checkName,
  checkText,
  isRecord,
  quote,
} from './checks.ts';
import { ChangeRejected } from './errors.ts';
import { hostIn, hostOfRoute, rightTo } from './hosts.ts';
import type { AppId, ReleaseId } from './ids.ts';
import {
  APPS_MAX,
  byteLength,
  COMMAND_BYTES_MAX,
  commandProblem,
  DROPLET_BYTES_MAX,
  digestProblem,
  HEALTH_KINDS,
  HEALTH_TIMEOUT_MS_MAX,
  HEALTH_TIMEOUT_MS_MIN,
  healthPathProblem,
  INSTANCES_MAX,
  MEMBERS_PER_APP_MAX,
  PROCESS_TYPES_MAX,
  processTypeProblem,
  ROUTES_PER_APP_MAX,
  SHARES_PER_HOST_MAX,
  TITLE_LENGTH_MAX,
} from './limits.ts';
import type { ImageDoc } from './schema.ts';
import { APP_SETTINGS, SETTING_KEYS } from './settings.ts';
import type { AppView, DesiredView } from './view.ts';

type Of<Kind extends NamedChange['change']> = Extract<NamedChange, { change: Kind }>;

/** One rule for each change of an app. */
export const appRules = {
  createApp: validateNewApp,
  configureApp: (view: DesiredView, change: Of<'configureApp'>): void => {
    const app = knownApp(view, change.app);
    checkSettings(change.settings);
    if (change.scale !== undefined) checkScale(change.scale, app);
    if (change.release !== undefined) freshRelease(app, change.release);
  },
  addRelease: (view: DesiredView, change: Of<'addRelease'>): void => {
    const app = knownApp(view, change.app);
    checkRelease(app, change.release);
    if (change.settings !== undefined) checkSettings(change.settings);
    if (change.env !== undefined) {
      checkEnvSet(change.env);
      checkEnv({ ...app.env, ...change.env });
    }
    // The release may bring the process types that are scaled with it.
    if (change.scale !== undefined) checkScale(change.scale, app, change.release.processes);
  },
  failRelease: (view: DesiredView, change: Of<'failRelease'>): void => {
    knownRelease(knownApp(view, change.app), change.release);
    checkText('reason', change.reason, Number.MAX_SAFE_INTEGER);
  },
  rollback: (view: DesiredView, change: Of<'rollback'>): void => validateRollback(knownApp(view, change.app), change),
  setEnv: (view: DesiredView, change: Of<'setEnv'>): void => validateEnv(knownApp(view, change.app), change),
  scaleApp: (view: DesiredView, change: Of<'scaleApp'>): void => checkScale(change.scale, knownApp(view, change.app)),
  setStopped: (view: DesiredView, change: Of<'setStopped'>): void => {
    knownApp(view, change.app);
    checkBoolean('stopped', change.stopped);
  },
  restartApp: (view: DesiredView, change: Of<'restartApp'>): void => {
    knownApp(view, change.app);
  },
  deleteApp: (view: DesiredView, change: Of<'deleteApp'>): void => {
    knownApp(view, change.app);
  },
  setOwner: (view: DesiredView, change: Of<'setOwner'>): void => {
    knownApp(view, change.app);
    knownUser(view, change.owner);
  },
  setMember: validateMember,
  mapRoute: validateMapping,
  unmapRoute: validateUnmapping,
  shareHost: validateSharing,
};

function knownApp(view: DesiredView, id: AppId): AppView {
  const app = view.apps.get(id);
  if (app !== undefined) return app;
  throw new ChangeRejected('app_unknown', `App ${quote(id)} does not exist; see \`peer apps\` for those that do.`);
}

function knownRelease(app: AppView, id: ReleaseId): void {
  if (app.releases.some((release) => release.id === id)) return;
  throw new ChangeRejected(
    'release_unknown',
    `${app.name} has no release ${quote(id)}, or it is too old to be kept; see \`peer releases ${app.name}\`.`,
  );
}

/** A new release needs an id that no release of the app has. */
function freshRelease(app: AppView, id: ReleaseId): void {
  checkId('release', id);
  if (!app.releases.some((release) => release.id === id)) return;
  throw new ChangeRejected(
    'release_exists',
    `${app.name} has a release ${id} already; make the new one under another id.`,
  );
}

function validateNewApp(view: DesiredView, change: Of<'createApp'>, author: ChangeAuthor): void {
  checkId('app', change.app);
  checkName('app name', change.name);
  const namesake = [...view.apps.values()].some((app) => app.name === change.name);
  if (namesake || view.apps.has(change.app)) {
    throw new ChangeRejected('app_exists', `There is an app ${change.name} already; choose another name with --name.`);
  }
  if (view.apps.size >= APPS_MAX) {
    throw new ChangeRejected(
      'limit_reached',
      `The cluster holds ${APPS_MAX} apps, the most there may be; delete some.`,
    );
  }
  checkSettings(change.settings);
  checkScale(change.scale, undefined);
  checkEnvSet(change.env);
  checkBoolean('stopped', change.stopped);
  if (!Array.isArray(change.routes)) throw new ChangeRejected('invalid_route', 'routes: must be a list.');
  const routes = new Set(change.routes.map(checkedRoute));
  for (const route of routes) checkClaim(view, { app: change.app, name: change.name, route, by: author.by });
  checkRouteCount(change.name, routes.size);
}

function checkSettings(settings: AppSettings): void {
  if (!isRecord(settings)) throw new ChangeRejected('invalid_value', 'settings: must be an object.');
  for (const key of SETTING_KEYS) {
    const rule = APP_SETTINGS[key];
    const value = settings[key];
    if (value === undefined) continue;
    if (rule.kind === 'choice') checkChoice(rule.name, value as string, rule.choices);
    else checkInteger(rule.kind === 'size' ? `${rule.name} (bytes)` : rule.name, value as number, rule);
  }
  const { health } = settings;
  if (health === undefined) return;
  if (!isRecord(health)) throw new ChangeRejected('invalid_value', 'health: must be an object.');
  checkChoice('health', health.kind, HEALTH_KINDS);
  checkInteger('health timeout (ms)', health.timeoutMs, { min: HEALTH_TIMEOUT_MS_MIN, max: HEALTH_TIMEOUT_MS_MAX });
  const problem = health.path === undefined ? undefined : healthPathProblem(health.path);
  if (problem !== undefined)
    throw new ChangeRejected('invalid_value', `health path ${quote(health.path)}: ${problem}.`);
}

/** A process type that the app's release does not have cannot be scaled up; down to 0 it can, to clean up. */
function checkScale(
  scale: Record<string, number>,
  app: AppView | undefined,
  processes: Readonly<Record<string, string>> = app?.release?.processes ?? {},
): void {
  if (!isRecord(scale)) throw new ChangeRejected('invalid_value', 'scale: must be pairs of process type and number.');
  for (const [type, count] of Object.entries(scale)) {
    checkProcessType(type);
    checkInteger(`${type} instances`, count, { min: 0, max: INSTANCES_MAX });
    const types = Object.keys(processes);
    if (count > 0 && types.length > 0 && !types.includes(type)) {
      throw new ChangeRejected(
        'process_unknown',
        `${app?.name} has no process ${type}; it has ${types.join(', ')}. Add ${type} to its Procfile and push again.`,
      );
    }
  }
  const types = new Set([...Object.keys(app?.scale ?? {}), ...Object.keys(scale)]);
  if (types.size > PROCESS_TYPES_MAX) {
    throw new ChangeRejected('limit_reached', `scale: at most ${PROCESS_TYPES_MAX} process types are allowed.`);
  }
}

function checkProcessType(type: unknown): void {
  const problem = processTypeProblem(type);
  if (problem !== undefined) throw new ChangeRejected('invalid_name', `process type ${quote(type)}: ${problem}.`);
}

function checkRelease(app: AppView, release: NewRelease): void {
  if (!isRecord(release)) throw new ChangeRejected('invalid_value', 'release: must be an object.');
  freshRelease(app, release.id);
  checkText('description', release.description, Number.MAX_SAFE_INTEGER);
  checkText('buildpack', release.buildpack, TITLE_LENGTH_MAX);
  if (!isRecord(release.droplet)) throw new ChangeRejected('invalid_value', 'droplet: must be an object.');
  const problem = digestProblem(release.droplet.digest);
  if (problem !== undefined) throw new ChangeRejected('invalid_value', `droplet digest: ${problem}.`);
  checkInteger('droplet size (bytes)', release.droplet.sizeBytes, { min: 0, max: DROPLET_BYTES_MAX });
  checkText('droplet stack', release.droplet.stack, TITLE_LENGTH_MAX);
  if (release.image !== undefined) checkImage(release.image);
  if (!isRecord(release.processes)) {
    throw new ChangeRejected('invalid_value', 'processes: must be pairs of process type and command.');
  }
  const processes = Object.entries(release.processes);
  if (processes.length > PROCESS_TYPES_MAX) {
    throw new ChangeRejected('limit_reached', `processes: at most ${PROCESS_TYPES_MAX} process types are allowed.`);
  }
  for (const [type, command] of processes) {
    checkProcessType(type);
    const problem = commandProblem(command);
    if (problem === undefined) continue;
    const tooLarge = typeof command === 'string' && byteLength(command) > COMMAND_BYTES_MAX;
    throw new ChangeRejected(tooLarge ? 'too_large' : 'invalid_value', `process ${type}: ${problem}.`);
  }
}

function checkImage(image: ImageDoc): void {
  const problem = digestProblem(isRecord(image) ? image.id : undefined);
  if (problem !== undefined) throw new ChangeRejected('invalid_value', `image id: ${problem}.`);
  checkText('image', image.ref, TITLE_LENGTH_MAX);
  if (typeof image.ownCommand !== 'boolean') {
    throw new ChangeRejected('invalid_value', 'image ownCommand: must be true or false.');
  }
}

function validateRollback(app: AppView, change: Of<'rollback'>): void {
  if (app.release === undefined || app.releases.length < 2) {
    throw new ChangeRejected(
      'nothing_to_roll_back',
      `${app.name} has ${app.release === undefined ? 'no release' : 'only one release'}, so there is nothing to go back to.`,
    );
  }
  knownRelease(app, change.to);
  if (change.to === app.release.id) {
    throw new ChangeRejected(
      'nothing_to_roll_back',
      `${app.name} runs v${app.release.version} already; choose another from \`peer releases ${app.name}\`.`,
    );
  }
  freshRelease(app, change.release);
}

function validateEnv(app: AppView, change: Of<'setEnv'>): void {
  checkEnvSet(change.set);
  if (!Array.isArray(change.unset)) throw new ChangeRejected('invalid_env', 'unset: must be a list of names.');
  for (const key of change.unset) {
    checkEnvKey(key);
    if (Object.hasOwn(change.set, key)) {
      throw new ChangeRejected('invalid_env', `env ${key}: cannot be set and unset at once.`);
    }
  }
  const kept = Object.entries(app.env).filter(([key]) => !change.unset.includes(key));
  checkEnv({ ...Object.fromEntries(kept), ...change.set });
  freshRelease(app, change.release);
}

function validateMapping(view: DesiredView, change: Of<'mapRoute'>, author: ChangeAuthor): void {
  const app = knownApp(view, change.app);
  const route = checkedRoute(change.route);
  checkClaim(view, { app: app.id, name: app.name, route, by: author.by });
  checkRouteCount(app.name, app.routes.includes(route) ? app.routes.length : app.routes.length + 1);
}

/**
 * Whether the app may have the route when that user asks for it. Throws ChangeRejected `route_taken` or
 * `route_reserved`, which names the app that has it or its host, and says who may give it away.
 */
export function checkClaim(view: DesiredView, claim: { app: AppId; name: string; route: string; by: string }): void {
  const { app, name, route } = claim;
  const nameOf = (id: AppId): string => view.apps.get(id)?.name ?? id;
  const holder = view.routes.get(route);
  if (holder === app) return;
  if (holder !== undefined) {
    const owner = nameOf(holder);
    throw new ChangeRejected(
      'route_taken',
      `Route ${route} belongs to ${owner}; choose another, or free it with \`peer unmap ${owner} ${route}\`.`,
    );
  }
  const allowed = rightTo(view, claim);
  if ('right' in allowed) return;
  const host = hostOfRoute(route);
  if (allowed.refused === 'taken') {
    const owner = nameOf(allowed.owner);
    throw new ChangeRejected(
      'route_taken',
      `Host ${host} belongs to ${owner}; choose another, or let ${owner} share it with \`peer routes share ${host} ${name}\`.`,
    );
  }
  const what = host.startsWith('*.') ? 'a wildcard' : `the cluster's domain itself`;
  throw new ChangeRejected(
    'route_reserved',
    `Host ${host} is ${what}, which only an admin gives to an app; choose another, or ask an admin for \`peer map ${name} ${route}\`.`,
  );
}

function checkRouteCount(app: string, count: number): void {
  if (count <= ROUTES_PER_APP_MAX) return;
  throw new ChangeRejected(
    'limit_reached',
    `${app} would have ${count} routes; at most ${ROUTES_PER_APP_MAX} are allowed. Use a *. route, or unmap some.`,
  );
}

function validateUnmapping(view: DesiredView, change: Of<'unmapRoute'>): void {
  const app = knownApp(view, change.app);
  const route = checkedRoute(change.route);
  const lost = view.conflicts.some(
    (one) => (one.kind === 'route' || one.kind === 'host') && one.route === route && one.loser === app.id,
  );
  if (app.routes.includes(route) || lost) return;
  throw new ChangeRejected(
    'route_unknown',
    `${app.name} has no route ${route}; it has ${app.routes.join(', ') || 'none'}.`,
  );
}

function validateSharing(view: DesiredView, change: Of<'shareHost'>): void {
  const app = knownApp(view, change.app);
  const other = knownApp(view, change.with);
  const host = checkedHost(change.host);
  checkBoolean('shared', change.shared);
  const held = hostIn(view, host);
  if (held?.owner !== app.id || other.id === app.id) {
    const owner = held === undefined ? 'nobody' : (view.apps.get(held.owner)?.name ?? held.owner);
    throw new ChangeRejected('route_unknown', `Host ${host} belongs to ${owner}; an app shares its own with another.`);
  }
  if (!change.shared && !held.sharedWith.includes(other.id)) {
    throw new ChangeRejected('route_unknown', `${app.name} does not share ${host} with ${other.name}.`);
  }
  if (change.shared && held.sharedWith.length >= SHARES_PER_HOST_MAX) {
    throw new ChangeRejected(
      'limit_reached',
      `${host} is shared with ${SHARES_PER_HOST_MAX} apps, the most there may be.`,
    );
  }
}

function knownUser(view: DesiredView, name: string): void {
  if (view.users.has(name)) return;
  throw new ChangeRejected('user_unknown', `There is no user ${quote(name)}; see \`peer users\` for those there are.`);
}

function validateMember(view: DesiredView, change: Of<'setMember'>): void {
  const app = knownApp(view, change.app);
  checkBoolean('member', change.member);
  if (!change.member) {
    if (app.members.includes(change.user)) return;
    throw new ChangeRejected(
      'member_unknown',
      `${app.name} is not shared with ${quote(change.user)}; see \`peer app\`.`,
    );
  }
  checkName('user', change.user);
  knownUser(view, change.user);
  if (app.members.length >= MEMBERS_PER_APP_MAX && !app.members.includes(change.user)) {
    throw new ChangeRejected(
      'limit_reached',
      `${app.name} is shared with ${MEMBERS_PER_APP_MAX} users, the most there may be.`,
    );
  }
}
