// The disk of one node of a chaos run: a file system of its own that can be filled and freed, and copies of the data
// directory on it that can be put back. What of it is left when the cluster's folder goes is unmounted by the cluster.

import { mkdir, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { removeFolder, run } from '../../scripts/local-cluster.ts';

/** Sparse: it takes what is written. Enough for droplets and logs; disks of instances are sparse, too. */
const DISK_BYTES = 1024 ** 3;
const BLOCK_BYTES = 4_096;

export class NodeDisk {
  readonly dataDir: string;
  readonly #filler: string;
  readonly #copy: string;
  readonly #mount: string;
  #hasCopy = false;

  private constructor(mount: string, dataDir: string, copy: string) {
    this.#mount = mount;
    this.dataDir = dataDir;
    this.#copy = copy;
    this.#filler = join(mount, 'filler');
  }

  /** @param folder of the cluster. A limited disk takes root; one that is not is a folder on the cluster's own. */
  static async create(options: { folder: string; name: string; isLimited: boolean }): Promise<NodeDisk> {
    const { folder, name, isLimited } = options;
    const mount = join(folder, name);
    await mkdir(mount);
    if (isLimited) {
      const image = join(folder, `${name}.img`);
      await done(['truncate', '--size', String(DISK_BYTES), image]);
      // No share for root alone: the daemon is root, and would not notice that the disk is full.
      await done(['mkfs.ext4', '-q', '-m', '0', image]);
      await done(['mount', '-o', 'loop', image, mount]);
    }
    return new NodeDisk(mount, join(folder, NodeDisk.dataDirName(name)), join(folder, `${name}.copy`));
  }

  /** As LocalCluster wants it: below the disk, so that what fills it is not among the node's own files. */
  static dataDirName(name: string): string {
    return join(name, 'data');
  }

  /** Not one block is left. */
  async fill(): Promise<void> {
    const { bavail, bsize } = await statfs(this.#mount);
    let offset = 0;
    // What is said to be free cannot all be had by one file: its own map takes of it.
    for (let bytes = bavail * bsize; bytes >= BLOCK_BYTES; ) {
      const range = ['--offset', String(offset), '--length', String(bytes)];
      const { code } = await run(['fallocate', ...range, this.#filler], { timeoutMs: 10_000 });
      if (code === 0) offset += bytes;
      else bytes = Math.floor(bytes / 2);
    }
    if (offset === 0) throw new Error(`${this.#mount} cannot be filled: it has ${bavail * bsize} bytes left`);
  }

  async free(): Promise<void> {
    await rm(this.#filler, { force: true });
  }

  get hasCopy(): boolean {
    return this.#hasCopy;
  }

  /**
   * Takes the place of the copy before. Nothing may write meanwhile. What is mounted below, disks of instances, is
   * left out.
   */
  async takeCopy(): Promise<void> {
    await rm(this.#copy, { recursive: true, force: true });
    await done(['cp', '-a', '-x', this.dataDir, this.#copy]);
    this.#hasCopy = true;
  }

  /** The node and all its instances must have ended. Whoever puts it back makes room first, if the disk is full. */
  async putBack(): Promise<void> {
    await this.free();
    await removeFolder(this.dataDir);
    await done(['cp', '-a', this.#copy, this.dataDir]);
  }
}

async function done(command: string[]): Promise<void> {
  const { code, stderr } = await run(command, { timeoutMs: 60_000 });
  if (code !== 0) throw new Error(`${command.join(' ')}: ${stderr.trim()}`);
}
