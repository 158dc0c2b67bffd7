// Lock files as a developer has them: made by the package manager itself, of what the test's registry has then.

import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { json, type Packs } from './packs.ts';

/** A package manager needs seconds to write one. */
const LOCK_TIMEOUT_MS = 60_000;

export type LockOptions = {
  manifest: Record<string, unknown>;
  /** The file's name. */
  lock: string;
  /** The npm package that brings the manager, and its program there; npm itself is this machine's. */
  tool?: [name: string, version: string, program: string];
  makeLock: string[];
};

export async function madeLock({ harness, registry }: Packs, options: LockOptions): Promise<string> {
  const { manifest, lock, tool, makeLock } = options;
  const folder = harness.folder({ 'app/package.json': json(manifest) });
  const run = promisify(execFile);
  const { url } = registry;
  let command = ['npm'];
  if (tool !== undefined) {
    await run('tar', ['-xzf', registry.real(tool[0], tool[1]), '-C', folder]);
    command = [process.execPath, join(folder, 'package', tool[2])];
    // Else a newer Yarn takes the folder for a part of another project.
    writeFileSync(join(folder, 'app', lock), '');
  }
  await run(command[0]!, [...command.slice(1), ...makeLock], {
    cwd: join(folder, 'app'),
    timeout: LOCK_TIMEOUT_MS,
    env: {
      ...{ PATH: process.env.PATH, HOME: folder, npm_config_registry: url, YARN_REGISTRY: url },
      ...{ YARN_NPM_REGISTRY_SERVER: url, YARN_UNSAFE_HTTP_WHITELIST: '127.0.0.1', YARN_ENABLE_TELEMETRY: '0' },
    },
  });
  return readFileSync(join(folder, 'app', lock), 'utf8');
}
