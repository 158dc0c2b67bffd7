// Writes what an app runs with (AppConfig) to its own fields, and to what its releases ship. Part of applyChange.

import type { AppSettings } from './change.ts';
import { drop, mapIn, putMap, stored } from './draft.ts';
import { same } from './in-force.ts';
import { HEALTH_PATH_DEFAULT } from './limits.ts';
import { readConfig } from './read-config.ts';
import { Place, RecordProblems } from './record-problems.ts';
import type { AppDoc, HealthDoc, ReleaseSettingsDoc } from './schema.ts';
import { eachSetting, SETTING_KEYS, type SettingValues } from './settings.ts';
import type { AppConfig, AppView } from './view.ts';

/** What is wrong with a record is said where views are read. */
const NOWHERE = new Place(new RecordProblems(), 'apps');

export type Given = AppSettings & Partial<Pick<AppConfig, 'env' | 'scale'>>;

export const healthFields = ({ kind, path, timeoutMs }: HealthDoc) => ({
  kind,
  path: path ?? HEALTH_PATH_DEFAULT,
  timeoutMs,
});

/** As a release ships it, beside the env. */
export const settingsOf = (config: AppConfig) => ({
  scale: { ...config.scale },
  health: healthFields(config.health),
  ...(eachSetting<string | number>((key) => config[key]) as SettingValues),
});

/** What the app has, with what is given in its place: the env as a whole, the scale by process type. */
export function changed(app: AppView, { env, scale, health, ...settings }: Given): AppConfig {
  const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  return {
    ...settingsOf(app),
    ...given,
    env: env ?? app.env,
    health: healthFields(health ?? app.health),
    scale: { ...app.scale, ...scale },
  };
}

/**
 * Makes the app's own fields what is given. A value that stands there, but was not in force, is written once more: it
 * was asked for again, which must outlive a change made apart that clears it away.
 */
export function writeConfig(appDoc: AppDoc, wanted: AppConfig, before: AppConfig): void {
  const stands = readConfig(appDoc, NOWHERE);
  writeMap(mapIn(appDoc, 'env'), wanted.env, [stands.env, before.env]);
  writeMap(mapIn(appDoc, 'scale'), wanted.scale, [stands.scale, before.scale]);
  for (const key of SETTING_KEYS) write(appDoc, key, wanted[key], [stands[key], before[key]]);
  // As a whole: the kind of one edit with the path of another would be a check that nobody asked for.
  if (!same(wanted.health, stands.health) || !same(wanted.health, before.health)) {
    putMap(appDoc, 'health', healthFields(wanted.health));
  }
}

/** Sets what goes with no release: whichever of those that have not failed runs in the end, it is as set here. */
export function setApart({ app, appDoc }: { app: AppView; appDoc: AppDoc }, given: Given): void {
  writeGiven(appDoc, given, readConfig(appDoc, NOWHERE), app);
  for (const { id, failed, settings: ships } of app.releases) {
    const settingsDoc = appDoc.releases[id]?.settings;
    if (failed === undefined && ships !== undefined && settingsDoc !== undefined) {
      writeGiven(settingsDoc, given, ships, ships);
    }
  }
}

type Settings = Partial<Omit<AppConfig, 'env'>>;

function writeGiven(doc: AppDoc | ReleaseSettingsDoc, given: Given, stands: Settings, before: Settings): void {
  for (const key of SETTING_KEYS) {
    const value = given[key];
    if (value !== undefined) write(doc, key, value, [stands[key], before[key]]);
  }
  const scale = mapIn(doc, 'scale');
  for (const [type, count] of Object.entries(given.scale ?? {})) {
    write(scale, type, count, [stands.scale?.[type], before.scale?.[type]]);
  }
  if (given.health === undefined) return;
  const health = healthFields(given.health);
  if (!same(health, stands.health) || !same(health, before.health)) putMap(doc, 'health', health);
}

type Scalar = string | number;

function writeMap<T extends Scalar>(
  map: Record<string, T>,
  wanted: Readonly<Record<string, T>>,
  [stands, before]: readonly [Readonly<Record<string, T>>, Readonly<Record<string, T>>],
): void {
  for (const key of Object.keys(stands)) if (!Object.hasOwn(wanted, key)) drop(map, key);
  for (const [key, value] of Object.entries(wanted)) write(map, key, value, [own(stands, key), own(before, key)]);
}

const own = <T>(map: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(map, key) ? map[key] : undefined;

/** Nothing is written where what stands there and what was in force are both as wanted. */
function write<T extends object>(
  map: T,
  key: keyof T & string,
  value: Scalar,
  [stands, before]: readonly [unknown, unknown],
): void {
  if (stands === value && before === value) return;
  // Automerge takes a value put on itself for no change.
  if (stands === value) drop(map, key);
  (map as Record<string, unknown>)[key] = stored(value);
}
