// Runs the scripts of buildpacks: bin/detect and bin/build, with the environment that the Buildpack API gives them.
// Never decides what their ending means.

import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Descriptor } from './descriptor.ts';
import { type Variables, withUserVariables } from './environment.ts';

export type Folders = { app: string; platform: string; layers: string; cache: string; scratch: string };

/** Kept of what bin/detect prints, to be shown when it fails. */
const OUTPUT_BYTES_MAX = 64 * 1024;
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Exit status, undefined for a signal; what it printed, when that was to be kept. */
export const runScript = (
  buildpack: Descriptor,
  options: { script: 'detect' | 'build'; args: string[]; app: string; env: Variables; output: 'shown' | 'kept' },
): Promise<{ status: number | undefined; output: string }> =>
  new Promise((resolve, reject) => {
    const shown = options.output === 'shown';
    const child = spawn(join(buildpack.dir, 'bin', options.script), options.args, {
      cwd: options.app,
      env: options.env,
      stdio: ['ignore', shown ? 'inherit' : 'pipe', shown ? 'inherit' : 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output = (output + text).slice(-OUTPUT_BYTES_MAX);
      });
    }
    child.once('error', reject);
    child.once('close', (code) => resolve({ status: code ?? undefined, output }));
  });

/** The environment of a script; `layers` is what earlier buildpacks have made of it. */
export const scriptEnvironment = (
  buildpack: Descriptor,
  options: { layers: Variables; user: Variables; folders: Folders; own: Variables },
): Variables => ({
  ...(buildpack.clearEnv ? options.layers : withUserVariables(options.layers, options.user)),
  ...targetVariables(),
  CNB_BUILDPACK_DIR: buildpack.dir,
  CNB_PLATFORM_DIR: options.folders.platform,
  ...options.own,
});

/** The user's variables: a file each in the platform's folder. */
export const userVariables = (platform: string): Variables => {
  const folder = join(platform, 'env');
  const names = readdirSync(folder).filter((name) => VARIABLE.test(name) && !name.startsWith('CNB_'));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(folder, name), 'utf8').replaceAll('\0', '')]));
};

export type Machine = { os: string; arch: string; distro: string; version: string };

/** What this machine is, in the terms of `targets`. */
export const thisMachine = (): Machine => {
  const release = readFileSync('/etc/os-release', 'utf8');
  const field = (name: string): string => new RegExp(`^${name}="?([^"\n]*)"?$`, 'm').exec(release)?.[1] ?? '';
  const arch = process.arch === 'x64' ? 'amd64' : process.arch;
  return { os: 'linux', arch, distro: field('ID'), version: field('VERSION_ID') };
};

const targetVariables = (): Variables => {
  const { os, arch, distro, version } = thisMachine();
  return {
    CNB_STACK_ID: process.env.STACK ?? '',
    CNB_TARGET_OS: os,
    CNB_TARGET_ARCH: arch,
    CNB_TARGET_DISTRO_NAME: distro,
    CNB_TARGET_DISTRO_VERSION: version,
  };
};
