// Gives an instance of an image a root that ends with its disk limit: the image's layers below, and above them a layer
// on a disk of its own. An engine mounts the folders of that root over those of the container, whose own root is
// read-only.

import { mkdir, readdir, readlink, symlink } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import type { ImageInspectInfo } from 'dockerode';
import { runCommand } from '../../lib/program.ts';

/** As many as an engine stacks. */
const LAYERS_MAX = 128;
/** Folders of a root; each is a mount. An image with more is not mounted so. */
const FOLDERS_MAX = 64;
/** The engine's own, in every container. */
const ENGINE_FOLDERS = ['dev', 'proc', 'sys'];
/** The engine's init is in there; on systems that have merged their folders into /usr it is a link. */
const INIT_FOLDER = 'sbin';
const MERGED_INIT = /^(\.?\/)?usr\/sbin$/;
const PATH_SHOWN = 100;
/** Short names of the layers, within the instance's folder: all of them have to fit into one page of mount options. */
const LAYERS = 'l';
/** On the disk. */
const UPPER = 'upper';
const WORK = 'work';
/** The engine's drivers that keep layers as folders for the kernel's overlay. */
const OVERLAY_DRIVERS = ['overlay2', 'overlay'];

/**
 * Folders on this machine of the image's layers, the topmost first; undefined where its engine does not keep them so.
 */
export function layersOf({ GraphDriver: driver }: Pick<ImageInspectInfo, 'GraphDriver'>): string[] | undefined {
  const { UpperDir: top, LowerDir: rest } = (driver?.Data ?? {}) as { UpperDir?: string; LowerDir?: string };
  if (!OVERLAY_DRIVERS.includes(driver?.Name ?? '') || top === undefined) return undefined;
  const layers = [top, ...(rest === undefined || rest === '' ? [] : rest.split(':'))];
  return layers.length <= LAYERS_MAX && layers.every(isAbsolute) ? layers : undefined;
}

/** Relative to the instance's folder. `home`: the name of the disk's mount point in it; `root`: that of the root. */
export function mountArguments(place: { home: string; root: string; layers: number }): string[] {
  const lower = Array.from({ length: place.layers }, (_, index) => `${LAYERS}/${index}`).join(':');
  const options = `nosuid,nodev,lowerdir=${lower},upperdir=${place.home}/${UPPER},workdir=${place.home}/${WORK}`;
  return ['mount', '-t', 'overlay', '-o', options, 'overlay', place.root];
}

/**
 * Mounts the root at `folder/root`; the disk is there already. Resolves with the paths of its folders in it. Fails
 * with what the machine said; the caller unmounts.
 */
export async function attachRoot(place: {
  folder: string;
  home: string;
  root: string;
  layers: readonly string[];
}): Promise<string[]> {
  const { folder, home, root, layers } = place;
  await Promise.all([UPPER, WORK].map((name) => mkdir(join(folder, home, name), { mode: 0o755 })));
  await mkdir(join(folder, root), { mode: 0o700 });
  await mkdir(join(folder, LAYERS), { mode: 0o700 });
  await Promise.all(layers.map((layer, index) => symlink(layer, join(folder, LAYERS, String(index)))));
  await runCommand(mountArguments({ home, root, layers: layers.length }), { cwd: folder });
  const folders = await foldersIn(join(folder, root));
  if (folders.length > FOLDERS_MAX) throw new Error(`the image has more than ${FOLDERS_MAX} folders in its root`);
  return folders;
}

/**
 * Those that are mounted, by their paths: all of the root's but the engine's, and none that holds the engine's init.
 */
async function foldersIn(root: string): Promise<string[]> {
  const held = await initFolder(root);
  const [outer, inner] = held.split('/');
  const found: string[] = [];
  for (const name of await realFolders(root)) {
    if (ENGINE_FOLDERS.includes(name) || name === held) continue;
    if (name !== outer) found.push(name);
    else for (const part of await realFolders(join(root, name))) if (part !== inner) found.push(`${name}/${part}`);
  }
  return found.sort();
}

/** Never a link: it is the image's author who says where that leads, and here it would lead through this machine. */
async function realFolders(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

/** Where the engine puts the init, before it mounts anything else: what is mounted over that hides it. */
async function initFolder(root: string): Promise<string> {
  const link = await readlink(join(root, INIT_FOLDER)).catch(() => undefined);
  if (link === undefined) return INIT_FOLDER;
  if (MERGED_INIT.test(link)) return `usr/${INIT_FOLDER}`;
  throw new Error(`the image's /${INIT_FOLDER} leads to ${link.slice(0, PATH_SHOWN)}`);
}
