// What requests may hold: schemas of bodies and queries, and the one-line message that names the field at fault.
// Uses the rules of crdt/limits.ts; decides nothing that depends on the desired state.

import { validator } from 'hono/validator';
import * as v from 'valibot';
import * as limits from '../../crdt/limits.ts';
import { APP_SETTINGS, eachSetting, type SettingKey, type SettingValues } from '../../crdt/settings.ts';
import { LINES_MAX } from '../ports/methods.ts';
import { serviceWishes, volumeWishes } from './data-validate.ts';
import { ApiError } from './errors.ts';
import { appName, flag, memoryBytes, object, ruled, whole } from './schema-parts.ts';

export const LINES_DEFAULT = 100;
const INVITE_TTL_MS_MIN = 1_000;
const INVITE_TTL_MS_MAX = 30 * 24 * 60 * 60 * 1000;
const BUILDPACKS_MAX = 10;
const BUILDPACK_CHARS_MAX = 1_000;
const IMAGE_CHARS_MAX = 500;
/** Nodes left out of one what-if. */
const NODES_WITHOUT_MAX = 100;

export const routeText = ruled((value) => {
  const route = limits.normaliseRoute(value);
  return 'problem' in route ? route.problem : undefined;
});
const instances = whole(0, limits.INSTANCES_MAX);
const scale = v.record(ruled(limits.processTypeProblem), instances, 'should be an object');
const envMap = v.pipe(
  v.record(ruled(limits.envSetProblem), ruled(limits.envValueProblem), 'should be an object'),
  v.rawCheck(({ dataset, addIssue }) => {
    for (const [key, value] of dataset.typed ? Object.entries(dataset.value) : []) {
      const message = limits.envSetValueProblem(key, value);
      const at = {
        type: 'object',
        origin: 'value',
        input: dataset.value as Record<string, unknown>,
        key,
        value,
      } as const;
      if (message !== undefined) addIssue({ message, path: [at] });
    }
  }),
);
const health = object({
  kind: v.picklist(limits.HEALTH_KINDS, `should be one of ${limits.HEALTH_KINDS.join(', ')}`),
  path: v.optional(ruled(limits.healthPathProblem)),
});
const healthTimeoutMs = whole(limits.HEALTH_TIMEOUT_MS_MIN, limits.HEALTH_TIMEOUT_MS_MAX, ' ms');
const command = v.pipe(
  v.string('should be text'),
  v.minLength(1, 'is empty'),
  v.check((text) => limits.byteLength(text) <= limits.COMMAND_BYTES_MAX, 'is too long'),
);

/** As the table of settings says (crdt/settings.ts). */
function valueEntries() {
  const entries = eachSetting<unknown>((key) => {
    const rule = APP_SETTINGS[key];
    if (rule.kind !== 'choice') return v.optional(whole(rule.min, rule.max, rule.kind === 'size' ? ' bytes' : ''));
    return v.optional(v.picklist(rule.choices as readonly string[], `should be one of ${rule.choices.join(', ')}`));
  });
  return entries as { [K in SettingKey]: v.OptionalSchema<v.GenericSchema<SettingValues[K]>, undefined> };
}

const settingsEntries = {
  health: v.optional(health),
  healthTimeoutMs: v.optional(healthTimeoutMs),
  ...valueEntries(),
};

export const settingsBody = object(settingsEntries);
export type SettingsBody = v.InferOutput<typeof settingsBody>;

export const createAppBody = object({
  ...settingsEntries,
  name: appName,
  scale: v.optional(scale),
  env: v.optional(envMap),
  routes: v.optional(v.pipe(v.array(routeText, 'should be a list'), v.maxLength(limits.ROUTES_PER_APP_MAX))),
  stopped: v.optional(v.boolean('should be true or false')),
});

export const buildpackName = v.pipe(
  v.string('should be text'),
  v.regex(/^[A-Za-z0-9._-]{1,100}$/, 'should be letters, digits, dots, dashes and underscores'),
);

