// The data of a service made anew of a backup, on any node: under a lineage of its own, in any version of the engine
// that the node has. For what was lost with its node, and for upgrades. Until the desired state has the lineage
// nothing runs on it: what fails before has changed nothing.

import { randomUUID } from 'node:crypto';
import { asLineageId, type NodeId, type ServiceId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import { SERVICE_VOLUME_PATH } from '../../crdt/limits-data.ts';
import type { DesiredView, ServiceView } from '../../crdt/view.ts';
import { formatBytes } from '../lib/format-bytes.ts';
import type { Backup, Backups, RebuildOrder, UpgradeOrder } from '../ports/backups.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Copies } from '../ports/copies.ts';
import { REBUILD_SERVICE, UPGRADE_SERVICE } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import { expectReadable } from './backup-content.ts';
import { BackupError, serviceIn } from './backup-error.ts';
import type { ServiceBackups } from './backups.ts';
import type { Contexts } from './contexts.ts';
import { NotTried, PROOF_SPARE_BYTES, type ProofParts, prove } from './proof.ts';
import { lastOf, steps } from './steps.ts';
import type { Steward } from './steward.ts';

const REASON_LENGTH_MAX = 250;

export type RebuildsParts = {
  self: NodeId;
  view: () => DesiredView;
  contexts: Contexts;
  copies: Copies<Backup, ServiceId>;
  blobs: Pick<BlobStore, 'read'>;
  gossip: Pick<Gossip, 'handleStream' | 'requestStream'>;
  nameOf: (node: NodeId) => string;
  proof: ProofParts;
  freeMemoryBytes: () => number;
  backups: Pick<ServiceBackups, 'alone' | 'dumpHere' | 'nodeOf'>;
  steward: Pick<Steward, 'shut' | 'isShut' | 'reopen'>;
  writeUpgraded: (
    service: ServiceId,
    to: { version: string } & Pick<RebuildOrder, 'lineage'> & { node: NodeId },
    by: string,
  ) => Promise<void>;
  record: (name: string, service: ServiceView, message: string) => void;
  /** Unix ms. */
  nowMs: () => number;
};

type OnLine = (text: string) => void;

export class Rebuilds implements Pick<Backups, 'rebuild' | 'upgrade'> {
  readonly #parts: RebuildsParts;
  readonly #ending = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  constructor(parts: RebuildsParts) {
    this.#parts = parts;
    parts.gossip.handleStream(REBUILD_SERVICE, (order, _from, signal) =>
      steps((onLine) => this.#run(this.#rebuildHere(order, onLine, this.#until(signal)))),
    );
    parts.gossip.handleStream(UPGRADE_SERVICE, (order, _from, signal) =>
      steps((onLine) => this.#run(this.#upgradeHere(order, onLine, this.#until(signal)))),
    );
  }

  rebuild(node: NodeId, order: RebuildOrder, onLine: OnLine, signal: AbortSignal): Promise<Backup> {
    if (node === this.#parts.self) return this.#run(this.#rebuildHere(order, onLine, this.#until(signal)));
    return lastOf(this.#parts.gossip.requestStream(node, REBUILD_SERVICE, order, { signal }), onLine);
  }

  async upgrade(order: UpgradeOrder, onLine: OnLine, signal: AbortSignal): Promise<Backup> {
    const { self, backups, gossip } = this.#parts;
    const node = backups.nodeOf(order.service);
    if (node === self) return this.#run(this.#upgradeHere(order, onLine, this.#until(signal)));
    return lastOf(gossip.requestStream(node, UPGRADE_SERVICE, order, { signal }), onLine);
  }

  async close(): Promise<void> {
    this.#ending.abort();
    await Promise.allSettled(this.#running);
  }

  #until(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#ending.signal]);
  }

  async #run<T>(work: Promise<T>): Promise<T> {
    this.#running.add(work);
    try {
      return await work;
    } finally {
      this.#running.delete(work);
    }
  }

  /** Answers the backup, which is proven by it. */
  async #rebuildHere(order: RebuildOrder, onLine: OnLine, signal: AbortSignal): Promise<Backup> {
    const { contexts, copies, blobs, proof, nowMs } = this.#parts;
    const { backup, version, lineage } = order;
    const service = { ...serviceIn(this.#parts.view(), order.service), version };
    const { volume, name, storageBytes: sizeBytes } = service;
    if (volume === undefined) throw new BackupError('backup_unusable', `${name} was provided: its data is elsewhere`);
    expectReadable(backup, service);
    const { kind, context } = contexts.of(service);
    this.#expectMemory(service);
    const holders = (await copies.list(backup.service)).find(({ id }) => id === backup.id)?.holders ?? [];
    onLine(`bringing backup ${backup.id} to ${this.#here}`);
    await copies.bring(backup, holders, signal);
    signal.throwIfAborted();
    onLine(`restoring it into ${service.kind} ${version} on ${this.#here}`);
    const into = { id: volume.id, lineage, path: SERVICE_VOLUME_PATH, sizeBytes, owner: name };
    const content = blobs.read(backup.digest);
    const text = await prove(proof, { kind, context, service, backup, content, signal, into }).catch(
      (error: Error & { code?: unknown }) => {
        if (error instanceof NotTried) throw new BackupError('service_not_ready', `${name}: ${error.message}`);
        if (error.code === 'no_room' || error.code === 'disk_full') throw error;
        throw new BackupError('backup_unusable', `it could not be restored: ${error.message}`);
      },
    );
    onLine(`restored: ${text}`);
    const proven = {
      ...backup,
      proof: { state: 'proven' as const, atMs: nowMs(), text: oneLine(text, REASON_LENGTH_MAX) },
    };
    await copies.keep(proven);
    return proven;
  }

  /** Nobody is let in from the last backup on: what would be written after it would be lost. */
  #upgradeHere(order: UpgradeOrder, onLine: OnLine, signal: AbortSignal): Promise<Backup> {
    const { backups, steward, copies, record, view, writeUpgraded } = this.#parts;
    const { version, to, by } = order;
    return backups.alone(order.service, 'it is being upgraded', async () => {
      const service = serviceIn(this.#parts.view(), order.service);
      const { id, name, kind } = service;
      const lineage = asLineageId(randomUUID());
      const isDone = (): boolean => view().services.get(id)?.volume?.lineage === lineage;
      onLine(`letting nobody in to ${name} any more`);
      try {
        await steward.shut(id);
        const last = await backups.dumpHere(service, onLine, signal);
        await copies.keep(last);
        const proven = await this.rebuild(to, { service: id, backup: last, version, lineage }, onLine, signal);
        await copies.share(proven, { signal });
        signal.throwIfAborted();
        if (!steward.isShut(id)) {
          throw new BackupError('service_not_ready', `${name} was started anew meanwhile: ask again`);
        }
        await writeUpgraded(id, { version, lineage, node: to }, by);
        record('service.upgraded', service, `${name} is ${kind} ${version}, and was ${service.version}`);
        return proven;
      } catch (error) {
        // What is written stands, also when no other node has confirmed it yet.
        if (!isDone()) {
          steward.reopen(id);
          const reason = oneLine((error as Error).message, REASON_LENGTH_MAX);
          record('service.upgrade_failed', service, `${name} is ${kind} ${service.version} as before: ${reason}`);
        }
        throw error;
      }
    });
  }

  get #here(): string {
    return this.#parts.nameOf(this.#parts.self);
  }

  #expectMemory({ name, memoryBytes }: ServiceView): void {
    const neededBytes = memoryBytes + PROOF_SPARE_BYTES;
    const freeBytes = this.#parts.freeMemoryBytes();
    if (freeBytes >= neededBytes) return;
    const [needed, free] = [formatBytes(neededBytes), formatBytes(freeBytes)];
    throw new BackupError(
      'no_room',
      `${this.#here} has ${free} of memory free, and ${name} needs ${needed} to be made there`,
    );
  }
}
