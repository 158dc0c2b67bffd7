// ~/.config/peer/config.json: which API to use, and with which token. Holds a secret: readable by its owner only.

import { mkdir, readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { CliError } from './errors.ts';

export type Config = {
  api?: string;
  token?: string;
  /** SHA-256 of the certificate that the API must show; for https with a certificate of its own making. */
  fingerprint?: string;
};

export const configPath = (): string => join(configHome(), 'peer', 'config.json');

const configHome = (): string => {
  const home = process.env.XDG_CONFIG_HOME;
  return home?.startsWith('/') ? home : join(homedir(), '.config');
};

/** Empty when there is none. */
export async function readConfig(): Promise<Config> {
  const path = configPath();
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new CliError('config', `cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  try {
    const { api, token, fingerprint } = JSON.parse(text) as Record<string, unknown>;
    return {
      ...(typeof api === 'string' ? { api } : {}),
      ...(typeof token === 'string' ? { token } : {}),
      ...(typeof fingerprint === 'string' ? { fingerprint } : {}),
    };
  } catch (error) {
    throw new CliError('config', `${path} is no JSON: delete it, and run peer login again`, { cause: error });
  }
}

/** Replaces the known fields, keeps others. */
export async function writeConfig(config: Config): Promise<void> {
  const path = configPath();
  const { default: writeFileAtomic } = await import('write-file-atomic');
  let others: Record<string, unknown> = {};
  try {
    others = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
  } catch {
    // None yet, or damaged: it is written anew.
  }
  const { api: _, token: __, fingerprint: ___, ...kept } = others;
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFileAtomic(path, `${JSON.stringify({ ...kept, ...config }, null, 2)}\n`, { mode: 0o600 });
}
