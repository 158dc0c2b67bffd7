// Compose files as plans, as far as the model reaches: each service is an app, or a service of the cluster. Names
// every key that has no meaning here, all of them at once, instead of running something that was not asked for. Pure.
// See https://github.com/compose-spec/compose-spec/blob/main/spec.md

import { posix } from 'node:path';
import * as v from 'valibot';
import { CliError } from '../errors.ts';
import {
  HEALTH_TIMEOUT_SECONDS,
  INSTANCE_MEMORY,
  INSTANCES_MAX,
  parseDuration,
  parseName,
  parseSize,
  parseWhole,
} from '../values.ts';
import {
  ComposeVolumes,
  databaseIn,
  databaseRefused,
  providedKind,
  provider,
  refusedMounts,
  type ServiceWish,
  unreachableServer,
  wishOfProvider,
} from './compose-data.ts';
import { hasNoEffect, leaveOutByProfile } from './compose-ignored.ts';
import { type ShellVariables, substitute } from './compose-variables.ts';
import { type Database, wiringOf } from './compose-wiring.ts';
import { type Data, isMapping, readYaml } from './document.ts';
import { parseData, read, text } from './fields.ts';
import type { AppPlan } from './plan.ts';

const SERVICES_MAX = 100;
const NETWORK = 'apps reach each other by their routes: remove it';

/** Of known keys: why not, and what to do. */
const REFUSED: Record<string, string> = {
  volumes_from: 'a volume belongs to one app: give each its own under volumes',
  network_mode: NETWORK,
  extra_hosts: NETWORK,
  secrets: 'use environment',
  configs: 'use environment',
  privileged: 'apps are never privileged: remove it',
  cap_add: 'apps have no capabilities: remove it',
  devices: 'apps see no devices: remove it',
  gpus: 'apps see no devices: remove it',
  extends: 'use YAML anchors',
};

const words = v.union([text, v.array(text)], 'should be text or a list');
const assignments = v.union(
  [v.array(text), v.record(text, v.nullable(text))],
  'should be a list of K=V, or a mapping of names to values',
);
const count = read((value) => parseWhole(value, '', { min: 0, max: INSTANCES_MAX }));
const portText = v.pipe(
  text,
  v.regex(/^(?:(?:[^:]*:)?\d*:)?\d{1,5}(?:\/tcp)?$/, 'should be a TCP port such as "8080:80" or "80"'),
  v.transform((value) => Number(/(\d+)(?:\/tcp)?$/.exec(value)![1])),
);
const portMapping = v.pipe(
  v.object({
    target: read((value) => parseWhole(value, '', { min: 1, max: 65535 })),
    published: v.nullish(text),
    protocol: v.nullish(v.literal('tcp', 'should be tcp')),
  }),
  v.transform(({ target }) => target),
);

const build = v.object({
  context: v.nullish(text, '.'),
  dockerfile: v.nullish(v.literal('Dockerfile', 'should be Dockerfile, in the context')),
});

const service = v.object({
  provider: v.nullish(provider),
  volumes: v.nullish(v.custom<Data>(() => true)),
  image: v.nullish(text),
  build: v.nullish(v.lazy((input) => (typeof input === 'string' ? text : build))),
  command: v.nullish(words),
  environment: v.nullish(assignments),
  env_file: v.nullish(v.union([text, v.array(v.union([text, v.object({ path: text, required: v.nullish(text) })]))])),
  ports: v.nullish(
    v.pipe(
      v.array(v.union([portText, portMapping], 'should be a TCP port such as "8080:80" or "80"'), 'should be a list'),
      v.maxLength(1, 'should be one port: the app has one, and its route leads there'),
    ),
  ),
  restart: v.nullish(text),
  entrypoint: v.nullish(words),
  profiles: v.nullish(v.array(text, 'should be a list of profiles')),
  scale: v.nullish(count),
  mem_limit: v.nullish(read((value) => composeSize(value))),
  depends_on: v.nullish(v.union([v.array(text), v.record(text, v.unknown())], 'should be a list of services')),
  deploy: v.nullish(
    v.object({
      replicas: v.nullish(count),
      resources: v.nullish(
        v.object({ limits: v.nullish(v.object({ memory: v.nullish(read((value) => composeSize(value))) })) }),
      ),
    }),
  ),
  healthcheck: v.nullish(
    v.object({
      test: v.nullish(words),
      disable: v.nullish(v.picklist(['true', 'false'], 'should be true or false')),
      start_period: v.nullish(
        read((value) =>
          parseDuration(value, '', { min: `${HEALTH_TIMEOUT_SECONDS.min}s`, max: `${HEALTH_TIMEOUT_SECONDS.max}s` }),
        ),
      ),
    }),
  ),
});
type Service = v.InferOutput<typeof service>;

