// What each named change of an app does to the document, once it has been found allowed. Part of applyChange.

import { Counter } from '@automerge/automerge';
import type { ChangeAuthor, NamedChange } from './change.ts';
import { checkedRoute } from './checks.ts';
import { type Draft, drop, increment, mapIn, put, putMap } from './draft.ts';
import type { AppId, ReleaseId } from './ids.ts';
import {
  DESCRIPTION_LENGTH_MAX,
  DISK_BYTES_DEFAULT,
  HEALTH_KIND_DEFAULT,
  HEALTH_PATH_DEFAULT,
  HEALTH_TIMEOUT_MS_DEFAULT,
  MAX_SURGE_DEFAULT,
  MAX_UNAVAILABLE_DEFAULT,
  MEMORY_BYTES_DEFAULT,
  oneLine,
  PARTITION_DEFAULT,
  REASON_LENGTH_MAX,
  RELEASES_KEPT_MAX,
  STRATEGY_DEFAULT,
} from './limits.ts';
import { CLAIM_SEPARATOR } from './read-apps.ts';
import type { AppDoc, HealthDoc, ImageDoc, ReleaseDoc } from './schema.ts';
import type { AppView, DesiredView, ReleaseView } from './view.ts';

type Of<Kind extends NamedChange['change']> = Extract<NamedChange, { change: Kind }>;
type Applied = { author: ChangeAuthor; view: DesiredView };

/** What each change of an app does; it may count on all that validation has checked. */
export const appEffects = {
  createApp,
  configureApp,
  addRelease: (doc: Draft, change: Of<'addRelease'>, { author, view }: Applied): void => {
    const { app, appDoc } = find(doc, view, change.app);
    const description = oneLine(change.release.description, DESCRIPTION_LENGTH_MAX);
    addRelease(appDoc, app, change.release.id, { ...change.release, description, env: app.env, ...stamp(app, author) });
  },
  failRelease,
  rollback,
  setEnv,
  scaleApp: (doc: Draft, change: Of<'scaleApp'>, { view }: Applied): void => {
    const scale = mapIn(find(doc, view, change.app).appDoc, 'scale');
    for (const [type, count] of Object.entries(change.scale)) put(scale, type, count);
  },
  setStopped: (doc: Draft, change: Of<'setStopped'>, { view }: Applied): void =>
    put(find(doc, view, change.app).appDoc, 'stopped', change.stopped),
  restartApp: (doc: Draft, change: Of<'restartApp'>, { view }: Applied): void =>
    increment(find(doc, view, change.app).appDoc, 'restartCount'),
  deleteApp,
  mapRoute: (doc: Draft, change: Of<'mapRoute'>, { author }: Applied): void =>
    claimRoute(doc, change.app, checkedRoute(change.route), author),
  unmapRoute: (doc: Draft, change: Of<'unmapRoute'>): void =>
    drop(mapIn(doc, 'routes'), claimKey(checkedRoute(change.route), change.app)),
};

/** An app that validation has seen. */
function find(doc: Draft, view: DesiredView, id: AppId): { app: AppView; appDoc: AppDoc } {
  return { app: view.apps.get(id)!, appDoc: mapIn(doc, 'apps')[id]! };
}

function createApp(doc: Draft, change: Of<'createApp'>, { author }: Applied): void {
  const { settings } = change;
  const apps = mapIn(doc, 'apps');
  putMap(apps, change.app, {
    name: change.name,
    createdAtMs: author.atMs,
    stopped: change.stopped,
    scale: change.scale,
    memoryBytes: settings.memoryBytes ?? MEMORY_BYTES_DEFAULT,
    diskBytes: settings.diskBytes ?? DISK_BYTES_DEFAULT,
    env: change.env,
    health: healthFields(settings.health ?? { kind: HEALTH_KIND_DEFAULT, timeoutMs: HEALTH_TIMEOUT_MS_DEFAULT }),
    strategy: settings.strategy ?? STRATEGY_DEFAULT,
    partition: settings.partition ?? PARTITION_DEFAULT,
    maxUnavailable: settings.maxUnavailable ?? MAX_UNAVAILABLE_DEFAULT,
    maxSurge: settings.maxSurge ?? MAX_SURGE_DEFAULT,
    releases: {},
  });
  (apps[change.app] as unknown as { restartCount: Counter }).restartCount = new Counter(0);
  for (const route of change.routes) claimRoute(doc, change.app, checkedRoute(route), author);
}