export const pushOptions = object({
  ...settingsEntries,
  /** Of the `web` process, or of the only one there is. */
  instances: v.optional(instances),
  buildpacks: v.optional(
    v.pipe(
      v.array(
        v.pipe(
          v.string('should be text'),
          v.minLength(1, 'is empty'),
          v.maxLength(BUILDPACK_CHARS_MAX, 'is too long'),
          v.check(
            (text) => !text.startsWith('/'),
            'is a path, which only the machine it is on can read: push with the peer command, which sends it, or name a git URL',
          ),
        ),
        'should be a list',
      ),
      v.maxLength(BUILDPACKS_MAX, `should be at most ${BUILDPACKS_MAX} buildpacks`),
    ),
  ),
  /** Instead of a source: an image that the node's engine holds. */
  image: v.optional(
    v.pipe(
      v.string('should be text'),
      v.maxLength(IMAGE_CHARS_MAX, 'is too long'),
      v.regex(/^[A-Za-z0-9][A-Za-z0-9._:/@-]*$/, 'should be the name of an image, such as shop:1.2'),
    ),
  ),
  /** The folder has a Dockerfile. */
  dockerfile: v.optional(v.boolean('should be true or false')),
  /** Start command of the `web` process, instead of the one that staging found. */
  command: v.optional(command),
  /** Of other process types; they win over what staging found, and add to it. */
  commands: v.optional(v.record(ruled(limits.processTypeProblem), command, 'should be an object')),
  /** Of other process types than the one of `instances`. */
  scale: v.optional(scale),
  /** Absent: a new app gets the default route, an existing one keeps its routes. Empty: no route. */
  routes: v.optional(v.pipe(v.array(routeText, 'should be a list'), v.maxLength(limits.ROUTES_PER_APP_MAX))),
  /** The default route of a new app has something in it that no other app's has. */
  randomRoute: v.optional(v.boolean('should be true or false')),
  env: v.optional(envMap),
  start: v.optional(v.boolean('should be true or false')),
  /** Folders of the process type of `instances` that outlive its instances: what its slots lack is made. */
  volumes: v.optional(volumeWishes),
  /** What its image declares as volumes is to be some; else it is in memory. */
  imageVolumes: v.optional(v.boolean('should be true or false')),
  /** Bound to the app before it starts; those with a kind are made where there are none of the name. */
  services: v.optional(serviceWishes),
  /** Of a name without a kind that is the name of a kind, too. */
  createServices: v.optional(v.boolean('should be true or false')),
});
export type PushOptions = v.InferOutput<typeof pushOptions>;

const ARGV_WORDS_MAX = 1_000;
const TERMINAL_SIZE_MAX = 1_000;
const commandEntries = {
  argv: v.pipe(
    v.array(
      v.pipe(
        v.string('should be text'),
        v.check((word) => !word.includes('\0'), 'must not contain a NUL character'),
      ),
      'should be a list',
    ),
    v.maxLength(ARGV_WORDS_MAX, `should be at most ${ARGV_WORDS_MAX} words`),
    v.check((words) => limits.byteLength(words.join(' ')) <= limits.COMMAND_BYTES_MAX, 'is too long'),
  ),
  terminal: v.optional(object({ columns: whole(1, TERMINAL_SIZE_MAX), rows: whole(1, TERMINAL_SIZE_MAX) })),
};
export const execOptions = object({
  ...commandEntries,
  process: v.optional(ruled(limits.processTypeProblem)),
  index: whole(0, limits.INSTANCES_MAX - 1),
});
/** `index`, `process`: the slot whose volumes the task sees, 0 of web unless said. `volumes`: false for none. */
export const runOptions = object({
  ...commandEntries,
  name: v.optional(appName),
  process: v.optional(ruled(limits.processTypeProblem)),
  index: v.optional(whole(0, limits.INSTANCES_MAX - 1)),
  volumes: v.optional(v.boolean('should be true or false')),
});

