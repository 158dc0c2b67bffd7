// Looks at this machine for engines: which programs are there, and what they say of themselves. Changes nothing.

import { access, constants, readdir } from 'node:fs/promises';
import { runCommand } from '../lib/program.ts';
import type { Machine } from '../ports/services.ts';

const FIRST_LINE_TIMEOUT_MS = 2_000;
const LINE_LENGTH_MAX = 500;
/** Of one pattern; a machine has a few versions of an engine. */
const PATHS_MAX = 64;

export const machine: Machine = {
  async find(pattern) {
    let paths = [''];
    for (const part of pattern.split('/').slice(1)) {
      const next = await Promise.all(
        paths.map(async (path) => {
          if (!part.includes('*')) return [`${path}/${part}`];
          const wanted = new RegExp(`^${part.split('*').map(escaped).join('.*')}$`);
          const names = await readdir(path === '' ? '/' : path).catch((): string[] => []);
          return names.filter((name) => wanted.test(name)).map((name) => `${path}/${name}`);
        }),
      );
      paths = next.flat().slice(0, PATHS_MAX);
    }
    const found = await Promise.all(paths.map(async (path) => ((await isProgram(path)) ? [path] : [])));
    return found.flat().sort();
  },

  async firstLine(argv) {
    const output = await runCommand(argv, { timeoutMs: FIRST_LINE_TIMEOUT_MS }).catch(() => '');
    const line = output.split('\n')[0]?.trim().slice(0, LINE_LENGTH_MAX);
    return line === '' ? undefined : line;
  },
};

const escaped = (text: string): string => text.replace(/[.+?^${}()|[\]\\]/g, '\\$&');

function isProgram(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
