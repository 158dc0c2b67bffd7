// One push, from an uploaded folder to a released app: stage, replicate, bind, write, follow. Nothing is written
// before the droplet is staged and held by enough nodes, so a push that fails early leaves no half-created app behind.

import { createHash, randomUUID } from 'node:crypto';
import type { AppSettings, NamedChange } from '../../crdt/change.ts';
import { type AppId, asAppId, asReleaseId, type NodeId } from '../../crdt/ids.ts';
import {
  HEALTH_KIND_DEFAULT,
  HEALTH_TIMEOUT_MS_DEFAULT,
  MEMORY_BYTES_DEFAULT,
  normaliseRoute,
  WEB_INSTANCES_DEFAULT,
} from '../../crdt/limits.ts';
import type { ImageDoc } from '../../crdt/schema.ts';
import { eachSetting, type SettingValues } from '../../crdt/settings.ts';
import { checkClaim } from '../../crdt/validate-apps.ts';
import type { AppView, DesiredView, ServiceView } from '../../crdt/view.ts';
import type { NodeService } from '../ports/node-service.ts';
import type { StagedDroplet } from '../ports/staging.ts';
import { ApiError, oneLine } from './errors.ts';
import type { EventSink } from './event-stream.ts';
import { findApp } from './lookup.ts';
import { serviceChanges, untilBound, volumeChanges, wishedVolumes } from './push-data.ts';
import { followRollout } from './rollout.ts';
import { lostRoutes, pressureWarnings } from './shaping.ts';
import type { PushEvent } from './stream-events.ts';
import type { PushOptions, SettingsBody } from './validate.ts';

export type PushRequest = {
  name: string;
  options: PushOptions;
  source: AsyncIterable<Uint8Array>;
  compressed?: boolean;
  by: string;
  /** Fails when whoever pushes has given up. */
  stillWanted?: () => Promise<void>;
  /** Fails when whoever pushes may not change this app that is there. */
  allow(view: DesiredView, app: AppView): void;
  /** The same of a service that it is to be bound to. */
  allowService(view: DesiredView, service: ServiceView): void;
};

/**
 * Sends steps, then what followRollout sends, and resolves with what that resolves with. Fails, with nothing written,
 * when it does not come to a release.
 */
export async function push(service: NodeService, request: PushRequest, sink: EventSink<PushEvent>): Promise<string> {
  const { name, options } = request;
  const existing = findApp(service.view(), name);
  const appId = existing?.id ?? asAppId(randomUUID());
  checkRoutes(service.view(), appId, request, existing);
  // What cannot be had is said before anything is uploaded.
  serviceChanges(service, existing?.id, request);

  sink.send({ type: 'step', step: 'uploading' });
  for (const text of warningsHere(service)) sink.send({ type: 'line', text: `warning: ${text}` });
  const staged = await service.stage({
    app: { id: appId, name },
    source: announceEnd(request.source, (bytes) => {
      sink.send({ type: 'step', step: 'staging', detail: `${bytes} bytes of source` });
    }),
    ...(request.compressed === undefined ? {} : { compressed: request.compressed }),
    buildpacks: options.buildpacks ?? [],
    ...(options.image === undefined ? {} : { image: options.image }),
    ...(options.dockerfile === undefined ? {} : { dockerfile: options.dockerfile }),
    ...(options.command === undefined ? {} : { command: options.command }),
    env: { ...(existing && service.secrets.openEnv(existing.id, existing.env)), ...options.env },
    onLine: (text) => sink.send({ type: 'line', text }, { droppable: true }),
    signal: sink.signal,
  });
  const processes = processesOf(staged, options);
  const present = (existing?.volumes ?? []).filter((one) => one.process === mainProcess(processes));
  const { volumes, lost } = wishedVolumes(staged, options, present);
  if (lost.length > 0) {
    const text = `warning: what is written to ${lost.join(', ')} is lost with each instance, though the image declares it as a volume: --image-volumes keeps it`;
    sink.send({ type: 'line', text: oneLine(text) });
  }
  sink.send({ type: 'step', step: 'replicating', detail: `${staged.digest}, ${staged.sizeBytes} bytes` });
  const { holders, withoutRoom } = await service.replicateDroplet(staged.digest);
  const nameOf = (id: NodeId): string => service.view().nodes.get(id)?.name ?? id;
  for (const { node, reason } of withoutRoom) {
    const text = `warning: only ${count(holders.length)} the droplet, ${nameOf(node)} has no room for a copy: ${reason}`;
    sink.send({ type: 'line', text: oneLine(text) });
  }

  sink.send({ type: 'step', step: 'releasing', detail: `held by ${holders.length} nodes` });
  // After a standstill the end of the connection may not have been read yet.
  await request.stillWanted?.();
  if (sink.signal.aborted) return 'gone';
  // Staging takes long: the app may have been created or deleted meanwhile.
  const found = findApp(service.view(), name);
  if (found !== undefined) request.allow(service.view(), found);
  const target = found?.id ?? (existing === undefined ? appId : asAppId(randomUUID()));
  const now = await boundFirst(service, { target, found, request, processes }, sink);
  if (sink.signal.aborted) return 'gone';
  const release = asReleaseId(randomUUID());
  const changes: NamedChange[] = [
    ...appChanges(target, now, service.view(), request, processes),
    ...volumesOf(service, { target, now, request, processes, staged, volumes }),
    {
      change: 'addRelease',
      app: target,
      // With the release, so that what was pushed is called off as a whole when it does not become ready.
      ...(now === undefined
        ? {}
        : releasedWith(options, { ...now, env: service.secrets.openEnv(now.id, now.env) }, processes)),
      release: {
        id: release,
        description: 'push',
        droplet: dropletOf(staged),
        ...imageOf(staged, options),
        buildpack: staged.buildpack,
        processes,
      },
    },
  ];
  await service.write(changes, request.by);
  sink.send({ type: 'step', step: 'starting' });
  return followRollout(service, target, { release, replaced: undefined }, sink as EventSink<PushEvent>);
}

