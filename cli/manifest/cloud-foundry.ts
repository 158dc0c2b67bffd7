// Cloud Foundry's manifest.yml as plans: which keys it may hold, what each means here, and why some are refused. Pure.
// See https://docs.cloudfoundry.org/devguide/deploy-apps/manifest-attributes.html

import * as v from 'valibot';
import type { PushOptions } from '../../node/api/validate.ts';
import { CliError } from '../errors.ts';
import {
  HEALTH_TIMEOUT_SECONDS,
  INSTANCE_DISK,
  INSTANCE_MEMORY,
  INSTANCES_MAX,
  parseName,
  parseSize,
  parseWhole,
} from '../values.ts';
import { isMapping, readYaml } from './document.ts';
import { mapping, parseData, read, text, yesOrNo } from './fields.ts';
import type { AppPlan } from './plan.ts';
import { interpolate, type Variables } from './variables.ts';
import { volumeEntry } from './volume-fields.ts';

const APPLICATIONS_MAX = 100;
const PROBES = 'probes run as Peer sets them (1 s each, every 10 s once ready): remove it';

const size = (range: { min: string; max: string }) => read((value) => parseSize(value, '', range));
const memory = size(INSTANCE_MEMORY);
const instances = read((value) => parseWhole(value, '', { min: 0, max: INSTANCES_MAX }));
const HEALTH_TYPES = ['port', 'http', 'process', 'none'] as const;
const health = {
  'health-check-type': v.nullish(v.picklist(HEALTH_TYPES, 'should be one of port, http, process')),
  'health-check-http-endpoint': v.nullish(v.pipe(text, v.startsWith('/', 'should be a path such as /healthz'))),
  timeout: v.nullish(read((value) => parseWhole(value, '', HEALTH_TIMEOUT_SECONDS))),
};
const sized = {
  memory: v.nullish(memory),
  disk_quota: v.nullish(size(INSTANCE_DISK)),
  instances: v.nullish(instances),
  command: v.nullish(text),
};
const REFUSED_OF_PROCESSES: Record<string, string> = {
  'health-check-invocation-timeout': PROBES,
  'health-check-interval': PROBES,
  'readiness-health-check-type': 'an instance gets traffic once health-check-type finds it healthy: remove it',
  'readiness-health-check-http-endpoint':
    'health-check-http-endpoint is asked before an instance gets traffic: use that',
  'readiness-health-check-invocation-timeout': PROBES,
  'readiness-health-check-interval': PROBES,
  'log-rate-limit-per-second': 'logs are bounded by their size here: remove it',
};
const REWRITE = 'Cloud Foundry dropped it: write routes, such as - route: shop.example.org';

const process = mapping(
  { type: v.pipe(text, v.nonEmpty('should be a process type such as web or worker')), ...sized, ...health },
  REFUSED_OF_PROCESSES,
);

const serviceName = read((value) => parseName(value, ''));
const serviceMapping = mapping(
  {
    name: serviceName,
    kind: v.nullish(text),
    plan: v.nullish(text),
    version: v.nullish(text),
    memory: v.nullish(memory),
    storage: v.nullish(read((value) => parseSize(value, ''))),
    node: v.nullish(text),
  },
  {
    parameters: 'is not supported: plan, memory and storage say what a service is like',
    binding_name: 'is not supported: remove it',
  },
);
/** A service by its name; with a kind it is made where there is none. */
const serviceWish = v.lazy((input) => (isMapping(input) ? serviceMapping : serviceName));

