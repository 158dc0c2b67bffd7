// Room that a job may fill on disk, and what is said when it does not suffice. Decides nothing about how much that is.

import type { Room } from '../ports/blobs.ts';
import { BlobError } from './errors.ts';

/** Fails with BlobError `over_budget`. */
export function assertFits(bytes: number, room: Room | undefined): void {
  if (room !== undefined && bytes > room.bytes) throw new BlobError('over_budget', room.refusal);
}
