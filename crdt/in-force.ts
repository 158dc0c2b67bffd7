// What an app runs with, where a release has failed: what only failed releases ship of all that was asked for is
// refused, and what the release that runs ships is in force. Pure; part of readView, and of what people are shown.

import { APP_SETTINGS, eachSetting, SETTING_KEYS, type SettingValues } from './settings.ts';
import type { AppConfig, AppView, HealthView, ReleaseView } from './view.ts';

type Value = string | number | HealthView | undefined;
/** Undefined: the release does not say, as an older version made it. */
type Shipped = (release: ReleaseView) => { value: Value } | undefined;

/** Every release since the one that runs, which were all called off; oldest first. */
const failedSince = (run: ReleaseView | undefined, releases: readonly ReleaseView[]): readonly ReleaseView[] =>
  run === undefined || run.failed !== undefined
    ? []
    : releases.slice(releases.indexOf(run) + 1).filter((release) => release.failed !== undefined);

/**
 * `asked` is what stands in the app's own fields, where changes made apart merge. A value of it is refused when the
 * newest release that ships it has failed; then the value of the release that runs counts. When nothing good ever ran,
 * what was asked for stays, so that a person can mend it.
 */
export function configInForce(
  asked: AppConfig,
  run: ReleaseView | undefined,
  releases: readonly ReleaseView[],
): AppConfig {
  if (run === undefined || run.failed !== undefined) return asked;
  if (!releases.some((release) => release.failed !== undefined)) return asked;
  const inForce = <T extends Value>(wanted: T, shipped: Shipped): T => {
    const running = shipped(run);
    if (running === undefined || same(running.value, wanted)) return wanted;
    const newest = releases.findLast((release) => {
      const value = shipped(release);
      return value !== undefined && same(value.value, wanted);
    });
    return newest?.failed === undefined ? wanted : (running.value as T);
  };
  const setting = <K extends Setting>(key: K): AppConfig[K] =>
    inForce(asked[key], ({ settings }) => (settings?.[key] === undefined ? undefined : { value: settings[key] }));
  return {
    health: setting('health'),
    ...(eachSetting<string | number>(setting) as SettingValues),
    env: eachKey(asked.env, run.env, (key) => inForce(own(asked.env, key), ({ env }) => ({ value: own(env, key) }))),
    scale: eachKey(asked.scale, run.settings?.scale, (type) =>
      inForce(own(asked.scale, type), ({ settings }) =>
        settings?.scale === undefined ? undefined : { value: own(settings.scale, type) },
      ),
    ),
  };
}

/** A variable may be called `constructor`. */
const own = <T>(map: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(map, key) ? map[key] : undefined;

type Setting = Exclude<keyof AppConfig, 'env' | 'scale'>;

function eachKey<T extends Value>(
  asked: Readonly<Record<string, T>>,
  running: Readonly<Record<string, T>> | undefined,
  valueAt: (key: string) => T | undefined,
): Record<string, T> {
  const keys = [...new Set([...Object.keys(asked), ...Object.keys(running ?? {})])].sort();
  const found = keys.map((key) => [key, valueAt(key)] as const);
  // Without a prototype, as views hold them: a process type may be called `constructor`, too.
  const values: Record<string, T> = Object.create(null);
  for (const [key, value] of found) if (value !== undefined) values[key] = value;
  return values;
}

export const same = (a: Value, b: Value): boolean => {
  if (typeof a !== 'object' || typeof b !== 'object') return a === b;
  return a.kind === b.kind && a.path === b.path && a.timeoutMs === b.timeoutMs;
};

/** What a release that failed had changed of the good one before it, by name; never a value. */
export type Refusal = {
  release: ReleaseView;
  reason: string;
  /** Names of variables. */
  env: string[];
  /** `memory`, `scale web`, `code`…: everything else that the release would have changed. */
  others: string[];
};

/** What was asked for since the release that runs was made, and called off. Newest first. */
export const refusals = (app: AppView): Refusal[] =>
  failedSince(app.release, app.releases)
    .map((release) => refusalOf(release, app))
    .filter((refusal) => refusal !== undefined)
    .reverse();

/** Undefined for a release that has not failed. */
export function refusalOf(release: ReleaseView, app: AppView): Refusal | undefined {
  if (release.failed === undefined) return undefined;
  const { reason } = release.failed;
  const base = app.releases.slice(0, app.releases.indexOf(release)).findLast((one) => one.failed === undefined);
  if (base === undefined) return { release, reason, env: [], others: [] };
  const others: string[] = [];
  if (base.droplet.digest !== release.droplet.digest) others.push('code');
  if (differing(base.processes, release.processes).length > 0) others.push('commands');
  for (const [key, name] of SETTING_NAMES) {
    const [before, after] = [base.settings?.[key], release.settings?.[key]];
    if (before !== undefined && after !== undefined && !same(before, after)) others.push(name);
  }
  if (base.settings?.scale !== undefined && release.settings?.scale !== undefined) {
    others.push(...differing(base.settings.scale, release.settings.scale).map((type) => `scale ${type}`));
  }
  return { release, reason, env: differing(base.env, release.env), others };
}

const SETTING_NAMES: readonly (readonly [Setting, string])[] = [
  ...SETTING_KEYS.map((key) => [key, APP_SETTINGS[key].name] as const),
  ['health', 'health'],
];

const differing = <T extends Value>(a: Readonly<Record<string, T>>, b: Readonly<Record<string, T>>): string[] =>
  [...new Set([...Object.keys(a), ...Object.keys(b)])].sort().filter((key) => own(a, key) !== own(b, key));
