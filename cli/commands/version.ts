// peer version.

import { readFile } from 'node:fs/promises';
import type { Context } from '../context.ts';

export async function run({ output }: Context): Promise<void> {
  const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  output.result({ version: manifest.version, node: process.version }, () => `peer ${manifest.version}`);
}