const application = mapping(
  {
    name: v.nullish(read((value) => parseName(value, ''))),
    path: v.nullish(v.pipe(text, v.nonEmpty('should be a folder'))),
    buildpack: v.nullish(text),
    buildpacks: v.nullish(v.array(text, 'should be a list of buildpacks')),
    docker: v.nullish(
      mapping(
        { image: v.pipe(text, v.nonEmpty('should be an image such as nginx:1.27')) },
        { username: 'images that need a login are not supported: load the image on the node, or use a public one' },
      ),
    ),
    lifecycle: v.nullish(v.picklist(['buildpack', 'cnb', 'docker'], 'should be one of buildpack, cnb, docker')),
    env: v.nullish(
      v.pipe(
        v.custom<Record<string, string | null>>(isMapping, 'should be a mapping of names to values'),
        v.record(text, v.nullable(v.string('should be text: write lists and mappings as JSON in quotes'))),
      ),
    ),
    routes: v.nullish(
      v.array(
        mapping(
          {
            route: v.pipe(text, v.regex(/^(?:https?:\/\/)?[^:]+$/i, 'should be HOST or HOST/PATH, without a port')),
            protocol: v.nullish(v.literal('http1', 'should be http1: apps are spoken to in HTTP/1.1')),
          },
          { options: 'requests go to the least busy instance, and nothing can be set: remove it' },
        ),
        'should be a list, such as - route: shop.example.org',
      ),
    ),
    'no-route': v.nullish(yesOrNo),
    'random-route': v.nullish(yesOrNo),
    'default-route': v.nullish(yesOrNo),
    services: v.nullish(v.array(serviceWish, 'should be a list of names, or of mappings with name and kind')),
    volumes: v.nullish(v.array(volumeEntry, 'should be a list, such as - /data:2G')),
    processes: v.nullish(v.array(process, 'should be a list of processes, such as - type: worker')),
    ...sized,
    ...health,
  },
  {
    ...REFUSED_OF_PROCESSES,
    host: REWRITE,
    hosts: REWRITE,
    'no-hostname': REWRITE,
    domain: REWRITE,
    domains: REWRITE,
    stack: 'apps run on the stack of their node: remove it',
    sidecars: 'is not supported: make it a process of its own, or start it from the command',
    metadata: 'is not supported: remove it',
    features: 'is not supported: remove it',
    'cnb-credentials': 'is not supported: remove it',
  },
);

const manifest = v.object(
  {
    version: v.nullish(v.literal('1', 'should be 1')),
    applications: v.pipe(
      v.array(application, 'should be a list of apps, such as - name: hello'),
      v.minLength(1, 'holds no app'),
      v.maxLength(APPLICATIONS_MAX, `holds more than ${APPLICATIONS_MAX} apps`),
    ),
  },
  (issue) => (issue.received === 'undefined' ? 'is missing' : 'should hold applications:'),
);

type Application = v.InferOutput<typeof application>;
type Process = NonNullable<Application['processes']>[number];
/** Fails with the line for a field of the application. */
type Fail = (path: string, message: string) => never;

/** Fails with CliError `bad_manifest`: one line with the file and the path of what is wrong. */
export function readManifest(source: string, file: string, variables: Variables = {}): AppPlan[] {
  const { data, anchored } = readYaml(source, file);
  for (const key of isMapping(data) ? Object.keys(data) : []) {
    if (key === 'applications' || key === 'version' || key.startsWith('x-') || anchored.has(key)) continue;
    const message = 'is no key of a manifest: put it into each application, or behind an anchor such as &defaults';
    throw new CliError('bad_manifest', `${file}: ${key}: ${message}`);
  }
  const { applications } = parseData(manifest, interpolate(data, variables, file), file);
  const names = new Set<string>();
  return applications.map((app, index) => {
    const fail: Fail = (path, message) => {
      throw new CliError('bad_manifest', `${file}: applications/${index}/${path}: ${message}`);
    };
    if (applications.length > 1 && !app.name) fail('name', 'is missing');
    if (app.name && names.has(app.name)) fail('name', `${app.name} is there twice`);
    if (app.name) names.add(app.name);
    return planOfApplication(app, fail);
  });
}

function planOfApplication(app: Application, fail: Fail): AppPlan {
  const buildpacks = [...(app.buildpacks ?? []), ...(app.buildpack ? [app.buildpack] : [])].map(ownBuildpack);
  if (app.buildpack && app.buildpacks) fail('buildpack', 'excludes buildpacks: keep buildpacks');
  if (app.docker && buildpacks.length > 0) fail('docker', 'excludes buildpacks: an image is run as it is');
  if (app.docker && app.path) fail('docker', 'excludes path: an image is run as it is');
  if (app.lifecycle === 'docker' && !app.docker) fail('lifecycle', 'is docker, and there is no docker: image: REF');
  if (app['no-route'] && (app.routes?.length ?? 0) > 0) fail('no-route', 'excludes routes');
  const options: PushOptions = {};
  if (buildpacks.length > 0 && buildpacks[0] !== 'default') options.buildpacks = buildpacks;
  if (app['no-route']) options.routes = [];
  else if (app.routes && app.routes.length > 0) options.routes = app.routes.map(({ route }) => route);
  else if (app['random-route']) options.randomRoute = true;
  if (app.env) options.env = Object.fromEntries(Object.entries(app.env).map(([key, value]) => [key, value ?? '']));
  addData(options, app, fail);
  addProcesses(options, app, fail);
  return {
    ...(app.name ? { name: app.name } : {}),
    ...(app.path ? { path: app.path } : {}),
    ...(app.docker ? { image: app.docker.image } : {}),
    options,
  };
}

