// What the tests of node/volumes share: a store on a data directory of its own.

import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asInstanceId, asLineageId, asVolumeId, type LineageId, type VolumeId } from '../../crdt/ids.ts';
import type { VolumeMount } from '../../node/core/types.ts';
import type { VolumeEvent } from '../../node/ports/volumes.ts';
import { VolumeStore, type VolumeStoreOptions } from '../../node/volumes/store.ts';
import { silent } from '../runtime/harness.ts';

export const MIB = 1024 * 1024;
export const USERS = { first: 1_999_000_100, count: 3 };
const IS_ROOT = process.getuid?.() === 0;

export class VolumesNode {
  readonly dataDir: string;
  /** What the desired state has here. */
  readonly wanted = new Map<VolumeId, LineageId>();
  readonly events: VolumeEvent[] = [];
  #store: VolumeStore | undefined;

  private constructor(dataDir: string) {
    this.dataDir = dataDir;
  }

  static async make(): Promise<VolumesNode> {
    return new VolumesNode(await mkdtemp(join(tmpdir(), 'peer-volumes-')));
  }

  /** A new store on the directory, as after a restart of the daemon. */
  async open(changes: Partial<VolumeStoreOptions> = {}): Promise<VolumeStore> {
    await this.#store?.close();
    this.#store = await VolumeStore.open({
      dataDir: this.dataDir,
      users: IS_ROOT ? USERS : undefined,
      hardQuotas: IS_ROOT,
      wanted: (id) => this.wanted.get(id),
      log: silent,
      sampleMs: 20,
      waitMaxMs: 200,
      ...changes,
    });
    this.#store.onEvent((event) => this.events.push(event));
    return this.#store;
  }

  /** A volume that the desired state has here. */
  mount(changes: Partial<VolumeMount> = {}): VolumeMount {
    const mount = {
      id: asVolumeId(randomUUID()),
      lineage: asLineageId(randomUUID()),
      path: '/data',
      sizeBytes: 64 * MIB,
      ...changes,
    };
    this.wanted.set(mount.id, mount.lineage);
    return mount;
  }

  async dispose(): Promise<void> {
    await this.#store?.close();
    await rm(this.dataDir, { recursive: true, force: true });
  }
}

export const instanceId = (name: string) => asInstanceId(`i-${name}`);
export const never = (): AbortSignal => new AbortController().signal;
