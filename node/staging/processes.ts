// Which processes an app has: a buildpack's release YAML, the Procfile over it, the push's own command over both.
// Pure.

import { parse } from 'yaml';
import { StagingError } from './errors.ts';

export type Release = {
  /** Start command per process type. */
  processes: Record<string, string>;
  /** Environment the buildpack sets for the running app, unless the user sets it. */
  configVars: Record<string, string>;
};

/** Process types of one app; more is a mistake, and each is a row wherever the app is shown. */
export const PROCESS_TYPES_MAX = 50;
/** Start commands travel in the desired state. */
export const COMMAND_BYTES_MAX = 8 * 1024;
const YAML_ALIASES_MAX = 20;

/** A line of a Procfile; the colon is optional, as it always was. */
const PROCFILE_LINE = /^([a-zA-Z0-9_-]+):?\s+(.*)/;
export const PROCESS_TYPE = /^[a-zA-Z0-9][a-zA-Z0-9_-]{0,62}$/;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Nothing at all and `--- {}` are valid: the buildpack names no process. */
export const parseRelease = (text: string, buildpack: string): Release => {
  const fail = (what: string, cause?: unknown): never => {
    throw new StagingError(
      'release_not_yaml',
      `buildpack ${buildpack}: bin/release ${what}: report it to the buildpack's author`,
      {
        cause,
      },
    );
  };
  let document: unknown;
  try {
    document = parse(text, { maxAliasCount: YAML_ALIASES_MAX, logLevel: 'silent' });
  } catch (error) {
    fail('did not print valid YAML', error);
  }
  if (document === null || document === undefined) return { processes: {}, configVars: {} };
  if (!isMapping(document)) fail('must print a YAML mapping');
  const { default_process_types: types, config_vars: vars } = document as Record<string, unknown>;
  return {
    processes: strings(types, PROCESS_TYPE, () =>
      fail('must give default_process_types as a mapping of type to command'),
    ),
    configVars: strings(vars, VARIABLE, () => fail('must give config_vars as a mapping of name to value')),
  };
};

export type Procfile = { processes: Record<string, string>; ignoredLines: number[] };

/**
 * Lines that are no `type: command` are ignored and reported by number; a Procfile with none that is one is a mistake.
 */
export const parseProcfile = (text: string): Procfile => {
  const processes: Record<string, string> = {};
  const ignoredLines: number[] = [];
  let content = false;
  for (const [at, raw] of text.split('\n').entries()) {
    const line = raw.trimEnd();
    if (line === '' || line.startsWith('#')) continue;
    content = true;
    if (/^[-[{]/.test(line)) {
      throw new StagingError(
        'procfile_invalid',
        `Procfile line ${at + 1}: expected \`type: command\`, such as \`web: node server.js\``,
      );
    }
    const [, type = '', command = ''] = PROCFILE_LINE.exec(line) ?? [];
    if (command !== '' && PROCESS_TYPE.test(type)) processes[type] = command;
    else ignoredLines.push(at + 1);
  }
  if (content && Object.keys(processes).length === 0) {
    throw new StagingError(
      'procfile_invalid',
      'Procfile: no line reads `type: command`, such as `web: node server.js`',
    );
  }
  return { processes, ignoredLines };
};

/** Later sources win per process type. */
export const mergeProcesses = (sources: {
  release: Record<string, string>;
  procfile: Record<string, string>;
  command: string | undefined;
}): Record<string, string> => {
  const processes: Record<string, string> = {
    ...sources.release,
    ...sources.procfile,
    ...(sources.command === undefined ? {} : { web: sources.command }),
  };
  const types = Object.keys(processes).sort();
  if (types.length === 0) {
    throw new StagingError(
      'no_start_command',
      'no start command: add a Procfile with a line such as `web: node server.js`, or push with --command',
    );
  }
  if (types.length > PROCESS_TYPES_MAX) {
    throw new StagingError(
      'procfile_invalid',
      `${types.length} process types: at most ${PROCESS_TYPES_MAX} are allowed`,
    );
  }
  for (const type of types) {
    if (Buffer.byteLength(processes[type]!) > COMMAND_BYTES_MAX) {
      throw new StagingError(
        'procfile_invalid',
        `the command of ${type} is longer than ${COMMAND_BYTES_MAX} bytes: move it into a script`,
      );
    }
  }
  return Object.fromEntries(types.map((type) => [type, processes[type]!]));
};

/**
 * The script that sets a buildpack's config vars when the app starts. What the user set wins; PATH is extended, since
 * it is always set.
 */
export const configVarsScript = (vars: Record<string, string>): string =>
  Object.entries(vars)
    .map(([name, value]) =>
      name === 'PATH'
        ? `export PATH=${quoted(value)}:"$PATH"\n`
        : `[ -n "\${${name}+set}" ] || export ${name}=${quoted(value)}\n`,
    )
    .join('');

const quoted = (value: string): string => `'${value.replaceAll("'", `'\\''`)}'`;

const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const strings = (value: unknown, name: RegExp, fail: () => never): Record<string, string> => {
  if (value === null || value === undefined) return {};
  if (!isMapping(value)) return fail();
  const result: Record<string, string> = {};
  for (const [key, item] of Object.entries(value)) {
    if (!name.test(key) || !['string', 'number', 'boolean'].includes(typeof item)) return fail();
    result[key] = String(item);
  }
  return result;
};