/** Keys that a mapping may hold here, by its path with `*` for names (compose-ignored.ts has those without effect). */
const KNOWN: Record<string, readonly string[]> = {
  '': ['services', 'version', 'name', 'volumes'],
  'services.*': Object.keys(service.entries),
  'services.*.build': ['context', 'dockerfile'],
  'services.*.deploy': ['replicas', 'resources'],
  'services.*.deploy.resources': ['limits'],
  'services.*.deploy.resources.limits': ['memory'],
  'services.*.healthcheck': ['test', 'disable', 'start_period'],
};

export type ComposeInput = {
  source: string;
  /** Its name, for messages. */
  file: string;
  variables: ShellVariables;
  /** What is no error, and somebody should know. */
  note: (text: string) => void;
  /** Text of an env_file, named relative to the Compose file; undefined when there is none. */
  readEnvFile: (path: string) => Promise<Readonly<Record<string, string>> | undefined>;
};

/** In the order of depends_on. Fails with CliError `bad_manifest`. */
export async function readCompose({ source, file, variables, note, readEnvFile }: ComposeInput): Promise<AppPlan[]> {
  const data = substitute(readYaml(source, file).data, variables, file);
  const services = isMapping(data) ? data.services : undefined;
  if (!isMapping(services) || Object.keys(services).length === 0) {
    throw new CliError('bad_manifest', `${file}: services: should be a mapping of names to services`);
  }
  if (Object.keys(services).length > SERVICES_MAX) {
    throw new CliError('bad_manifest', `${file}: services: holds more than ${SERVICES_MAX}`);
  }
  leaveOutByProfile(services, variables, (text) => note(`${file}: ${text}`));
  if (Object.keys(services).length === 0) {
    throw new CliError('bad_manifest', `${file}: services: all are left out by their profiles`);
  }
  const ignored: string[] = [];
  refuseUnsupported(data, file, ignored);
  const volumes = new ComposeVolumes((data as { volumes?: Data }).volumes, file);
  const apps = new Map<string, App>();
  const provided = new Map<string, ServiceWish>();
  for (const [name, written] of Object.entries(services)) {
    const fail = (path: string, message: string): never => {
      throw new CliError('bad_manifest', `${file}: services.${name}${path === '' ? '' : `.${path}`}: ${message}`);
    };
    parseData(
      read((value) => parseName(value, '')),
      name,
      `${file}: services.${name}`,
    );
    const parsed = parseService(written, (path, message) => fail(path, message));
    if (parsed.provider) {
      if (parsed.image || parsed.build) fail('provider', 'excludes image and build: remove them');
      provided.set(name, wishOfProvider(name, parsed.provider));
      continue;
    }
    if (!parsed.image && !parsed.build) fail('', 'should have an image, or a build');
    const plan = planOfService(name, parsed, (path) => ignored.push(`services.${name}.${path}`));
    const env = await environmentOf(parsed, variables, readEnvFile, fail);
    const [port] = parsed.ports ?? [];
    if (port !== undefined) env.PORT ??= String(port);
    if (Object.keys(env).length > 0) plan.options.env = env;
    const mounts = volumes.of(name, parsed.volumes, fail);
    if (mounts.length > 0) plan.options.volumes = mounts;
    const { depends_on: dependsOn } = parsed;
    apps.set(name, { plan, after: Array.isArray(dependsOn) ? dependsOn : Object.keys(dependsOn ?? {}) });
  }
  bindProvided(apps, provided, file);
  if (ignored.length > 0) note(`${file}: without effect here: ${ignored.join(', ')}`);
  return inOrder(apps, file);
}

