// What the document says an app runs with: of the app itself, and of what a release ships. Never throws, never writes.
// Part of readView.

import {
  HEALTH_KIND_DEFAULT,
  HEALTH_KINDS,
  HEALTH_PATH_DEFAULT,
  HEALTH_TIMEOUT_MS_DEFAULT,
  HEALTH_TIMEOUT_MS_MAX,
  HEALTH_TIMEOUT_MS_MIN,
  healthPathProblem,
  INSTANCES_MAX,
  PROCESS_TYPES_MAX,
  processTypeProblem,
  WEB_INSTANCES_DEFAULT,
} from './limits.ts';
import { readEnv } from './read-env.ts';
import { anyText, choice, type Entries, entriesIn, field, integer, integerIn, isMap, record } from './read-values.ts';
import type { Place } from './record-problems.ts';
import { APP_SETTINGS, eachSetting, type SettingValues } from './settings.ts';
import type { AppConfig, HealthView, ReleaseView } from './view.ts';

/** Whatever is missing becomes its default. */
export const readConfig = (doc: unknown, place: Place): AppConfig => ({
  env: readEnv(entriesIn(doc, 'env', place), place.in('env')),
  ...readSettings(doc, place),
});

const readSettings = (doc: unknown, place: Place): Omit<AppConfig, 'env'> => ({
  scale: readScale(entriesIn(doc, 'scale', place), place.in('scale')),
  health: readHealth(field(doc, 'health'), place.in('health')),
  ...readValues(doc, place),
});

function readValues(doc: unknown, place: Place): SettingValues {
  const values = eachSetting<string | number>((key) => {
    const rule = APP_SETTINGS[key];
    return rule.kind === 'choice' ? choice<string>(doc, key, rule, place) : integerIn(doc, key, rule, place);
  });
  return values as SettingValues;
}

/** What a release says of its settings, and nothing where it says nothing. */
export function readReleaseSettings(doc: unknown, place: Place): Pick<ReleaseView, 'settings'> {
  if (doc === undefined) return {};
  if (!isMap(doc)) {
    place.leftOut('must be a map');
    return {};
  }
  const said = Object.entries(readSettings(doc, place)).filter(([key]) => field(doc, key) !== undefined);
  return { settings: Object.fromEntries(said) };
}

function readScale(docs: Entries, place: Place): Record<string, number> {
  const scale = record<number>([['web', WEB_INSTANCES_DEFAULT]]);
  let types = 0;
  for (const [type, count] of docs) {
    const at = place.in(type);
    const problem = processTypeProblem(type) ?? tooMany(types);
    if (problem !== undefined) {
      at.leftOut(problem);
      continue;
    }
    types++;
    scale[type] = integer(count, { max: INSTANCES_MAX, default: type === 'web' ? WEB_INSTANCES_DEFAULT : 0 }, at);
  }
  return scale;
}

const tooMany = (types: number): string | undefined =>
  types < PROCESS_TYPES_MAX ? undefined : `at most ${PROCESS_TYPES_MAX} process types are allowed`;

function readHealth(doc: unknown, place: Place): HealthView {
  if (doc !== undefined && !isMap(doc)) place.replaced('must be a map');
  const path = field(doc, 'path') === undefined ? HEALTH_PATH_DEFAULT : anyText(field(doc, 'path'));
  const problem = healthPathProblem(path);
  if (problem !== undefined) place.in('path').replaced(problem);
  return {
    kind: choice(doc, 'kind', { choices: HEALTH_KINDS, default: HEALTH_KIND_DEFAULT }, place),
    path: problem === undefined && path !== undefined ? path : HEALTH_PATH_DEFAULT,
    timeoutMs: integerIn(
      doc,
      'timeoutMs',
      { min: HEALTH_TIMEOUT_MS_MIN, max: HEALTH_TIMEOUT_MS_MAX, default: HEALTH_TIMEOUT_MS_DEFAULT },
      place,
    ),
  };
}