/** Volumes are of web, as --volume is. */
function addData(options: PushOptions, app: Application, fail: Fail): void {
  const services = (app.services ?? []).map((one) => (typeof one === 'string' ? { name: one } : wishOf(one)));
  services.forEach(({ name }, index) => {
    if (services.findIndex((one) => one.name === name) < index) fail(`services/${index}`, `${name} is there twice`);
  });
  const volumes = app.volumes ?? [];
  volumes.forEach(({ path }, index) => {
    if (volumes.findIndex((one) => one.path === path) < index) fail(`volumes/${index}`, `${path} is there twice`);
  });
  if (services.length > 0) options.services = services;
  if (volumes.length > 0) options.volumes = volumes;
}

type ServiceMapping = Exclude<NonNullable<Application['services']>[number], string>;

function wishOf({ memory, storage, ...wish }: ServiceMapping): NonNullable<PushOptions['services']>[number] {
  const sizes = { memoryBytes: memory ?? undefined, storageBytes: storage ?? undefined };
  return { name: wish.name, ...withoutNothing({ ...wish, ...sizes }) } as NonNullable<PushOptions['services']>[number];
}

/** What stands at the application is meant for web; what stands at web wins. */
function addProcesses(options: PushOptions, app: Application, fail: Fail): void {
  const processes = app.processes ?? [];
  const types = new Set<string>();
  const scale: Record<string, number> = {};
  const commands: Record<string, string> = {};
  processes.forEach((one, index) => {
    if (types.has(one.type)) fail(`processes/${index}/type`, `${one.type} is there twice`);
    types.add(one.type);
    if (one.type === 'web') return;
    checkSideProcess(one, (path, message) => fail(`processes/${index}/${path}`, message));
    if (typeof one.instances === 'number') scale[one.type] = one.instances;
    if (one.command) commands[one.type] = one.command;
  });
  const web = processes.find(({ type }) => type === 'web');
  const count = web?.instances ?? app.instances;
  if (typeof count === 'number') options.instances = count;
  const command = web?.command ?? app.command;
  if (command && command !== 'default') options.command = command;
  if (Object.keys(scale).length > 0) options.scale = scale;
  if (Object.keys(commands).length > 0) options.commands = commands;
  const memoryBytes = shared('memory', app, processes, fail);
  if (memoryBytes !== undefined) options.memoryBytes = memoryBytes;
  const diskBytes = shared('disk_quota', app, processes, fail);
  if (diskBytes !== undefined) options.diskBytes = diskBytes;
  addHealth(options, { ...app, ...withoutNothing(web ?? {}) }, fail);
}

function checkSideProcess(process: Process, fail: Fail): void {
  const type = process['health-check-type'];
  if (type && type !== 'process' && type !== 'none') {
    fail('health-check-type', `should be process: only web has a port, so ${process.type} is healthy while it runs`);
  }
  for (const key of ['health-check-http-endpoint', 'timeout'] as const) {
    if (process[key]) fail(key, `only web is probed, so it means nothing for ${process.type}: remove it`);
  }
}

/** One value for all processes of an app. */
function shared(
  key: 'memory' | 'disk_quota',
  app: Application,
  processes: readonly Process[],
  fail: Fail,
): number | undefined {
  let value = app[key] ?? undefined;
  processes.forEach((process, index) => {
    const own = process[key] ?? undefined;
    if (own === undefined) return;
    if (value !== undefined && value !== own && !(process.type === 'web' && processes.length === 1)) {
      fail(`processes/${index}/${key}`, `differs from another, and all processes of an app have the same ${key}`);
    }
    value = own;
  });
  return value;
}

function addHealth(options: PushOptions, app: Partial<Application>, fail: Fail): void {
  const given = app['health-check-type'] ?? undefined;
  const path = app['health-check-http-endpoint'] ?? undefined;
  if (path !== undefined && given !== 'http') {
    fail('health-check-http-endpoint', 'needs health-check-type: http');
  }
  if (given !== undefined) {
    options.health = { kind: given === 'none' ? 'process' : given, ...(path === undefined ? {} : { path }) };
  }
  if (typeof app.timeout === 'number') options.healthTimeoutMs = app.timeout * 1000;
}

const withoutNothing = <T extends object>(record: T): Partial<T> =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined && value !== null)) as Partial<T>;

/** Cloud Foundry's names of its own buildpacks, as the names of ours. */
function ownBuildpack(name: string): string {
  const system = /^([a-z]+)_buildpack$/.exec(name)?.[1];
  if (system === undefined) return name;
  return { staticfile: 'static', binary: 'procfile' }[system] ?? system;
}