type App = { plan: AppPlan; after: string[] };

/** An app is bound to what it depends on, and comes after the other apps that it depends on. */
function bindProvided(apps: ReadonlyMap<string, App>, provided: ReadonlyMap<string, ServiceWish>, file: string): void {
  for (const app of apps.values()) {
    const wishes = app.after.flatMap((name) => provided.get(name) ?? []);
    if (wishes.length > 0) app.plan.options.services = wishes;
  }
  for (const name of provided.keys()) {
    if ([...apps.values()].some(({ after }) => after.includes(name))) continue;
    const message = `nothing depends on it: write depends_on: [${name}] at what uses it`;
    throw new CliError('bad_manifest', `${file}: services.${name}: ${message}`);
  }
  for (const app of apps.values()) app.after = app.after.filter((name) => !provided.has(name));
}

/** As parseData, with the path in Compose's notation. */
function parseService(written: unknown, fail: (path: string, message: string) => never): Service {
  const parsed = v.safeParse(service, written);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const path = (issue.path ?? []).map((item) => String(item.key)).join('.');
  const isType = issue.message.startsWith('Invalid type');
  return fail(path, isType ? 'should be a mapping' : issue.message);
}

/** Every key that has no meaning here, in one line. `x-…` are extensions, and mean nothing anywhere. */
function refuseUnsupported(data: Data, file: string, ignored: string[]): void {
  const found: string[] = [];
  const walk = (value: Data | undefined, path: string, pattern: string): void => {
    if (!isMapping(value)) return;
    const known = KNOWN[pattern];
    for (const [key, inner] of Object.entries(value)) {
      const at = path === '' ? key : `${path}.${key}`;
      if (hasNoEffect(pattern, key)) {
        ignored.push(at);
        continue;
      }
      if (known !== undefined && !known.includes(key) && !key.startsWith('x-')) {
        found.push(Object.hasOwn(REFUSED, key) ? `${at} (${REFUSED[key]})` : `${at} (remove it)`);
        continue;
      }
      if (pattern === 'services') {
        const database = databaseIn(inner);
        const refusal = database === undefined ? unreachableServer(inner) : databaseRefused(database);
        if (refusal === undefined) walk(inner, at, 'services.*');
        else found.push(`${at} (${refusal})`);
      } else if (pattern === 'services.*' && key === 'volumes') {
        found.push(...refusedMounts(inner).map((clause) => `${at} (${clause})`));
      } else walk(inner, at, pattern === '' ? key : `${pattern}.${key}`);
    }
  };
  walk(data, '', '');
  found.push(...wiringIn((data as { services: { [name: string]: Data } }).services));
  if (found.length === 0) return;
  throw new CliError('bad_manifest', `${file}: not supported: ${found.join(', ')}`);
}

/** What apps say of databases that are services here. */
function wiringIn(services: { [name: string]: Data }): string[] {
  const databases = Object.entries(services).flatMap(([name, written]): Database[] => {
    const kind = databaseIn(written) ?? providedKind(written);
    return kind === undefined ? [] : [{ name, kind, written }];
  });
  return Object.entries(services).flatMap(([name, written]) =>
    databases.some((one) => one.name === name)
      ? []
      : wiringOf(name, written, databases).map(([path, clause]) => `services.${path} (${clause})`),
  );
}

/** `ignore`: that what stands there has no effect. */
function planOfService(name: string, one: Service, ignore: (path: string) => void): AppPlan {
  const context = typeof one.build === 'object' && one.build !== null ? one.build.context : one.build;
  const plan: AppPlan = {
    name,
    ...(context ? { path: posix.normalize(context) } : { image: one.image! }),
    options: {},
  };
  const { options } = plan;
  const command = [one.entrypoint, one.command].flatMap((given) => (given && given.length > 0 ? [lineOf(given)] : []));
  if (command.length > 0) options.command = command.join(' ');
  if (one.restart && !/^(?:always|unless-stopped)$/.test(one.restart)) {
    ignore('restart (an app that ends is started again)');
  }
  const replicas = one.deploy?.replicas ?? one.scale;
  if (typeof replicas === 'number') options.instances = replicas;
  const memory = one.deploy?.resources?.limits?.memory ?? one.mem_limit;
  if (typeof memory === 'number') options.memoryBytes = memory;
  const [port] = one.ports ?? [];
  if (port === undefined) {
    options.routes = [];
    options.health = { kind: 'process' };
  }
  addHealth(plan, one, port, ignore);
  return plan;
}