const dropletOf = ({ digest, sizeBytes, stack }: StagedDroplet) => ({ digest, sizeBytes, stack });

function imageOf({ image }: StagedDroplet, options: PushOptions): { image?: ImageDoc } {
  if (image === undefined) return {};
  const ownCommand = options.command === undefined && options.commands?.web === undefined;
  return { image: { ...image, ownCommand } };
}

type Released = { target: AppId; request: PushRequest; processes: Record<string, string> };

/**
 * Binds the app to what it asks for, and waits until that works: else what is released would crash for want of it. A
 * new app is made for it, without a release. Answers the app as it is then.
 */
async function boundFirst(
  service: NodeService,
  { target, found, request, processes }: Released & { found: AppView | undefined },
  sink: EventSink<PushEvent>,
): Promise<AppView | undefined> {
  const changes = serviceChanges(service, target, request);
  if (changes.length === 0) return found;
  const names = (request.options.services ?? []).map((one) => one.name).join(', ');
  sink.send({ type: 'step', step: 'binding', detail: names });
  const app = found === undefined ? appChanges(target, undefined, service.view(), request, processes) : [];
  await service.write([...app, ...changes], request.by);
  await untilBound(service, changes, sink);
  const now = service.view().apps.get(target);
  if (now === undefined) throw new ApiError('not_found', `${request.name} was deleted meanwhile`);
  return now;
}

function volumesOf(
  service: NodeService,
  {
    target,
    now,
    request,
    processes,
    staged,
    volumes,
  }: Released & { now: AppView | undefined; staged: StagedDroplet } & Pick<Required<PushOptions>, 'volumes'>,
): NamedChange[] {
  const { name, options } = request;
  const asked = scaleOf(options, processes);
  const counts = Object.fromEntries(
    Object.keys(processes).map((process) => [
      process,
      asked[process] ?? now?.scale[process] ?? (process === 'web' ? WEB_INSTANCES_DEFAULT : 0),
    ]),
  );
  return volumeChanges(service, {
    app: { id: target, name, memoryBytes: options.memoryBytes ?? now?.memoryBytes ?? MEMORY_BYTES_DEFAULT },
    existing: now,
    counts,
    wishes: { process: mainProcess(processes), volumes },
    release: { droplet: dropletOf(staged), ...imageOf(staged, options) },
  });
}

const count = (holders: number): string => (holders === 1 ? '1 node holds' : `${holders} nodes hold`);

/** What the node that stages is short of, though not without. */
const warningsHere = (service: NodeService): string[] =>
  pressureWarnings({ members: service.observed().members.filter(({ id }) => id === service.self.id) });

/**
 * What is written before the release: the whole app when it is new, else what the options change beside its instances.
 */
