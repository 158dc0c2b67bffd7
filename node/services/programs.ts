// Finds the programs that an engine is made of. Knows no engine.

import type { Machine } from '../ports/services.ts';

/** Each name with the first of its paths that is there; undefined when one has none. */
export async function findPrograms(
  machine: Machine,
  wanted: Readonly<Record<string, readonly string[]>>,
): Promise<Record<string, string> | undefined> {
  const programs: Record<string, string> = {};
  for (const [name, patterns] of Object.entries(wanted)) {
    for (const pattern of patterns) {
      programs[name] ??= (await machine.find(pattern)).at(-1) as string;
    }
    if (programs[name] === undefined) return undefined;
  }
  return programs;
}

/** In the folders where programs are. */
export const anywhere = (name: string): string[] =>
  ['/usr/bin', '/usr/sbin', '/usr/local/bin', '/usr/local/sbin'].map((folder) => `${folder}/${name}`);

/** `15` or `10.11`: so many numbers of the first version in the text. */
export function versionIn(text: string | undefined, numbers: 1 | 2): string | undefined {
  const found = /\b(\d+)\.(\d+)/.exec(text ?? '');
  if (found === null) return undefined;
  return numbers === 1 ? found[1] : `${found[1]}.${found[2]}`;
}
