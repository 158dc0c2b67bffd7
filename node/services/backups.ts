// Backups of services, from any node: taken where the service runs, proven there, held by two more nodes, put back
// when a person asks. Runs those that are due. What is held is in the index of each node; nothing of it is desired
// state.

import type { InstanceId, NodeId, ServiceId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import type { DesiredView, ServiceView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import { stampedId } from '../lib/stamped-id.ts';
import type { Backup, Backups, HeldBackup } from '../ports/backups.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Copies } from '../ports/copies.ts';
import { BACKUP_SERVICE, RESTORE_SERVICE } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import { begins, expectReadable } from './backup-content.ts';
import { BackupError, serviceIn } from './backup-error.ts';
import type { Contexts } from './contexts.ts';
import { NotTried, PROOF_SPARE_BYTES, type ProofParts, prove } from './proof.ts';
import { CommandFailed, runInService } from './run-command.ts';
import { lastOf, steps } from './steps.ts';
import { storedOutput } from './stored-output.ts';
import { worthKeeping } from './worth-keeping.ts';

/** Of one service; larger data is moved by other means. */
const BACKUP_BYTES_MAX = 64 * 1024 ** 3;
const COMMAND_TIMEOUT_MS = 60 * 60_000;
/** How often is looked whether one is due. */
const DUE_LOOK_MS = 60_000;
/** How often is looked whether each is held by enough nodes: one may have died, or the first other one joined. */
const SPREAD_LOOK_MS = 60 * 60_000;
/** A backup that failed is tried again after this. */
const FAILED_AGAIN_MS = 15 * 60_000;
/** Of a service that was deleted, the backups stay so long. */
const DELETED_KEPT_MS = 14 * 24 * 60 * 60_000;
const REASON_LENGTH_MAX = 250;

export type BackupsParts = {
  self: NodeId;
  view: () => DesiredView;
  contexts: Contexts;
  /** The node that runs the service, ready. */
  nodeOf: (service: ServiceId) => NodeId | undefined;
  instanceOf: (service: ServiceId) => InstanceId | undefined;
  copies: Copies<Backup, ServiceId>;
  blobs: Pick<BlobStore, 'put' | 'read' | 'remove'>;
  gossip: Pick<Gossip, 'handleStream' | 'requestStream'>;
  nameOf: (node: NodeId) => string;
  proof: ProofParts;
  freeMemoryBytes: () => number;
  /** Called when other data is in the place of the service's, which runs here. */
  restored: (service: ServiceId) => void;
  record: (name: string, service: ServiceView, message: string) => void;
  log: Log;
  /** Unix ms. */
  nowMs: () => number;
};

export class ServiceBackups implements Omit<Backups, 'rebuild' | 'upgrade' | 'windows' | 'recover'> {
  readonly #parts: BackupsParts;
  readonly #timer: NodeJS.Timeout;
  /** One at a time of each service. */
  readonly #busy = new Map<ServiceId, string>();
  #spreadAtMs = Number.NEGATIVE_INFINITY;
  #spreading = false;
  readonly #failedAtMs = new Map<ServiceId, number>();
  readonly #ending = new AbortController();
  readonly #running = new Set<Promise<unknown>>();

  constructor(parts: BackupsParts) {
    this.#parts = parts;
    const { gossip } = parts;
    gossip.handleStream(BACKUP_SERVICE, ({ service }, _from, signal) =>
      steps((onLine) => this.#takeHere(service, onLine, signal)),
    );
    gossip.handleStream(RESTORE_SERVICE, ({ service, backup }, _from, signal) =>
      steps(async (onLine) => {
        await this.#restoreHere(service, backup, onLine, signal);
        return backup;
      }),
    );
    this.#timer = setInterval(() => this.lookForDue(), DUE_LOOK_MS);
    this.#timer.unref();
  }

  list(service: ServiceId | undefined): Promise<HeldBackup[]> {
    return this.#parts.copies.list(service);
  }

  async take(service: ServiceId, onLine: (text: string) => void, signal: AbortSignal): Promise<Backup> {
    const node = this.nodeOf(service);
    if (node === this.#parts.self) return this.#takeHere(service, onLine, signal);
    return lastOf(this.#parts.gossip.requestStream(node, BACKUP_SERVICE, { service }, { signal }), onLine);
  }

  async restore(
    service: ServiceId,
    backup: Backup,
    onLine: (text: string) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const node = this.nodeOf(service);
    if (node === this.#parts.self) return this.#restoreHere(service, backup, onLine, signal);
    await lastOf(this.#parts.gossip.requestStream(node, RESTORE_SERVICE, { service, backup }, { signal }), onLine);
  }

  async *download(backup: HeldBackup, signal: AbortSignal): AsyncIterable<Uint8Array> {
    await this.#parts.copies.bring(backup, backup.holders, signal);
    yield* this.#parts.blobs.read(backup.digest);
  }

  async upload(service: ServiceId, content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<Backup> {
    const view = serviceIn(this.#parts.view(), service);
    const { kind } = this.#parts.contexts.of(view);
    const { blobs, copies } = this.#parts;
    const stored = await blobs.put(begins(content, kind.backupMagic, view.kind), { sizeBytesMax: BACKUP_BYTES_MAX });
    signal.throwIfAborted();
    const backup = this.#describe(view, stored);
    await copies.share(backup);
    return backup;
  }

  /** Content that is in the store here, of the data as it was at another moment than now. */
  async adopt(
    service: ServiceView,
    { stored, atMs }: { stored: { digest: Backup['digest']; sizeBytes: number }; atMs: number },
    onLine: (text: string) => void,
    signal: AbortSignal,
  ): Promise<Backup> {
    const { copies, nameOf, nowMs } = this.#parts;
    const backup = { ...this.#describe(service, stored), takenAtMs: atMs, madeAtMs: nowMs() };
    await copies.keep(backup);
    const proven = await this.#prove(service, backup, onLine, signal);
    const holders = await copies.share(proven);
    onLine(`held by ${holders.map((node) => nameOf(node)).join(', ')}`);
    return proven;
  }

  /** Those that are due by their services' schedules, of services that run here. */
  lookForDue(): void {
    const { view, instanceOf, copies, nowMs } = this.#parts;
    const { services } = view();
    for (const service of services.values()) {
      if (service.backupEveryMs === 0 || service.stopped || instanceOf(service.id) === undefined) continue;
      if (this.#busy.has(service.id) || this.#keepsNothing(service)) continue;
      // Not what was uploaded, which nobody has looked at, nor one that was found to be bad.
      const own = copies
        .here(service.id)
        .find(({ madeAtMs, proof }) => madeAtMs === undefined && proof !== undefined && proof.state !== 'failed');
      const newestMs = own?.takenAtMs ?? service.createdAtMs;
      const failedMs = this.#failedAtMs.get(service.id);
      const due = nowMs() - newestMs >= service.backupEveryMs;
      if (!due || (failedMs !== undefined && nowMs() - failedMs < FAILED_AGAIN_MS)) continue;
      void this.#takeHere(service.id, () => {}, this.#ending.signal).catch(() => {});
    }
    void this.#prune();
    if (nowMs() - this.#spreadAtMs < SPREAD_LOOK_MS || this.#spreading) return;
    this.#spreadAtMs = nowMs();
    this.#spreading = true;
    const spreading = this.#spread().finally(() => {
      this.#spreading = false;
      this.#running.delete(spreading);
    });
    this.#running.add(spreading);
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#ending.abort();
    await Promise.allSettled(this.#running);
  }

  #takeHere(service: ServiceId, onLine: (text: string) => void, signal: AbortSignal): Promise<Backup> {
    const { copies } = this.#parts;
    return this.alone(service, 'a backup of it is being taken', async () => {
      const view = serviceIn(this.#parts.view(), service);
      if (this.#keepsNothing(view)) throw new BackupError('nothing_to_back_up', `${view.kind} keeps nothing`);
      const until = AbortSignal.any([signal, this.#ending.signal]);
      try {
        const backup = await this.dumpHere(view, onLine, until);
        // From here on its content is no garbage, however long the rest takes.
        await copies.keep(backup);
        const proven = await this.#prove(view, backup, onLine, until);
        const holders = await copies.share(proven);
        onLine(`held by ${holders.map((node) => this.#parts.nameOf(node)).join(', ')}`);
        this.#failedAtMs.delete(service);
        this.#parts.record(
          'service.backed_up',
          view,
          `backup ${proven.id} of ${view.name}: ${proven.proof?.text ?? ''}`,
        );
        await this.#prune();
        return proven;
      } catch (error) {
        this.#failedAtMs.set(service, this.#parts.nowMs());
        const reason = oneLine((error as Error).message, REASON_LENGTH_MAX);
        this.#parts.record('service.backup_failed', view, `no backup of ${view.name}: ${reason}`);
        throw error;
      }
    });
  }

  /** What the service, which runs here, holds now. For whoever has it alone; kept by nobody yet. */
  async dumpHere(service: ServiceView, onLine: (text: string) => void, signal: AbortSignal): Promise<Backup> {
    const { contexts, blobs, copies, proof } = this.#parts;
    const { kind, context } = contexts.of(service);
    const { backup } = kind;
    if (backup === undefined) throw new CommandFailed(`${service.kind} keeps nothing`);
    const instance = this.#expectInstance(service);
    onLine(`taking a backup of ${service.name}`);
    const parts = { runtime: proof.runtime, blobs, kept: () => copies.digests() };
    const stored = await storedOutput(parts, instance, backup(context), {
      ...{ timeoutMs: COMMAND_TIMEOUT_MS, sizeBytesMax: BACKUP_BYTES_MAX, signal },
      checked: (chunks) => begins(chunks, kind.backupMagic, service.kind),
    });
    onLine(`${stored.sizeBytes} bytes`);
    return this.#describe(service, stored);
  }

  async #prove(
    service: ServiceView,
    backup: Backup,
    onLine: (text: string) => void,
    signal: AbortSignal,
  ): Promise<Backup> {
    const { contexts, blobs, proof, freeMemoryBytes, nowMs } = this.#parts;
    const done = (state: NonNullable<Backup['proof']>['state'], text: string): Backup => {
      onLine(state === 'proven' ? `proven: ${text}` : text);
      return { ...backup, proof: { state, atMs: nowMs(), text: oneLine(text, REASON_LENGTH_MAX) } };
    };
    const neededBytes = service.memoryBytes + PROOF_SPARE_BYTES;
    if (freeMemoryBytes() < neededBytes) {
      return done(
        'skipped',
        `not tried: ${neededBytes} bytes of memory are not free on ${this.#parts.nameOf(this.#parts.self)}`,
      );
    }
    const { kind, context } = contexts.of(service);
    onLine('restoring it into an instance of its own');
    const content = blobs.read(backup.digest);
    try {
      return done('proven', await prove(proof, { kind, context, service, backup, content, signal }));
    } catch (error) {
      if (error instanceof NotTried) return done('skipped', `not tried: ${error.message}`);
      const failed = done('failed', `it could not be restored: ${(error as Error).message}`);
      await this.#parts.copies.keep(failed);
      throw new BackupError('backup_unusable', failed.proof?.text ?? '');
    }
  }

  #restoreHere(service: ServiceId, backup: Backup, onLine: (text: string) => void, signal: AbortSignal): Promise<void> {
    return this.alone(service, 'it is being restored', async () => {
      const { contexts, blobs, copies, proof, record, restored } = this.#parts;
      const view = serviceIn(this.#parts.view(), service);
      const { kind, context } = contexts.of(view);
      expectReadable(backup, view);
      if (kind.restore === undefined) throw new BackupError('backup_unusable', `${view.kind} keeps nothing`);
      const instance = this.#expectInstance(view);
      onLine(`bringing backup ${backup.id} here`);
      const held = (await this.list(backup.service)).find(({ id }) => id === backup.id);
      await copies.bring(backup, held?.holders ?? [], signal);
      signal.throwIfAborted();
      onLine('restoring it');
      const input = blobs.read(backup.digest);
      try {
        // Once it has begun, it goes on without whoever asked: half of it would be worse than either.
        await runInService(proof.runtime, instance, kind.restore(context), {
          timeoutMs: COMMAND_TIMEOUT_MS,
          input,
          signal: this.#ending.signal,
        });
      } catch (error) {
        throw new BackupError('backup_unusable', `${view.name} is as it was: ${(error as Error).message}`);
      }
      restored(service);
      record('service.restored', view, `${view.name} was restored from backup ${backup.id}`);
    });
  }

  /** Of services that run here, brings those that too few nodes hold to others. */
  async #spread(): Promise<void> {
    const { view, instanceOf, copies } = this.#parts;
    for (const { id, backupsKept } of view().services.values()) {
      if (instanceOf(id) === undefined) continue;
      if (this.#ending.signal.aborted) return;
      await copies.spread(worthKeeping(await this.list(id), Math.max(1, backupsKept)), this.#ending.signal);
    }
  }

  /** Forgets what is beyond its service's number, or of one that has been gone for long. The blobs go as garbage. */
  async #prune(): Promise<void> {
    const { copies, view, nowMs, log } = this.#parts;
    const { services } = view();
    const surplus: string[] = [];
    for (const [id, backups] of Map.groupBy(copies.here(), ({ service }) => service)) {
      const service = services.get(id);
      const kept =
        service === undefined
          ? backups.filter(({ takenAtMs }) => nowMs() - takenAtMs < DELETED_KEPT_MS)
          : worthKeeping(backups, Math.max(1, service.backupsKept));
      surplus.push(...backups.filter((one) => !kept.includes(one)).map((one) => one.id));
    }
    await copies.forget(surplus).catch((error: unknown) => log.warn('backups.not_pruned', { error }));
  }

  /** One work at a time on each service. Fails with `service_busy`. */
  async alone<T>(service: ServiceId, doing: string, work: () => Promise<T>): Promise<T> {
    const busy = this.#busy.get(service);
    if (busy !== undefined) throw new BackupError('service_busy', `${busy}: wait for it to end`);
    this.#busy.set(service, doing);
    const working = work();
    this.#running.add(working);
    try {
      return await working;
    } finally {
      this.#running.delete(working);
      this.#busy.delete(service);
    }
  }

  /** Also of one whose engine is not here, which says so when it is tried. */
  #keepsNothing(service: ServiceView): boolean {
    try {
      return this.#parts.contexts.of(service).kind.backup === undefined;
    } catch {
      return false;
    }
  }

  #describe(service: ServiceView, stored: { digest: Backup['digest']; sizeBytes: number }): Backup {
    const { self, nowMs } = this.#parts;
    const takenAtMs = nowMs();
    return {
      id: stampedId(takenAtMs, service.id, stored.digest),
      service: service.id,
      name: service.name,
      kind: service.kind,
      version: service.version,
      ...stored,
      takenAtMs,
      takenOn: self,
      proof: undefined,
    };
  }

  /** Where it runs, ready. Fails with `service_not_ready`. */
  nodeOf(id: ServiceId): NodeId {
    const node = this.#parts.nodeOf(id);
    if (node !== undefined) return node;
    const { name } = serviceIn(this.#parts.view(), id);
    throw new BackupError('service_not_ready', `${name} does not run: see peer service status ${name}`);
  }

  #expectInstance(service: ServiceView): InstanceId {
    const instance = this.#parts.instanceOf(service.id);
    if (instance !== undefined) return instance;
    throw new BackupError(
      'service_not_ready',
      `${service.name} does not run here: see peer service status ${service.name}`,
    );
  }
}
