// peer push: packs a folder, sends it to the node, and shows what becomes of it.

import { basename, isAbsolute, resolve } from 'node:path';
import type { PushEvent } from '../../node/api/stream-events.ts';
import type { PushOptions } from '../../node/api/validate.ts';
import { packFolder } from '../archive.ts';
import { type Context, textOption, textsOption } from '../context.ts';
import { formatBytes } from '../format.ts';
import type { Options } from '../parse.ts';
import { createProgress } from '../progress.ts';
import { showEvents } from '../rollout.ts';
import {
  HEALTH_TIMEOUT,
  INSTANCE_DISK,
  INSTANCE_MEMORY,
  nameOfFolder,
  parseChoice,
  parseDuration,
  parseHealth,
  parseName,
  parsePairs,
  parseSize,
  parseWhole,
} from '../values.ts';

const INSTANCES_MAX = 100;
const UPDATE_INTERVAL_MS = 200;

export async function run({ args, client, options, output }: Context): Promise<void> {
  const folder = resolve(args[0] ?? '.');
  const given = textOption(options, 'name');
  const name = given === undefined ? nameOfFolder(basename(folder)) : parseName(given, '--name');
  const push = pushOptions(options);
  const connected = await client();
  const { files, stream } = await packFolder(folder);
  const progress = await createProgress(output);
  progress.step(`uploading ${files} file${files === 1 ? '' : 's'}`);
  let sentBytes = 0;
  let shownAtMs = 0;
  stream.on('data', (chunk: Buffer) => {
    sentBytes += chunk.length;
    if (process.stderr.isTTY !== true || performance.now() - shownAtMs < UPDATE_INTERVAL_MS) return;
    shownAtMs = performance.now();
    progress.update(`uploading ${files} files, ${formatBytes(sentBytes)}`);
  });
  // The listener above must not let data flow before the request takes it.
  stream.pause();
  const events = connected.stream<PushEvent>(`/v1/apps/${name}/push`, {
    method: 'POST',
    headers: {
      'content-type': 'application/gzip',
      'x-peer-push': Buffer.from(JSON.stringify(push)).toString('base64url'),
    },
    body: stream,
  });
  const result = await showEvents(events, progress, name);
  output.result(result, () => {
    const ready = result.instances.filter(({ state }) => state === 'ready').length;
    const where = result.routes.length === 0 ? 'no route' : [...result.urls, ...result.routes][0];
    return `${result.app} ${result.release}: ${ready} instance${ready === 1 ? '' : 's'} ready, ${where}`;
  });
}

/** What is given on the command line, as the API takes it. */
export function pushOptions(options: Options): PushOptions {
  const push: PushOptions = {};
  const instances = textOption(options, 'instances');
  if (instances !== undefined) push.instances = parseWhole(instances, '--instances', { min: 0, max: INSTANCES_MAX });
  const memory = textOption(options, 'memory');
  if (memory !== undefined) push.memoryBytes = parseSize(memory, '--memory', INSTANCE_MEMORY);
  const disk = textOption(options, 'disk');
  if (disk !== undefined) push.diskBytes = parseSize(disk, '--disk', INSTANCE_DISK);
  const buildpacks = textsOption(options, 'buildpack');
  if (buildpacks !== undefined) push.buildpacks = buildpacks.map(absoluteBuildpack);
  const command = textOption(options, 'command');
  if (command !== undefined) push.command = command;
  const routes = textsOption(options, 'route');
  if (options.route === false) push.routes = [];
  else if (routes !== undefined) push.routes = [...routes];
  const env = textsOption(options, 'env');
  if (env !== undefined) push.env = parsePairs(env, '--env');
  const health = textOption(options, 'health');
  if (health !== undefined) push.health = parseHealth(health);
  const timeout = textOption(options, 'timeout');
  if (timeout !== undefined) push.healthTimeoutMs = parseDuration(timeout, '--timeout', HEALTH_TIMEOUT);
  const strategy = textOption(options, 'strategy');
  if (strategy !== undefined) push.strategy = parseChoice(strategy, '--strategy', ['rolling', 'recreate']);
  const partition = textOption(options, 'partition');
  if (partition !== undefined) push.partition = parseChoice(partition, '--partition', ['serve', 'fence']);
  if (options.start === false) push.start = false;
  return push;
}

/** A path is one on the node; a relative one can only mean this machine. */
function absoluteBuildpack(text: string): string {
  return !isAbsolute(text) && /^\.{1,2}(\/|$)/.test(text) ? resolve(text) : text;
}
