// peer push: packs a folder, or each that a manifest names, sends it to the node, and shows what becomes of it.

import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { RolloutShape } from '../../node/api/shapes.ts';
import type { PushEvent } from '../../node/api/stream-events.ts';
import type { PushOptions } from '../../node/api/validate.ts';
import { type Archive, packFolder } from '../archive.ts';
import { absoluteBuildpack, sendBuildpacks } from '../buildpacks.ts';
import type { Client } from '../client.ts';
import { type Context, flagOption, textOption, textsOption } from '../context.ts';
import { CliError, UsageError } from '../errors.ts';
import { formatBytes } from '../format.ts';
import { findManifest } from '../manifest/files.ts';
import { planOf } from '../manifest/plan.ts';
import type { Output } from '../output.ts';
import type { Options } from '../parse.ts';
import { createProgress } from '../progress.ts';
import { showEvents } from '../rollout.ts';
import { settingsIn } from '../settings.ts';
import { uploadSource } from '../upload.ts';
import {
  HEALTH_TIMEOUT,
  INSTANCES_MAX,
  nameOfFolder,
  parseDuration,
  parseHealth,
  parseName,
  parsePairs,
  parseVolumes,
  parseWhole,
} from '../values.ts';
import { readVariables } from '../variables.ts';
import { scheduleIn } from '../volumes/manage.ts';

const UPDATE_INTERVAL_MS = 200;

/** Without a folder it is an image. */
type App = { name: string; folder?: string; options: PushOptions };

export async function run({ args, client, options, output }: Context): Promise<void> {
  const folder = resolve(args[0] ?? '.');
  expectNoName(args[0], folder);
  const name = textOption(options, 'name');
  const image = textOption(options, 'image');
  const flags = {
    ...(name === undefined ? {} : { name: parseName(name, '--name') }),
    ...(image === undefined ? {} : { image }),
    options: await pushOptions(options),
  };
  const found = await findManifest({
    folder,
    manifest: options.manifest === false ? false : textOption(options, 'manifest'),
    vars: parsePairs(textsOption(options, 'var') ?? [], '--var'),
    varsFiles: textsOption(options, 'varsFile') ?? [],
    environment: process.env,
    note: output.note,
  });
  const plans = planOf(found?.apps ?? [{ options: {} }], flags);
  if (args[0] !== undefined && options.manifest !== undefined && options.manifest !== false && plans.length > 1) {
    throw new UsageError('DIR and --manifest together mean one app: choose it with --name APP');
  }
  const apps = plans.map((plan): App => {
    // A folder named beside a manifest stands in the place of its path.
    const isNamed = args[0] !== undefined && typeof options.manifest === 'string';
    const own = found === undefined || isNamed ? folder : resolve(found.folder, plan.path ?? '.');
    if (plan.image !== undefined) {
      const options = { ...plan.options, image: plan.image };
      return { name: plan.name ?? nameOfFolder(nameOfImage(plan.image)), options };
    }
    return {
      name: plan.name ?? nameOfFolder(basename(own)),
      folder: own,
      options: { ...fromFolder(plan.options, found?.folder), ...dockerfileIn(own) },
    };
  });
  const connected = await client();
  const results: RolloutShape[] = [];
  for (const app of apps) {
    if (apps.length > 1) output.note(`${output.errorColours.bold(app.name)} (${results.length + 1} of ${apps.length})`);
    try {
      results.push(await pushApp(connected, output, { ...app, isVerbose: flagOption(options, 'verbose') }));
    } catch (error) {
      if (apps.length === 1 || !(error instanceof CliError)) throw error;
      throw new CliError(error.code, `${app.name}: ${error.message} (${progressOf(apps, results)})`, { cause: error });
    }
    if (!output.json) output.result(undefined, () => pushedText(results.at(-1)!));
  }
  if (output.json) output.result(apps.length === 1 ? results[0] : results, () => '');
}

/** Elsewhere what follows `push` is the app's name, and the folder is the current one. */
function expectNoName(argument: string | undefined, folder: string): void {
  if (argument === undefined || !/^[a-z0-9-]+$/.test(argument) || existsSync(folder)) return;
  throw new CliError(
    'no_folder',
    `cannot push ${folder}: there is no such folder; an app is named with --name: peer push --name ${argument}`,
  );
}

async function pushApp(client: Client, output: Output, app: App & { isVerbose: boolean }): Promise<RolloutShape> {
  const { name, folder } = app;
  if (folder === undefined) {
    const progress = await createProgress(output);
    progress.step(`taking the image ${app.options.image}`);
    const headers = optionsHeader(app.options);
    return showEvents(client.stream<PushEvent>(`/v1/apps/${name}/push`, { method: 'POST', headers }), progress, name);
  }
  const { files, leftOut, stream } = await packFolder(folder);
  if (app.isVerbose) output.note(leftOutText(leftOut));
  const progress = await createProgress(output);
  const options = { ...app.options };
  if (options.buildpacks !== undefined) options.buildpacks = await sendBuildpacks(client, options.buildpacks);
  progress.step(`uploading ${files} file${files === 1 ? '' : 's'}`);
  let shownAtMs = 0;
  const { chunkList, totalBytes, sentBytes } = await uploadSource(client, name, stream, (total, sent) => {
    if (process.stderr.isTTY !== true || performance.now() - shownAtMs < UPDATE_INTERVAL_MS) return;
    shownAtMs = performance.now();
    progress.update(`uploading ${files} files: ${formatBytes(sent)} of ${formatBytes(total)} sent`);
  });
  progress.line(`sent ${formatBytes(sentBytes)} of ${formatBytes(totalBytes)}: the node had the rest`);
  const events = client.stream<PushEvent>(`/v1/apps/${name}/push`, {
    method: 'POST',
    headers: {
      'content-type': 'application/vnd.peer.chunk-list',
      ...optionsHeader(options),
    },
    body: chunkList,
  });
  return showEvents(events, progress, name);
}

