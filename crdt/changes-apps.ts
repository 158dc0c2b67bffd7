// What each named change of an app does to the document, once it has been found allowed. Part of applyChange.

import { Counter } from '@automerge/automerge';
import type { ChangeAuthor, NamedChange } from './change.ts';
import { dropBindingsOf } from './changes-data.ts';
import { checkedHost, checkedRoute } from './checks.ts';
import { changed, healthFields, setApart, settingsOf, writeConfig } from './config.ts';
import { type Draft, drop, increment, mapIn, put, putMap } from './draft.ts';
import { rightTo } from './hosts.ts';
import type { AppId, ReleaseId } from './ids.ts';
import { same } from './in-force.ts';
import {
  DESCRIPTION_LENGTH_MAX,
  HEALTH_KIND_DEFAULT,
  HEALTH_TIMEOUT_MS_DEFAULT,
  oneLine,
  REASON_LENGTH_MAX,
  RELEASES_KEPT_MAX,
} from './limits.ts';
import { MEMBER_MARK } from './read-apps.ts';
import { CLAIM_SEPARATOR, SHARE_MARK } from './read-claims.ts';
import type { AppDoc, ImageDoc, ReleaseDoc } from './schema.ts';
import { APP_SETTINGS, eachSetting } from './settings.ts';
import type { AppConfig, AppView, DesiredView, ReleaseView } from './view.ts';

type Of<Kind extends NamedChange['change']> = Extract<NamedChange, { change: Kind }>;
type Applied = { author: ChangeAuthor; view: DesiredView };

/** What each change of an app does; it may count on all that validation has checked. */
export const appEffects = {
  createApp,
  configureApp,
  addRelease: (doc: Draft, change: Of<'addRelease'>, { author, view }: Applied): void => {
    const found = find(doc, view, change.app);
    const { settings = {}, env, scale } = change;
    const config = changed(found.app, { ...settings, env: { ...found.app.env, ...env }, scale: scale ?? {} });
    addRelease(found, author, { ...change.release, config });
  },
  failRelease,
  rollback,
  setEnv,
  scaleApp: (doc: Draft, change: Of<'scaleApp'>, { view }: Applied): void =>
    setApart(find(doc, view, change.app), { scale: change.scale }),
  setStopped: (doc: Draft, change: Of<'setStopped'>, { view }: Applied): void =>
    put(find(doc, view, change.app).appDoc, 'stopped', change.stopped),
  restartApp: (doc: Draft, change: Of<'restartApp'>, { view }: Applied): void =>
    increment(find(doc, view, change.app).appDoc, 'restartCount'),
  deleteApp,
  setOwner: (doc: Draft, change: Of<'setOwner'>, { view }: Applied): void => {
    const { appDoc } = find(doc, view, change.app);
    put(appDoc, 'owner', change.owner);
    drop(appDoc, memberKey(change.owner));
  },
  setMember: (doc: Draft, change: Of<'setMember'>, { author, view }: Applied): void => {
    const { app, appDoc } = find(doc, view, change.app);
    if (!change.member) drop(appDoc, memberKey(change.user));
    else if (!app.members.includes(change.user)) put(appDoc, memberKey(change.user), author.atMs);
  },
  mapRoute: (doc: Draft, change: Of<'mapRoute'>, applied: Applied): void =>
    claimRoute(doc, change.app, checkedRoute(change.route), applied),
  unmapRoute: (doc: Draft, change: Of<'unmapRoute'>): void =>
    drop(mapIn(doc, 'routes'), claimKey(checkedRoute(change.route), change.app)),
  shareHost: (doc: Draft, change: Of<'shareHost'>, { author }: Applied): void => {
    const routes = mapIn(doc, 'routes');
    const key = [SHARE_MARK, checkedHost(change.host), change.app, change.with].join(CLAIM_SEPARATOR);
    if (!change.shared) drop(routes, key);
    else if (!Object.hasOwn(routes, key)) putMap(routes, key, { createdAtMs: author.atMs });
  },
};

/** An app that validation has seen. */
type Found = { app: AppView; appDoc: AppDoc };

function find(doc: Draft, view: DesiredView, id: AppId): Found {
  return { app: view.apps.get(id)!, appDoc: mapIn(doc, 'apps')[id]! };
}

function createApp(doc: Draft, change: Of<'createApp'>, applied: Applied): void {
  const { author } = applied;
  const { settings } = change;
  const apps = mapIn(doc, 'apps');
  putMap(apps, change.app, {
    name: change.name,
    createdAtMs: author.atMs,
    owner: author.by,
    stopped: change.stopped,
    scale: change.scale,
    env: change.env,
    health: healthFields(settings.health ?? { kind: HEALTH_KIND_DEFAULT, timeoutMs: HEALTH_TIMEOUT_MS_DEFAULT }),
    ...eachSetting<string | number>((key) => settings[key] ?? APP_SETTINGS[key].default),
    releases: {},
  });
  (apps[change.app] as unknown as { restartCount: Counter }).restartCount = new Counter(0);
  for (const route of change.routes) claimRoute(doc, change.app, checkedRoute(route), applied);
}

function configureApp(doc: Draft, change: Of<'configureApp'>, { author, view }: Applied): void {
  const found = find(doc, view, change.app);
  const { app } = found;
  const given = { ...change.settings, ...(change.scale && { scale: change.scale }) };
  const config = changed(app, given);
  const ofInstances = INSTANCE_SETTINGS.filter(([key]) => !same(config[key], app[key]));
  if (ofInstances.length === 0 || app.release === undefined || change.release === undefined) {
    setApart(found, given);
    return;
  }
  const description = `set ${ofInstances.map(([, name]) => name).join(', ')}`;
  addRelease(found, author, { ...contentOf(app.release), id: change.release, description, config });
}

