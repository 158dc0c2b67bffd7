// What a command within a service prints, straight into the blob store, however large it is.

import type { Digest, InstanceId } from '../../crdt/ids.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { CommandRunner } from '../ports/commands.ts';
import type { ServiceCommand } from '../ports/services.ts';
import { CommandFailed, type RunOptions, runInService } from './run-command.ts';

export type Stored = Awaited<ReturnType<BlobStore['put']>>;

export type StoredOutputParts = {
  runtime: Pick<CommandRunner, 'exec'>;
  blobs: Pick<BlobStore, 'put'> & Partial<Pick<BlobStore, 'remove'>>;
  /**
   * Content that is there for another reason: it stays whatever becomes of this. Absent: what failed goes as garbage.
   */
  kept?: () => ReadonlySet<Digest>;
};

/**
 * @param checked lets through what is what it should be, and fails otherwise.
 * Fails with CommandFailed, also when nothing was printed, or as `checked` and the store do.
 */
export async function storedOutput(
  { runtime, blobs, kept }: StoredOutputParts,
  instance: InstanceId,
  command: ServiceCommand,
  options: Omit<RunOptions, 'output'> & {
    sizeBytesMax: number;
    checked?: (chunks: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;
  },
): Promise<Stored> {
  const { sizeBytesMax, checked = (chunks) => chunks, ...run } = options;
  let stored: Stored | undefined;
  const output = async (chunks: AsyncIterable<Uint8Array>): Promise<void> => {
    stored = await blobs.put(checked(chunks), { sizeBytesMax });
  };
  try {
    await runInService(runtime, instance, command, { ...run, output });
  } catch (error) {
    const isSurplus = stored !== undefined && kept !== undefined && !kept().has(stored.digest);
    if (isSurplus) await blobs.remove?.(stored!.digest).catch(() => {});
    throw error;
  }
  if (stored === undefined || stored.sizeBytes === 0) throw new CommandFailed('the engine gave nothing');
  return stored;
}