/** `volumes`: of the one process type that is scaled. */
export const scaleBody = object({
  scale: v.optional(scale),
  memoryBytes: v.optional(memoryBytes),
  volumes: v.optional(volumeWishes),
});
export type ScaleBody = v.InferOutput<typeof scaleBody>;
export const restartSlotBody = object({
  process: ruled(limits.processTypeProblem),
  index: whole(0, limits.INSTANCES_MAX - 1),
});
export const rollbackBody = object({
  release: v.optional(
    v.pipe(v.string('should be a release such as v3'), v.regex(/^v\d{1,9}$/, 'should be a release such as v3')),
  ),
});
export const envBody = object({
  set: v.optional(envMap),
  unset: v.optional(v.array(ruled(limits.envKeyProblem), 'should be a list')),
});
export const routeBody = object({ route: routeText });
const userName = v.pipe(v.string('should be text'), v.minLength(1, 'is empty'), v.maxLength(200, 'is too long'));
export const shareBody = object({
  host: routeText,
  app: v.string('should be text'),
  shared: v.boolean('should be true or false'),
});
export const memberBody = object({ user: userName, member: v.boolean('should be true or false') });
export const ownerBody = object({ owner: userName });
export const teamsBody = object({ teams: v.picklist(limits.TEAMS, `should be one of ${limits.TEAMS.join(', ')}`) });
export const userBody = object({
  name: ruled(limits.nameProblem),
  role: v.picklist(limits.ROLES, `should be one of ${limits.ROLES.join(', ')}`),
});
export const inviteBody = object({
  ttlMs: v.optional(whole(INVITE_TTL_MS_MIN, INVITE_TTL_MS_MAX, ' ms')),
  uses: v.optional(whole(1, limits.INVITE_USES_MAX)),
});
export const labelsBody = object({
  labels: v.pipe(
    v.record(ruled(limits.labelKeyProblem), ruled(limits.labelValueProblem), 'should be an object'),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const message = limits.labelCountProblem(Object.keys(dataset.value).length);
      if (message !== undefined) addIssue({ message });
    }),
  ),
});
/** `strand`: a node that leaves takes the data that it has with it. */
export const stopBody = object({
  leave: v.optional(v.boolean('should be true or false')),
  strand: v.optional(v.boolean('should be true or false')),
});

const linesText = v.optional(
  v.pipe(
    v.string(),
    v.regex(/^\d{1,5}$/, `should be a whole number from 0 to ${LINES_MAX}`),
    v.check((text) => Number(text) <= LINES_MAX, `should be a whole number from 0 to ${LINES_MAX}`),
  ),
);
export const logsQuery = object({ lines: linesText, follow: flag });
export const eventsQuery = object({ lines: linesText, follow: flag, app: v.optional(v.string()) });
export const whyQuery = object({
  process: v.optional(ruled(limits.processTypeProblem)),
  index: v.pipe(
    v.string(),
    v.regex(/^\d{1,9}$/, `should be a whole number from 0 to ${limits.INSTANCES_MAX - 1}`),
    v.check(
      (text) => Number(text) < limits.INSTANCES_MAX,
      `should be a whole number from 0 to ${limits.INSTANCES_MAX - 1}`,
    ),
  ),
});
/** `without` may be repeated. */
export const whatIfQuery = object({
  without: v.union(
    [v.string(), v.pipe(v.array(v.string()), v.maxLength(NODES_WITHOUT_MAX, `should be at most ${NODES_WITHOUT_MAX}`))],
    'should name a node, or several',
  ),
});
export const rolloutQuery = object({ release: v.optional(v.string()), replaced: v.optional(v.string()) });

/** Parses, or fails with a line such as `scale.web: should be a whole number from 0 to 100`. */
export function parseInput<S extends v.GenericSchema>(schema: S, input: unknown, name?: string): v.InferOutput<S> {
  const parsed = v.safeParse(schema, input);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const path = v.getDotPath(issue) ?? name ?? null;
  throw new ApiError('bad_request', path === null ? issue.message : `${path}: ${issue.message}`);
}

/** Middleware for a JSON body; an absent body counts as `{}`. A body of another type is refused, not passed over. */
export const jsonBody = <S extends v.GenericSchema>(schema: S) =>
  validator('json', async (value: unknown, c): Promise<v.InferOutput<S>> => {
    const type = c.req.header('content-type') ?? '';
    if (!/^application\/([\w.-]+\+)?json\s*(;|$)/i.test(type) && (await c.req.text()) !== '') {
      throw new ApiError('bad_request', 'the body should be JSON: send it with content-type: application/json');
    }
    return parseInput(schema, value ?? {});
  });

export const queryOf = <S extends v.GenericSchema>(schema: S) =>
  validator('query', (value: unknown): v.InferOutput<S> => parseInput(schema, value));
