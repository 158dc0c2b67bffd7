// Which file says what to push, and what is in it: manifest.yml by itself, Compose files when named or when nothing
// else is there. The only one here that reads files.

import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CliError, UsageError } from '../errors.ts';
import { decodeText } from '../text.ts';
import { readManifest } from './cloud-foundry.ts';
import { readCompose } from './compose.ts';
import type { ShellVariables } from './compose-variables.ts';
import { FILE_BYTES_MAX, isMapping, readYaml } from './document.ts';
import { readEnvText } from './env-file.ts';
import type { AppPlan } from './plan.ts';
import { variablesOf } from './variables.ts';

const MANIFESTS: readonly string[] = ['manifest.yml', 'manifest.yaml'];
const COMPOSE_FILES: readonly string[] = ['compose.yaml', 'compose.yml', 'docker-compose.yaml', 'docker-compose.yml'];
/** What may lie beside a Compose file without being an app itself. */
const NO_APP = /^(\.|README|LICENSE|.*\.(env|md)$)/i;

export type ManifestQuestion = {
  /** The folder that is pushed. */
  folder: string;
  /** --manifest; false: none. */
  manifest: string | false | undefined;
  vars: Readonly<Record<string, string>>;
  varsFiles: readonly string[];
  environment: Readonly<Record<string, string | undefined>>;
  note: (text: string) => void;
};

export type FoundManifest = {
  /** What paths in it are relative to. */
  folder: string;
  apps: AppPlan[];
};

/** Undefined: nothing says what to push but the command line. */
export async function findManifest(question: ManifestQuestion): Promise<FoundManifest | undefined> {
  const { manifest, vars, varsFiles } = question;
  const path = manifest === false ? undefined : manifest === undefined ? await foundIn(question) : resolve(manifest);
  if (path === undefined) {
    if (Object.keys(vars).length > 0 || varsFiles.length > 0) {
      throw new UsageError('--var and --vars-file need a manifest: name one with --manifest FILE');
    }
    return undefined;
  }
  // A folder stands for the manifest in it.
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() === true;
  if (isFolder) {
    const inside = await foundIn({ ...question, folder: path });
    if (inside === undefined) throw new CliError('no_manifest', `${path} holds no manifest.yml`);
    return findManifest({ ...question, manifest: inside });
  }
  const source = await textOf(path);
  const folder = dirname(path);
  const file = basename(path);
  if (isCompose(source, file)) {
    if (varsFiles.length > 0) throw new UsageError(`--vars-file is for manifests: ${file} takes --var and .env`);
    const outside = { ...question.environment, ...vars };
    const variables = { ...(await readEnvFile(folder, '.env', outside)), ...outside };
    const read = (name: string) => readEnvFile(folder, name, variables);
    const apps = await readCompose({ source, file, variables, note: question.note, readEnvFile: read });
    return { folder, apps };
  }
  const files = await Promise.all(varsFiles.map(async (name) => ({ name, text: await textOf(resolve(name)) })));
  return { folder, apps: readManifest(source, file, variablesOf(files, vars)) };
}

async function foundIn({ folder, note }: ManifestQuestion): Promise<string | undefined> {
  const names = await readdir(folder).catch((): string[] => []);
  const manifest = MANIFESTS.find((name) => names.includes(name));
  if (manifest !== undefined) return join(folder, manifest);
  const compose = COMPOSE_FILES.find((name) => names.includes(name));
  if (compose === undefined) return undefined;
  if (names.every((name) => COMPOSE_FILES.includes(name) || NO_APP.test(name))) return join(folder, compose);
  note(`${compose} is not used: push what it describes with --manifest ${compose}`);
  return undefined;
}

function isCompose(source: string, file: string): boolean {
  if (COMPOSE_FILES.includes(file)) return true;
  const { data } = readYaml(source, file);
  return isMapping(data) && data.services !== undefined && data.applications === undefined;
}

async function textOf(path: string): Promise<string> {
  let problem: string;
  try {
    const { size } = await stat(path);
    if (size <= FILE_BYTES_MAX) return decodeText(await readFile(path));
    problem = `it is larger than ${FILE_BYTES_MAX / 1024 ** 2} MiB`;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    problem = code === 'ENOENT' ? 'there is no such file' : message;
  }
  throw new CliError('no_manifest', `cannot read ${path}: ${problem}`);
}

async function readEnvFile(
  folder: string,
  name: string,
  outside: ShellVariables,
): Promise<Record<string, string> | undefined> {
  const path = resolve(folder, name);
  const found = await stat(path).catch(() => undefined);
  return found === undefined ? undefined : readEnvText(await textOf(path), name, outside);
}
