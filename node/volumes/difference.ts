// What a volume has beyond what another node has of it, which is known from lists that a snapshot left here: packed on
// the node where it is, and applied in place on the other. Decides neither when nor how often.

import { chown, mkdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '../../crdt/ids.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { VolumeTools } from '../ports/volumes.ts';
import { VolumeError } from './errors.ts';
import { makingFolder, removeTree, syncFiles } from './folder.ts';
import { APPLY, DIFFER, FROM, LISTS, TO } from './scripts.ts';
import type { VolumeRef, VolumeStore } from './store.ts';
import { BLOCK_TOOL_BIND, fed, stored, tarBytesMax } from './tool-run.ts';

export type Difference = { digest: Digest; sizeBytes: number };

/** Lists as they are once the other node has taken the difference. */
const TAKEN = ['old', 'held', 'maps'];

export type DifferencesOptions = {
  store: Pick<VolumeStore, 'root' | 'placeOf' | 'ownerOf' | 'usersOf' | 'attach'>;
  tools: VolumeTools;
  put: BlobStore['put'];
};

export class Differences {
  readonly #options: DifferencesOptions;

  constructor(options: DifferencesOptions) {
    this.#options = options;
  }

  /**
   * `round`: another one each time, while the volume may be in use; `last` once nothing runs on it any more. Fails
   * with VolumeError `volume_missing`, `disk_full`, `snapshot_failed` or `not_frozen`, or as the blob store does, and
   * can then be asked for again.
   */
  async take(ref: VolumeRef, lists: string, round: number | 'last', signal: AbortSignal): Promise<Difference> {
    const { store } = this.#options;
    await store.attach(ref);
    const { record, data } = store.placeOf(ref);
    const difference = await stored(
      {
        ...{ name: 'differ', uid: store.ownerOf(ref), bytesMax: tarBytesMax(record.sizeBytes), signal },
        argv: ['/bin/bash', '-c', DIFFER, 'peer', String(round)],
        binds: [{ from: data, to: FROM, writable: false }, { from: lists, to: LISTS, writable: true }, BLOCK_TOOL_BIND],
      },
      this.#options,
    );
    if (round !== 'last' || store.usersOf(ref).length === 0) return difference;
    throw new VolumeError('not_frozen', 'an instance or a task uses it again');
  }

  /** The other node has it: the next difference is from that on. */
  async taken(lists: string): Promise<void> {
    for (const name of TAKEN) await rename(join(lists, `${name}.new`), join(lists, name));
  }

  /**
   * Writes it into the files of a volume that nothing uses. The content is not trusted. Fails with VolumeError
   * `bad_snapshot`, also when they are not what the other node has then, or `disk_full`; the files are of no use any
   * more.
   */
  async apply(
    content: AsyncIterable<Uint8Array>,
    files: { data: string; uid: number | undefined; sizeBytes: number },
  ): Promise<void> {
    const { store, tools } = this.#options;
    const { data, uid, sizeBytes } = files;
    const lists = makingFolder(store.root);
    try {
      await mkdir(lists, { mode: 0o700 });
      if (uid !== undefined) await chown(lists, uid, uid);
      await fed(
        content,
        {
          ...{ name: 'apply', uid, bytesMax: tarBytesMax(sizeBytes) },
          argv: ['/bin/bash', '-c', APPLY],
          binds: [{ from: data, to: TO, writable: true }, { from: lists, to: LISTS, writable: true }, BLOCK_TOOL_BIND],
        },
        tools,
      );
    } finally {
      await removeTree(lists).catch(() => {});
    }
  }

  /** Resolves when all that was written there is on disk. */
  settle(data: string): Promise<void> {
    return syncFiles(data);
  }
}
