// Where volumes are mounted in an instance: takes hold of them, makes the folders that they are mounted on, and
// decides the binds. Droplets and volumes are hostile: no link in them is followed.

import { lchown, lstat, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstanceSpec, VolumeMount } from '../core/types.ts';
import type { Bind } from '../ports/sandbox.ts';
import type { HeldVolumes, MountedFolder, Volumes } from '../ports/volumes.ts';
import { DROPLET_PATHS } from './environment.ts';
import { RuntimeError } from './errors.ts';
import { SANDBOX_HOME } from './sandbox/bwrap.ts';

const FOLDER_MODE = 0o755;
/** The droplet's own: a volume in their place would hide it. */
const OWN_FOLDERS = [SANDBOX_HOME, ...DROPLET_PATHS.map(({ part }) => `${SANDBOX_HOME}/${part}`)];

/** What an instance's record keeps of a volume. */
export type RecordedMount = Pick<VolumeMount, 'id' | 'lineage' | 'path' | 'sizeBytes'>;

export function recordedMounts(spec: Pick<InstanceSpec, 'volumes'>): { volumes?: RecordedMount[] } {
  if (spec.volumes === undefined || spec.volumes.length === 0) return {};
  const volumes = spec.volumes.map(({ id, lineage, path, sizeBytes }) => ({ id, lineage, path, sizeBytes }));
  return { volumes };
}

/**
 * Holds the instance's volumes. Undefined: it has none. `uid`, `shared`: as in VolumeRequest. Fails with RuntimeError
 * `volume_unavailable`, or with what the disk says.
 */
export async function acquireVolumes(
  volumes: Volumes | undefined,
  spec: Pick<InstanceSpec, 'id' | 'app' | 'volumes'> & { process?: string; index?: number },
  options: { uid?: number; shared?: true; signal: AbortSignal },
): Promise<HeldVolumes | undefined> {
  const mounts = spec.volumes ?? [];
  if (mounts.length === 0) return undefined;
  if (volumes === undefined) throw new RuntimeError('volume_unavailable', 'this node keeps no volumes');
  const { process, index } = spec;
  const slot = options.shared || process === undefined || index === undefined ? {} : { slot: { process, index } };
  return volumes
    .acquire({ instance: spec.id, owner: spec.app.name, ...slot, mounts, ...options })
    .catch((error: Error) => {
      options.signal.throwIfAborted();
      if (error.name !== 'VolumeError') throw error;
      throw new RuntimeError('volume_unavailable', error.message, { cause: error });
    });
}

/** Of the path in a sandbox that runs a droplet, what it is behind the sandbox's links. */
export function mountTarget(path: string): string {
  for (const { path: link, part } of DROPLET_PATHS) {
    if (path === link || path.startsWith(`${link}/`)) return `${SANDBOX_HOME}/${part}${path.slice(link.length)}`;
  }
  return path;
}

/**
 * The binds of a droplet's volumes, to come after that of its home, with the folders that they are mounted on made in
 * it. Call when nothing of the instance runs. Fails with RuntimeError `volume_unmountable`.
 */
export async function volumeBinds(
  { uid, folders }: HeldVolumes,
  { home }: { /** The droplet's root on this machine. */ home: string },
): Promise<Bind[]> {
  const targets = folders.map((folder) => ({ ...folder, to: mountTarget(folder.to), asked: folder.to }));
  // Outer ones first.
  targets.sort((a, b) => a.to.length - b.to.length || (a.to < b.to ? -1 : 1));
  const under: Pick<MountedFolder, 'from' | 'to'>[] = [{ from: home, to: SANDBOX_HOME }];
  const binds: Bind[] = [];
  for (const { from, to, asked } of targets) {
    if (OWN_FOLDERS.includes(to)) {
      throw new RuntimeError(
        'volume_unmountable',
        `a volume at ${asked} would hide the app: choose a folder within it`,
      );
    }
    const outer = under.findLast((other) => to.startsWith(`${other.to}/`));
    if (outer !== undefined) await makeMountPoint(outer, { to, asked, uid });
    binds.push({ from, to, writable: true });
    under.push({ from, to });
  }
  return binds;
}

/** What is there already is hidden while the volume is mounted on it. */
async function makeMountPoint(
  outer: Pick<MountedFolder, 'from' | 'to'>,
  { to, asked, uid }: { to: string; asked: string; uid: number | undefined },
): Promise<void> {
  let path = outer.from;
  for (const part of to.slice(outer.to.length + 1).split('/')) {
    path = join(path, part);
    const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (found?.isDirectory()) continue;
    if (found !== undefined) {
      const what = found.isSymbolicLink() ? 'a link' : 'a file';
      throw new RuntimeError(
        'volume_unmountable',
        `the volume ${asked} cannot be mounted: ${part} is ${what} there: remove it, and push again`,
      );
    }
    await mkdir(path, { mode: FOLDER_MODE });
    if (uid !== undefined) await lchown(path, uid, uid);
  }
}