function addHealth(
  { options }: AppPlan,
  { healthcheck }: Service,
  port: number | undefined,
  ignore: (path: string) => void,
): void {
  if (!healthcheck) return;
  if (typeof healthcheck.start_period === 'number') options.healthTimeoutMs = healthcheck.start_period;
  const test = healthcheck.test ?? undefined;
  const kind = Array.isArray(test) ? test[0] : undefined;
  if (healthcheck.disable === 'true' || kind === 'NONE') {
    options.health = { kind: 'process' };
    return;
  }
  if (test === undefined) return;
  const line = typeof test === 'string' ? test : test.slice(1).join(' ');
  const url = /^(?:curl|wget)\b.*?https?:\/\/(?:localhost|127\.0\.0\.1|\[::1\])(?::(\d+))?(\/[^\s"'|&;]*)?/.exec(line);
  const asked = url === null ? undefined : Number(url[1] ?? 80);
  if (url === null || port === undefined || asked !== port) {
    ignore('healthcheck.test (only curl http://localhost:PORT/PATH with the port of ports is asked)');
    return;
  }
  options.health = { kind: 'http', path: url[2] ?? '/' };
}

async function environmentOf(
  one: Service,
  variables: ShellVariables,
  readEnvFile: ComposeInput['readEnvFile'],
  fail: (path: string, message: string) => never,
): Promise<Record<string, string>> {
  const env: Record<string, string> = {};
  const files = typeof one.env_file === 'string' ? [one.env_file] : (one.env_file ?? []);
  for (const file of files) {
    const { path, required } = typeof file === 'string' ? { path: file, required: 'true' } : file;
    const content = await readEnvFile(path);
    if (content === undefined && required !== 'false') fail('env_file', `there is no file ${path}`);
    Object.assign(env, content);
  }
  const given = one.environment ?? {};
  const pairs: [string, string | null][] = Array.isArray(given)
    ? given.map((pair) => {
        const equals = pair.indexOf('=');
        return equals < 0 ? [pair, null] : [pair.slice(0, equals), pair.slice(equals + 1)];
      })
    : Object.entries(given);
  for (const [key, value] of pairs) {
    // Without a value it is the one of whoever pushes, if there is one.
    const own = value ?? variables[key];
    if (own !== undefined) env[key] = own;
  }
  return env;
}

/** Each after those it depends on, otherwise as written. */
function inOrder(apps: ReadonlyMap<string, App>, file: string): AppPlan[] {
  const ordered: AppPlan[] = [];
  const state = new Map<string, 'visiting' | 'done'>();
  const visit = (name: string, by: string): void => {
    const app = apps.get(name);
    const where = `${file}: services.${by}.depends_on`;
    if (app === undefined) throw new CliError('bad_manifest', `${where}: there is no service ${name}`);
    if (state.get(name) === 'done') return;
    if (state.get(name) === 'visiting') {
      throw new CliError('bad_manifest', `${where}: ${name} depends on itself in a circle`);
    }
    state.set(name, 'visiting');
    for (const other of app.after) visit(other, name);
    state.set(name, 'done');
    ordered.push(app.plan);
  };
  for (const name of apps.keys()) visit(name, name);
  return ordered;
}

/** Compose also writes `512m`, `1gb` and plain bytes. */
function composeSize(value: string): number {
  return parseSize(
    /^\d+$/.test(value) ? `${Number(value) / 1024}K` : value.replace(/^(\d+)b$/i, '$1'),
    '',
    INSTANCE_MEMORY,
  );
}

const lineOf = (given: string | readonly string[]): string =>
  typeof given === 'string' ? given : given.map(shellQuoted).join(' ');

/** One word of a shell line. */
export const shellQuoted = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