function appChanges(
  app: AppId,
  existing: AppView | undefined,
  view: DesiredView,
  request: PushRequest,
  processes: Record<string, string>,
): NamedChange[] {
  const { options } = request;
  const routes = wantedRoutes(view, app, request, existing);
  const stopped = options.start === false;
  if (existing === undefined) {
    return [
      {
        change: 'createApp',
        app,
        name: request.name,
        settings: settingsOf(options),
        scale: scaleOf(options, processes),
        env: options.env ?? {},
        routes: routes ?? [],
        stopped,
      },
    ];
  }
  const changes: NamedChange[] = [];
  if (routes !== undefined) {
    // No route means none that the app might get later either.
    const claimed = [...existing.routes, ...lostRoutes(view, app).map(({ route }) => route)];
    for (const route of routes.length === 0 ? claimed : []) changes.push({ change: 'unmapRoute', app, route });
    for (const route of routes) {
      if (!existing.routes.includes(route)) changes.push({ change: 'mapRoute', app, route });
    }
  }
  if (existing.stopped !== stopped) changes.push({ change: 'setStopped', app, stopped });
  return changes;
}

/** What the release changes of the app's configuration. */
function releasedWith(options: PushOptions, existing: AppView, processes: Record<string, string>) {
  const settings = settingsOf(options, existing);
  const env = Object.entries(options.env ?? {}).filter(([key, value]) => existing.env[key] !== value);
  const scale = scaleOf(options, processes);
  return {
    ...(Object.keys(settings).length === 0 ? {} : { settings }),
    ...(env.length === 0 ? {} : { env: Object.fromEntries(env) }),
    ...(Object.keys(scale).length === 0 ? {} : { scale }),
  };
}

const RANDOM_DIGITS = 6;

/** Routes the app shall have: those asked for, the default one of a new app; undefined: as they are. */
function wantedRoutes(
  view: DesiredView,
  app: AppId,
  request: PushRequest,
  existing: AppView | undefined,
): string[] | undefined {
  if (request.options.routes !== undefined) {
    return request.options.routes.map((text) => {
      const route = normaliseRoute(text);
      return 'route' in route ? route.route : text;
    });
  }
  if (existing !== undefined) return undefined;
  const { name, options } = request;
  // Of the app's id, which is random: the same whenever it is asked for.
  const suffix = createHash('sha256').update(app).digest('hex').slice(0, RANDOM_DIGITS);
  const label = options.randomRoute === true ? `${name.slice(0, 62 - RANDOM_DIGITS)}-${suffix}` : name;
  return [`${label}.${view.cluster.domain}`];
}

/** Found out before anything is uploaded; the write checks again. */
function checkRoutes(view: DesiredView, app: AppId, request: PushRequest, existing: AppView | undefined): void {
  for (const route of wantedRoutes(view, app, request, existing) ?? []) {
    checkClaim(view, { app, name: request.name, route, by: request.by });
  }
}

export function settingsOf(body: SettingsBody, existing?: AppView): AppSettings {
  const settings: AppSettings = eachSetting<string | number>((key) => body[key]) as Partial<SettingValues>;
  if (body.health !== undefined || body.healthTimeoutMs !== undefined) {
    const kind = body.health?.kind ?? existing?.health.kind ?? HEALTH_KIND_DEFAULT;
    const path = body.health === undefined ? existing?.health.path : body.health.path;
    const timeoutMs = body.healthTimeoutMs ?? existing?.health.timeoutMs ?? HEALTH_TIMEOUT_MS_DEFAULT;
    settings.health = { kind, timeoutMs, ...(path === undefined ? {} : { path }) };
  }
  return settings;
}

function processesOf(staged: StagedDroplet, options: PushOptions): Record<string, string> {
  const web: Record<string, string> = options.command === undefined ? {} : { web: options.command };
  const processes = { ...staged.processes, ...options.commands, ...web };
  if (Object.keys(processes).length > 0) return processes;
  throw new ApiError(
    'no_start_command',
    'no start command was found: add a Procfile with a line such as "web: ./start", or push with --command',
  );
}

/** How many of each process type are asked for. */
const scaleOf = (options: PushOptions, processes: Record<string, string>): Record<string, number> => ({
  ...options.scale,
  ...(options.instances === undefined ? {} : { [mainProcess(processes)]: options.instances }),
});

/** The one that --instances means. */
function mainProcess(processes: Record<string, string>): string {
  const types = Object.keys(processes);
  return types.length === 1 ? types[0]! : 'web';
}

async function* announceEnd(
  source: AsyncIterable<Uint8Array>,
  onEnd: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const chunk of source) {
    bytes += chunk.length;
    yield chunk;
  }
  onEnd(bytes);
}
