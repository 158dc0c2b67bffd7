// Names the stack of this machine: what compiled code in a droplet may rely on. Pure but for reading one small file.

import { readFileSync } from 'node:fs';

/**
 * `<ID><VERSION_ID>-<arch>` in the terms of os-release(5) and Node: `debian12-x64`, `ubuntu24.04-arm64`, `arch-x64`.
 */
export const hostStack = (): string => stackName(readOsRelease(), process.arch);

export const stackName = (osRelease: string, arch: string): string => {
  const field = (name: string): string =>
    new RegExp(`^${name}=["']?([^"'\n]*)["']?$`, 'm').exec(osRelease)?.[1]?.trim().toLowerCase() ?? '';
  return `${field('ID') || 'linux'}${field('VERSION_ID')}-${arch}`;
};

const readOsRelease = (): string => {
  for (const path of ['/etc/os-release', '/usr/lib/os-release']) {
    try {
      return readFileSync(path, 'utf8');
    } catch {
      // The other path is the fallback that os-release(5) names; without both the stack is `linux`.
    }
  }
  return '';
};