/** What a running instance keeps as it was started with. */
const INSTANCE_SETTINGS = [
  ['memoryBytes', 'memory'],
  ['diskBytes', 'disk'],
  ['health', 'health'],
] as const;

type Made = Pick<ReleaseDoc, 'droplet' | 'image' | 'buildpack' | 'processes' | 'description'> & {
  id: ReleaseId;
  config: AppConfig;
};

/** Makes a release that ships the config, and the current one of it. */
function addRelease({ app, appDoc }: Found, author: ChangeAuthor, made: Made): void {
  // In an older document only the first release says whose the app is, and that goes one day.
  if (app.owner !== undefined) put(appDoc, 'owner', app.owner);
  const releases = mapIn(appDoc, 'releases');
  writeConfig(appDoc, made.config, app);
  // One that an older version made says nothing of its settings: what it runs with now is what a failure returns to.
  const running = app.release === undefined ? undefined : releases[app.release.id];
  if (running !== undefined && running.settings === undefined) putMap(running, 'settings', settingsOf(app));
  putMap(releases, made.id, {
    // The number after the highest, also after that of a failed one.
    version: (app.releases.at(-1)?.version ?? 0) + 1,
    createdAtMs: author.atMs,
    createdBy: author.by,
    description: oneLine(made.description, DESCRIPTION_LENGTH_MAX),
    droplet: {
      digest: made.droplet.digest,
      sizeBytes: made.droplet.sizeBytes,
      stack: made.droplet.stack,
    },
    ...(made.image === undefined ? {} : { image: imageFields(made.image) }),
    buildpack: made.buildpack,
    processes: made.processes,
    env: { ...made.config.env },
    settings: settingsOf(made.config),
  });
  put(appDoc, 'currentRelease', made.id);
  // The one that runs until now is kept whatever its age: it is what the new one falls back to.
  const droppable = app.releases.filter((one) => one.id !== app.release?.id);
  const surplus = app.releases.length + 1 - RELEASES_KEPT_MAX;
  for (const old of droppable.slice(0, Math.max(surplus, 0))) drop(releases, old.id);
}

function failRelease(doc: Draft, change: Of<'failRelease'>, { author, view }: Applied): void {
  const { app, appDoc } = find(doc, view, change.app);
  const release = app.releases.find((one) => one.id === change.release);
  const releaseDoc = mapIn(appDoc, 'releases')[change.release];
  if (release?.failed !== undefined || releaseDoc === undefined) return;
  putMap(releaseDoc, 'failed', { reason: oneLine(change.reason, REASON_LENGTH_MAX), atMs: author.atMs });
}

function rollback(doc: Draft, change: Of<'rollback'>, { author, view }: Applied): void {
  const found = find(doc, view, change.app);
  const { app } = found;
  const earlier = app.releases.find((release) => release.id === change.to)!;
  // The environment and the settings go back too, or the next push would bring back what the rollback undid. How many
  // instances there are was never a release's alone to say.
  const config = changed(app, { ...earlier.settings, env: earlier.env, scale: app.scale });
  const description = `rollback to v${earlier.version}`;
  addRelease(found, author, { ...contentOf(earlier), id: change.release, description, config });
}

function setEnv(doc: Draft, change: Of<'setEnv'>, { author, view }: Applied): void {
  const found = find(doc, view, change.app);
  const { app, appDoc } = found;
  const kept = Object.entries(app.env).filter(([key]) => !change.unset.includes(key));
  const config = changed(app, { env: { ...Object.fromEntries(kept), ...change.set } });
  if (sameEnv(config.env, app.env)) return;
  if (app.release === undefined) {
    writeConfig(appDoc, config, app);
    return;
  }
  const description = `env: ${[...Object.keys(change.set), ...change.unset].sort().join(', ')}`;
  addRelease(found, author, { ...contentOf(app.release), id: change.release, description, config });
}

const sameEnv = (a: AppConfig['env'], b: AppConfig['env']): boolean =>
  Object.keys(a).length === Object.keys(b).length &&
  Object.keys(a).every((key) => Object.hasOwn(b, key) && a[key] === b[key]);

const contentOf = ({ droplet, image, buildpack, processes }: ReleaseView) => ({
  droplet,
  ...(image === undefined ? {} : { image }),
  buildpack,
  processes,
});

const imageFields = ({ id, ref, ownCommand }: ImageDoc) => ({ id, ref, ownCommand });

function deleteApp(doc: Draft, { app }: Of<'deleteApp'>): void {
  drop(mapIn(doc, 'apps'), app);
  const routes = mapIn(doc, 'routes');
  // Its claims, and what it shares or shares in.
  for (const key of Object.keys(routes)) if (key.split(CLAIM_SEPARATOR).slice(1).includes(app)) drop(routes, key);
  dropBindingsOf(doc, app);
}

function claimRoute(doc: Draft, app: AppId, route: string, { author, view }: Applied): void {
  const allowed = rightTo(view, { app, route, by: author.by });
  if ('refused' in allowed) return;
  const routes = mapIn(doc, 'routes');
  const key = claimKey(route, app);
  const claim = routes[key];
  if (claim === undefined) putMap(routes, key, { createdAtMs: author.atMs, right: allowed.right });
  // An older claim stands: making it anew would lose it its age.
  else if (allowed.right === 'admin') put(claim, 'right', 'admin');
}

const claimKey = (route: string, app: AppId): string => `${route}${CLAIM_SEPARATOR}${app}`;
export const memberKey = (user: string) => `${MEMBER_MARK}${user}` as const;
