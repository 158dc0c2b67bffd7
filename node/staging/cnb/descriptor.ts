// What a buildpack says of itself in buildpack.toml, checked, and which buildpacks a folder holds. Runs nothing.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { LifecycleError } from './errors.ts';

export type Entry = { id: string; version: string | undefined; optional: boolean };
export type Target = { os?: string; arch?: string; distros: { name?: string; version?: string }[] };

export type Descriptor = {
  dir: string;
  id: string;
  version: string;
  /** Minor version of the Buildpack API: 12 for 0.12. */
  api: number;
  /** The user's variables are not in the environment of its scripts. */
  clearEnv: boolean;
  targets: Target[];
  /** Groups of other buildpacks that it stands for; undefined: it is one itself. */
  order: Entry[][] | undefined;
};

/** Oldest with env files that override by default and with exec.d; newest that is known. */
const API_MINOR_MIN = 5;
const API_MINOR_MAX = 12;
const TOML_BYTES_MAX = 1024 * 1024;
/** Where composite buildpacks keep their parts: `buildpacks/a`, `meta-buildpacks/b`… */
const SEARCH_DEPTH_MAX = 4;
const SEARCH_FOLDERS_MAX = 5_000;
const PASSED_OVER = new Set(['.git', 'node_modules', 'layers']);

export const describe = (dir: string): Descriptor => {
  const path = join(dir, 'buildpack.toml');
  const document = readToml(path);
  const fail = (why: string): never => {
    throw new LifecycleError('buildpack_invalid', `${path}: ${why}`);
  };
  const api = /^0\.(\d{1,3})$/.exec(String(document.api ?? ''));
  const minor = Number(api?.[1] ?? -1);
  if (minor < API_MINOR_MIN || minor > API_MINOR_MAX) {
    fail(`follows Buildpack API ${document.api ?? '(none)'}: 0.${API_MINOR_MIN} to 0.${API_MINOR_MAX} are known here`);
  }
  const { id, version = '', 'clear-env': clearEnv } = table(document.buildpack);
  if (typeof id !== 'string' || !/^[A-Za-z0-9][A-Za-z0-9./_-]{0,199}$/.test(id)) {
    return fail('`id` in [buildpack] should be a name of letters, digits, dots, dashes and slashes');
  }
  const order = Array.isArray(document.order) ? document.order.map((group) => entriesOf(group, fail)) : undefined;
  if (order === undefined) {
    for (const script of ['bin/detect', 'bin/build']) {
      if (!isExecutable(join(dir, script))) fail(`${script} is missing or not executable`);
    }
  }
  return {
    dir,
    id,
    version: String(version),
    api: minor,
    clearEnv: clearEnv === true,
    targets: list(document.targets).map(targetOf),
    order,
  };
};

/** The folder's own buildpack, then those in folders below it. One below that is not in order is left out. */
export const findBuildpacks = (root: string): [Descriptor, ...Descriptor[]] => {
  const found: [Descriptor, ...Descriptor[]] = [describe(root)];
  let folders = 0;
  const walk = (dir: string, depth: number): void => {
    folders += 1;
    if (folders > SEARCH_FOLDERS_MAX) return;
    if (depth > 0 && existsSync(join(dir, 'buildpack.toml'))) {
      try {
        found.push(describe(dir));
      } catch (error) {
        if (!(error instanceof LifecycleError)) throw error;
      }
    }
    if (depth === SEARCH_DEPTH_MAX) return;
    for (const entry of readdirSync(dir, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (entry.isDirectory() && !PASSED_OVER.has(entry.name)) walk(join(dir, entry.name), depth + 1);
    }
  };
  walk(root, 0);
  return found;
};

/** `a/b` names a folder `a_b`, as everywhere in the specification. */
export const escapeId = (id: string): string => id.replaceAll('/', '_');

export const nameOf = ({ id, version }: { id: string; version?: string | undefined }): string =>
  version ? `${id}@${version}` : id;

export type Table = Record<string, unknown>;

/** The file as a table; an empty one where there is none. */
export const readToml = (path: string): Table => {
  try {
    if (!existsSync(path)) return {};
    if (statSync(path).size > TOML_BYTES_MAX) throw new Error(`it is larger than ${TOML_BYTES_MAX} bytes`);
    return parse(readFileSync(path, 'utf8')) as Table;
  } catch (error) {
    const [why] = (error as Error).message.split('\n');
    throw new LifecycleError('buildpack_invalid', `${path} is not valid TOML: ${why}`, { cause: error });
  }
};

export const table = (value: unknown): Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Table) : {};
export const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
export const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

const entriesOf = (group: unknown, fail: (why: string) => never): Entry[] => {
  const entries = list(table(group).group).map((value) => {
    const { id, version, optional } = table(value);
    if (typeof id !== 'string') return fail('each entry of a group in [[order]] should have an `id`');
    return { id, version: text(version), optional: optional === true };
  });
  return entries.length > 0 ? entries : fail('each [[order]] should have a [[order.group]]');
};

const targetOf = (value: unknown): Target => {
  const { os, arch, distros, distributions } = table(value);
  const target: Target = {
    distros: list(distros ?? distributions).map((distro) => {
      const { name, version } = table(distro);
      return {
        ...(typeof name === 'string' ? { name } : {}),
        ...(typeof version === 'string' ? { version } : {}),
      };
    }),
  };
  if (typeof os === 'string') target.os = os;
  if (typeof arch === 'string') target.arch = arch;
  return target;
};

const isExecutable = (path: string): boolean => {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() === true && (found.mode & 0o111) !== 0;
};