function configureApp(doc: Draft, change: Of<'configureApp'>, { view }: Applied): void {
  const { app, appDoc } = find(doc, view, change.app);
  const { memoryBytes, diskBytes, strategy, partition, maxUnavailable, maxSurge, health } = change.settings;
  if (memoryBytes !== undefined) put(appDoc, 'memoryBytes', memoryBytes);
  if (diskBytes !== undefined) put(appDoc, 'diskBytes', diskBytes);
  if (strategy !== undefined) put(appDoc, 'strategy', strategy);
  if (partition !== undefined) put(appDoc, 'partition', partition);
  if (maxUnavailable !== undefined) put(appDoc, 'maxUnavailable', maxUnavailable);
  if (maxSurge !== undefined) put(appDoc, 'maxSurge', maxSurge);
  if (health === undefined) return;
  const wanted = healthFields(health);
  const same =
    wanted.kind === app.health.kind && wanted.path === app.health.path && wanted.timeoutMs === app.health.timeoutMs;
  // As a whole: the kind of one edit with the path of another would be a check that nobody asked for.
  if (!same) putMap(appDoc, 'health', wanted);
}

const healthFields = ({ kind, path, timeoutMs }: HealthDoc) => ({
  kind,
  path: path ?? HEALTH_PATH_DEFAULT,
  timeoutMs,
});

/** What a release made now gets: the number after the highest, also after that of a failed one. */
const stamp = (app: AppView, author: ChangeAuthor) => ({
  version: (app.releases.at(-1)?.version ?? 0) + 1,
  createdAtMs: author.atMs,
  createdBy: author.by,
});

function addRelease(appDoc: AppDoc, app: AppView, id: ReleaseId, release: Omit<ReleaseDoc, 'failed'>): void {
  const releases = mapIn(appDoc, 'releases');
  putMap(releases, id, {
    version: release.version,
    createdAtMs: release.createdAtMs,
    createdBy: release.createdBy,
    description: release.description,
    droplet: {
      digest: release.droplet.digest,
      sizeBytes: release.droplet.sizeBytes,
      stack: release.droplet.stack,
    },
    ...(release.image === undefined ? {} : { image: imageFields(release.image) }),
    buildpack: release.buildpack,
    processes: release.processes,
    env: release.env,
  });
  put(appDoc, 'currentRelease', id);
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
  const { app, appDoc } = find(doc, view, change.app);
  const earlier = app.releases.find((release) => release.id === change.to)!;
  // The environment goes back too, or the next push would bring back what the rollback undid.
  writeEnv(appDoc, app, earlier.env);
  addRelease(appDoc, app, change.release, {
    ...contentOf(earlier),
    description: `rollback to v${earlier.version}`,
    env: earlier.env,
    ...stamp(app, author),
  });
}

function setEnv(doc: Draft, change: Of<'setEnv'>, { author, view }: Applied): void {
  const { app, appDoc } = find(doc, view, change.app);
  const kept = Object.entries(app.env).filter(([key]) => !change.unset.includes(key));
  const env = { ...Object.fromEntries(kept), ...change.set };
  const changed = writeEnv(appDoc, app, env);
  if (!changed || app.release === undefined || change.release === undefined) return;
  const names = [...Object.keys(change.set), ...change.unset].sort().join(', ');
  addRelease(appDoc, app, change.release, {
    ...contentOf(app.release),
    description: oneLine(`env: ${names}`, DESCRIPTION_LENGTH_MAX),
    env,
    ...stamp(app, author),
  });
}

const contentOf = ({ droplet, image, buildpack, processes }: ReleaseView) => ({
  droplet,
  ...(image === undefined ? {} : { image }),
  buildpack,
  processes,
});

const imageFields = ({ id, ref, ownCommand }: ImageDoc) => ({ id, ref, ownCommand });

/** Makes the app's environment what is given, key by key, so that other keys set apart survive; says whether it differed. */
function writeEnv(appDoc: AppDoc, app: AppView, env: Readonly<Record<string, string>>): boolean {
  const envDoc = mapIn(appDoc, 'env');
  const gone = Object.keys(app.env).filter((key) => !Object.hasOwn(env, key));
  const set = Object.entries(env).filter(([key, value]) => app.env[key] !== value);
  for (const key of gone) drop(envDoc, key);
  for (const [key, value] of set) put(envDoc, key, value);
  return gone.length + set.length > 0;
}

function deleteApp(doc: Draft, { app }: Of<'deleteApp'>): void {
  drop(mapIn(doc, 'apps'), app);
  const routes = mapIn(doc, 'routes');
  const suffix = CLAIM_SEPARATOR + app;
  for (const key of Object.keys(routes)) if (key.endsWith(suffix)) drop(routes, key);
}

function claimRoute(doc: Draft, app: AppId, route: string, author: ChangeAuthor): void {
  const routes = mapIn(doc, 'routes');
  const key = claimKey(route, app);
  // An older claim stands: making it anew would lose it its age.
  if (!Object.hasOwn(routes, key)) putMap(routes, key, { createdAtMs: author.atMs });
}

const claimKey = (route: string, app: AppId): string => `${route}${CLAIM_SEPARATOR}${app}`;