function leftOutText({ first, count }: Archive['leftOut']): string {
  if (count === 0) return 'nothing is left out';
  return `left out: ${first.join(', ')}${count > first.length ? ` and ${count - first.length} more` : ''}`;
}

const optionsHeader = (options: PushOptions) => ({
  'x-peer-push': Buffer.from(JSON.stringify(options)).toString('base64url'),
});

export function pushedText(result: RolloutShape): string {
  const { app, release, desired, processes } = result;
  if (processes.length > 0 && Object.values(desired).every((count) => count === 0)) {
    const first = processes.includes('web') ? 'web' : processes[0];
    return `${app} ${release}: nothing of it runs yet, its processes are ${processes.join(', ')}: peer scale ${app} ${first}=1`;
  }
  const ready = result.instances.filter(({ state }) => state === 'ready').length;
  const where = result.routes.length === 0 ? 'no route' : [...result.urls, ...result.routes][0];
  return `${app} ${release}: ${ready} instance${ready === 1 ? '' : 's'} ready, ${where}`;
}

/** What was done and what was not, when one of several fails. */
function progressOf(apps: readonly App[], done: readonly RolloutShape[]): string {
  const pushed = done.map(({ app }) => app);
  const left = apps.slice(done.length + 1).map((app) => app.name);
  const parts = [
    pushed.length === 0 ? 'nothing was pushed before it' : `pushed before it: ${pushed.join(', ')}`,
    ...(left.length === 0 ? [] : [`not tried: ${left.join(', ')}`]),
  ];
  return parts.join('; ');
}

/** Whether the folder says how to build an image; buildpacks that are named win. */
function dockerfileIn(folder: string): { dockerfile?: true } {
  return existsSync(join(folder, 'Dockerfile')) ? { dockerfile: true } : {};
}

/** `registry.example/team/shop:1.2` → `shop`. */
function nameOfImage(ref: string): string {
  return (ref.split('@')[0]!.split('/').at(-1) ?? ref).split(':')[0]!;
}

/** Relative paths of buildpacks in a manifest are relative to it. */
function fromFolder(options: PushOptions, folder: string | undefined): PushOptions {
  if (options.buildpacks === undefined || folder === undefined) return options;
  return { ...options, buildpacks: options.buildpacks.map((pack) => absoluteBuildpack(pack, folder)) };
}

/** What is given on the command line, as the API takes it. */
export async function pushOptions(options: Options): Promise<PushOptions> {
  const push: PushOptions = {};
  const instances = textOption(options, 'instances');
  if (instances !== undefined) push.instances = parseWhole(instances, '--instances', { min: 0, max: INSTANCES_MAX });
  Object.assign(push, settingsIn(options));
  const buildpacks = textsOption(options, 'buildpack');
  if (buildpacks !== undefined) push.buildpacks = buildpacks.map((pack) => absoluteBuildpack(pack));
  const command = textOption(options, 'command');
  if (command !== undefined) push.command = command;
  const routes = textsOption(options, 'route');
  if (options.route === false) push.routes = [];
  else if (routes !== undefined) push.routes = [...routes];
  else if (flagOption(options, 'randomRoute')) push.randomRoute = true;
  const health = textOption(options, 'health');
  if (health !== undefined) push.health = parseHealth(health);
  const timeout = textOption(options, 'timeout');
  if (timeout !== undefined) push.healthTimeoutMs = parseDuration(timeout, '--timeout', HEALTH_TIMEOUT);
  if (options.start === false) push.start = false;
  const volumes = textsOption(options, 'volume');
  const hard = flagOption(options, 'hardQuota') ? { hardQuota: true } : {};
  const schedule = { ...scheduleIn(options), ...hard };
  if (volumes === undefined && 'hardQuota' in hard) {
    throw new UsageError('--hard-quota is of the volumes that --volume makes: give one, such as --volume /data:2G');
  }
  if (volumes !== undefined) {
    push.volumes = parseVolumes(volumes, '--volume').map((one) => ({ ...one, ...schedule }));
  } else if (Object.keys(schedule).length > 0) {
    throw new UsageError(
      '--snapshot, --keep and --on-loss are of the volumes that --volume makes: see peer volume configure',
    );
  }
  if (flagOption(options, 'imageVolumes')) push.imageVolumes = true;
  if (flagOption(options, 'createServices')) push.createServices = true;
  // Last, as somebody may be asked for them.
  const env = textsOption(options, 'env');
  if (env !== undefined) push.env = await readVariables(env, '--env', process);
  const port = textOption(options, 'port');
  if (port !== undefined) push.env = { ...push.env, PORT: String(parseWhole(port, '--port', { min: 1, max: 65_535 })) };
  return push;
}
