// Port of archives: logs of changes of services, kept beside their backups, and the data of earlier moments that is
// made of them. Types only; each says what it guarantees and how it fails.

import type { Digest, LineageId, ServiceId } from '../../crdt/ids.ts';
import type { Backup } from './backups.ts';

/** A base, or pieces of the log that follow one another: a blob, and this beside it on every node that holds it. */
export type ArchivePiece = {
  id: string;
  service: ServiceId;
  /** Of the volume it is of: another one has another log. */
  lineage: LineageId;
  what: 'base' | 'log';
  /** Names of the first and the last; of a base, the one that was being written when it began, twice. */
  first: string;
  last: string;
  digest: Digest;
  sizeBytes: number;
  /** What was committed by then is in it or before it; of a base: when it was whole. By the clock of its node. */
  takenAtMs: number;
};

/** Any moment from the one to the other, Unix ms. */
export type ArchiveWindow = { fromMs: number; toMs: number };

export interface Archives {
  /** Of the service, oldest first, from every node that answers; between two of them something is missing. */
  windows(service: ServiceId): Promise<ArchiveWindow[]>;
  /**
   * Makes a backup of the data as it was then, on the node that runs the service, proves it, and brings it to two more
   * nodes. Fails with `outside_window`, which says what there is, `service_not_ready`, `unavailable`.
   */
  recover(service: ServiceId, atMs: number, onLine: (text: string) => void, signal: AbortSignal): Promise<Backup>;
}
