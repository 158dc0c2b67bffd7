// Port of backups: what is known of each, and what people may ask for. Types only; each says what it guarantees and
// how it fails.

import type { Digest, LineageId, NodeId, ServiceId } from '../../crdt/ids.ts';
import type { Archives } from './archives.ts';

/**
 * One backup of a service's data: a blob, and this beside it on every node that holds it. Nothing of it is in the
 * desired state.
 */
export type Backup = {
  /** Digits of the time it was taken and of its digest: for people to name it by. */
  id: string;
  service: ServiceId;
  /** As they were when it was taken; the service may be gone since. */
  name: string;
  kind: string;
  version: string;
  digest: Digest;
  sizeBytes: number;
  /** By the clock of the node that took it. */
  takenAtMs: number;
  /** Of one that was made of an earlier moment when somebody asked: when that was, by the same clock. */
  madeAtMs?: number | undefined;
  /** The node that the data was on. */
  takenOn: NodeId;
  /**
   * A restore of it into an instance of its own: `proven` with what was looked at, or why it was not tried, or what
   * failed.
   */
  proof: { state: 'proven' | 'skipped' | 'failed'; atMs: number; text: string } | undefined;
};

/** A backup, and who holds it. */
export type HeldBackup = Backup & { holders: NodeId[] };

/** The data of the service, as the backup has it, in that version of the engine, is to be that lineage. */
export type RebuildOrder = { service: ServiceId; backup: Backup; version: string; lineage: LineageId };

/** `to`: the node that is to have the service in that version; `by`: who asks for it. */
export type UpgradeOrder = { service: ServiceId; version: string; to: NodeId; by: string };

export interface Backups {
  /** Of the service, also of one that was deleted, newest first, from every node that answers. */
  list(service: ServiceId | undefined): Promise<HeldBackup[]>;
  /**
   * Takes one on the node that runs the service, proves it, and brings it to two more nodes. What happens comes as
   * lines. Fails with an error with a `code`: `service_not_ready`, `service_command_failed`, `no_room` …
   */
  take(service: ServiceId, onLine: (text: string) => void, signal: AbortSignal): Promise<Backup>;
  /**
   * Puts the backup's content in place of the service's, which must be of its kind and run. Fails before anything of
   * the service is touched when it is damaged, foreign or gone: `backup_unusable`, `unavailable`.
   */
  restore(service: ServiceId, backup: Backup, onLine: (text: string) => void, signal: AbortSignal): Promise<void>;
  /** As Archives has it. */
  windows: Archives['windows'];
  recover: Archives['recover'];
  /** The content, for a person to keep elsewhere. */
  download(backup: HeldBackup, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Makes the service's data of a backup on that node, whole or not at all; nothing runs on it until the desired state
   * has the lineage. Answers the backup, which is proven by it. Fails with `backup_unusable`, `service_not_ready`,
   * `no_room` …
   */
  rebuild(node: NodeId, order: RebuildOrder, onLine: (text: string) => void, signal: AbortSignal): Promise<Backup>;
  /**
   * Lets no app in to a service that runs, takes a last backup, makes its data of it in the other version, and writes
   * that it is that one. Answers that backup. What fails before has changed nothing, and apps are let in again.
   */
  upgrade(order: UpgradeOrder, onLine: (text: string) => void, signal: AbortSignal): Promise<Backup>;
  /** Takes in what a person kept elsewhere, as a backup of the service. Fails with `backup_unusable`. */
  upload(service: ServiceId, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<Backup>;
}
