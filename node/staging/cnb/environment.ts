// How layers change the environment of later buildpacks and of the running app: the rules as data, applied here or
// written as shell. See "Environment" in https://github.com/buildpacks/spec/blob/main/buildpack.md

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export type Change = {
  action: 'prepend' | 'append' | 'override' | 'default';
  name: string;
  value: string;
  /** Between the value and what is there. */
  delimiter: string;
};
export type Variables = Record<string, string>;

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const ACTIONS = new Set(['prepend', 'append', 'override', 'default']);

/** Folders of a layer that lead a search path. */
const BUILD_PATHS: [string, string[]][] = [
  ['bin', ['PATH']],
  ['lib', ['LD_LIBRARY_PATH', 'LIBRARY_PATH']],
  ['include', ['CPATH']],
  ['pkgconfig', ['PKG_CONFIG_PATH']],
];
const LAUNCH_PATHS: [string, string[]][] = [
  ['bin', ['PATH']],
  ['lib', ['LD_LIBRARY_PATH']],
];
const SEARCH_PATHS = new Set(BUILD_PATHS.flatMap(([, names]) => names));

/** Search paths first, then the layers' variables, layers in alphabetical order. */
export const buildChanges = (layers: readonly string[]): Change[] => [
  ...pathChanges(layers, BUILD_PATHS),
  ...layers.flatMap((layer) => [...envFolder(join(layer, 'env')), ...envFolder(join(layer, 'env.build'))]),
];

/** The same for the running app; `process` holds what is only for processes of one type. */
export const launchChanges = (layers: readonly string[]): { change: Change; process: string | undefined }[] => [
  ...pathChanges(layers, LAUNCH_PATHS).map((change) => ({ change, process: undefined })),
  ...layers.flatMap((layer) => {
    const launch = join(layer, 'env.launch');
    const always = [...envFolder(join(layer, 'env')), ...envFolder(launch)];
    return [
      ...always.map((change) => ({ change, process: undefined })),
      ...foldersIn(launch).flatMap((process) =>
        envFolder(join(launch, process)).map((change) => ({ change, process })),
      ),
    ];
  }),
];

export const applyChange = (variables: Variables, { action, name, value, delimiter }: Change): void => {
  const now = variables[name] ?? '';
  switch (action) {
    case 'prepend':
      variables[name] = now === '' ? value : value + delimiter + now;
      break;
    case 'append':
      variables[name] = now === '' ? value : now + delimiter + value;
      break;
    case 'override':
      variables[name] = value;
      break;
    case 'default':
      if (now === '') variables[name] = value;
  }
};

/** What the user sets wins; search paths are led by it. */
export const withUserVariables = (variables: Variables, user: Variables): Variables => {
  const merged = { ...variables };
  for (const [name, value] of Object.entries(user)) {
    if (SEARCH_PATHS.has(name)) applyChange(merged, { action: 'prepend', name, value, delimiter: ':' });
    else merged[name] = value;
  }
  return merged;
};

/** The last one is prepended first, so that the first leads the path. */
const pathChanges = (layers: readonly string[], paths: readonly [string, string[]][]): Change[] =>
  [...layers]
    .reverse()
    .flatMap((layer) =>
      paths
        .filter(([folder]) => existsSync(join(layer, folder)))
        .flatMap(([folder, names]) =>
          names.map((name): Change => ({ action: 'prepend', name, value: join(layer, folder), delimiter: ':' })),
        ),
    );

/** `NAME`, `NAME.append`…: a variable a file, its contents as they are. */
const envFolder = (folder: string): Change[] => {
  const changes: Change[] = [];
  for (const file of filesIn(folder)) {
    const dot = file.indexOf('.');
    const name = dot === -1 ? file : file.slice(0, dot);
    const action = dot === -1 ? 'override' : file.slice(dot + 1);
    if (!NAME.test(name) || !ACTIONS.has(action)) continue;
    const delimiterFile = join(folder, `${name}.delim`);
    changes.push({
      action: action as Change['action'],
      name,
      value: valueIn(join(folder, file)),
      delimiter: existsSync(delimiterFile) ? valueIn(delimiterFile) : '',
    });
  }
  return changes;
};

/** A variable cannot hold NUL. */
const valueIn = (path: string): string => readFileSync(path, 'utf8').replaceAll('\0', '');

export const filesIn = (folder: string): string[] => entriesIn(folder, (entry) => !entry.isDirectory());
export const foldersIn = (folder: string): string[] => entriesIn(folder, (entry) => entry.isDirectory());

const entriesIn = (folder: string, wanted: (entry: { isDirectory(): boolean }) => boolean): string[] => {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { withFileTypes: true });
  return entries
    .filter(wanted)
    .map(({ name }) => name)
    .sort();
};
