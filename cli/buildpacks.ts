// Buildpacks that are folders or .tgz files of this machine: found among those that a push names, and sent to the node
// ahead of it. Never looks into one.

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { basename, isAbsolute, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import type { UploadedBuildpackShape } from '../node/api/shapes.ts';
import { packBuildpack } from './archive.ts';
import type { Client } from './client.ts';
import { CliError } from './errors.ts';

/** `./x`, `../x`, `~/x` and `/x` are paths, relative to the folder; everything else is a name or a URL. */
export function absoluteBuildpack(text: string, folder = '.'): string {
  if (text === '~' || text.startsWith('~/')) return join(homedir(), text.slice(1));
  return !isAbsolute(text) && /^\.{1,2}(\/|$)/.test(text) ? resolve(folder, text) : text;
}

/** As a node takes them: what was a path is what the node calls the upload. */
export async function sendBuildpacks(client: Client, buildpacks: readonly string[]): Promise<string[]> {
  const sent: string[] = [];
  for (const buildpack of buildpacks) sent.push(isAbsolute(buildpack) ? await sendOne(client, buildpack) : buildpack);
  return sent;
}

async function sendOne(client: Client, path: string): Promise<string> {
  const stream = await contentOf(path);
  const name = basename(path).replace(/[^A-Za-z0-9._-]/g, '-') || 'buildpack';
  const answer = await client.upload<UploadedBuildpackShape>(`/v1/buildpacks/${name}`, stream);
  return answer.buildpack;
}

async function contentOf(path: string): Promise<Readable> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) return packBuildpack(path);
  if (found?.isFile() && /\.(tgz|tar\.gz)$/.test(path)) return createReadStream(path);
  const problem = found === undefined ? 'there is no such folder' : 'it is neither a folder nor a .tgz file';
  throw new CliError('no_buildpack', `buildpack ${path}: ${problem}: check the path`);
}
