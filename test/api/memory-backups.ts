// Backups in memory: those of services that run, held by two nodes, and what each service holds, as text.

import { createHash } from 'node:crypto';
import { buffer } from 'node:stream/consumers';
import { asDigest, asLineageId, type NodeId, type ServiceId } from '../../crdt/ids.ts';
import type { ServiceView } from '../../crdt/view.ts';
import type { ArchiveWindow } from '../../node/ports/archives.ts';
import type { Backup, Backups, HeldBackup, RebuildOrder, UpgradeOrder } from '../../node/ports/backups.ts';
import type { NodeService } from '../../node/ports/node-service.ts';
import { BackupError } from '../../node/services/backup-error.ts';

const MAGIC = 'BACKUP ';
const MOMENTS_FROM_MS = Date.UTC(2026, 0, 1);

export class MemoryBackups implements Backups {
  /** What a service holds, by its id. */
  readonly data = new Map<ServiceId, string>();
  /** How the next ones are proven. */
  proof: Backup['proof'] = { state: 'proven', atMs: Date.now(), text: '3 tables' };
  /** Set to make the next calls fail with it, after a line. */
  fails: Error | undefined;
  readonly rebuilt: (RebuildOrder & { node: NodeId })[] = [];
  readonly #held: { backup: HeldBackup; content: Buffer }[] = [];
  readonly #serviceOf: (id: ServiceId) => ServiceView | undefined;
  readonly #isReady: (id: ServiceId) => boolean;
  readonly #holders: NodeId[];
  readonly #write: NodeService['write'];

  constructor(parts: {
    serviceOf: (id: ServiceId) => ServiceView | undefined;
    isReady: (id: ServiceId) => boolean;
    holders: NodeId[];
    write: NodeService['write'];
  }) {
    this.#serviceOf = parts.serviceOf;
    this.#isReady = parts.isReady;
    this.#holders = parts.holders;
    this.#write = parts.write;
  }

  async list(service: ServiceId | undefined): Promise<HeldBackup[]> {
    const found = this.#held.filter(({ backup }) => service === undefined || backup.service === service);
    return found.map(({ backup }) => backup).reverse();
  }

  async take(service: ServiceId, onLine: (text: string) => void): Promise<Backup> {
    const view = this.#expectReady(service);
    onLine(`taking a backup of ${view.name}`);
    if (this.fails !== undefined) throw this.fails;
    return this.#keep(view, Buffer.from(MAGIC + (this.data.get(service) ?? '')), this.proof);
  }

  async restore(service: ServiceId, { kind, digest }: Backup, onLine: (text: string) => void): Promise<void> {
    const view = this.#expectReady(service);
    if (kind !== view.kind)
      throw new BackupError('backup_unusable', `it is of ${kind}, and ${view.name} is ${view.kind}`);
    onLine('restoring it');
    const { content } = this.#held.find(({ backup }) => backup.digest === digest)!;
    this.data.set(service, content.toString().slice(MAGIC.length));
  }

  async windows(service: ServiceId): Promise<ArchiveWindow[]> {
    return this.#serviceOf(service)?.wal === true ? [{ fromMs: MOMENTS_FROM_MS, toMs: Date.now() }] : [];
  }

  async recover(service: ServiceId, atMs: number): Promise<Backup> {
    const [window] = await this.windows(service);
    if (window === undefined || atMs < window.fromMs)
      throw new BackupError('outside_window', 'there is no such moment');
    const content = Buffer.from(`${MAGIC}${new Date(atMs).toISOString()}`);
    return { ...this.#keep(this.#expectReady(service), content, this.proof), takenAtMs: atMs };
  }

  async *download({ id }: HeldBackup): AsyncIterable<Uint8Array> {
    if (this.fails !== undefined) throw this.fails;
    const { content } = this.#held.find(({ backup }) => backup.id === id)!;
    for (const byte of content) yield Buffer.from([byte]);
  }

  async rebuild(node: NodeId, order: RebuildOrder, onLine: (text: string) => void): Promise<Backup> {
    onLine('restoring it');
    if (this.fails !== undefined) throw this.fails;
    this.rebuilt.push({ ...order, node });
    return order.backup;
  }

  async upgrade({ service, version, to, by }: UpgradeOrder, onLine: (text: string) => void): Promise<Backup> {
    const backup = await this.take(service, onLine);
    const lineage = asLineageId(`lineage-${version}`);
    await this.#write([{ change: 'upgradeService', service, version, node: to, lineage }], by);
    return backup;
  }

  async upload(service: ServiceId, content: AsyncIterable<Uint8Array>): Promise<Backup> {
    const bytes = await buffer(content);
    if (!bytes.toString().startsWith(MAGIC))
      throw new BackupError('backup_unusable', 'this is no backup, or it is empty');
    return this.#keep(this.#serviceOf(service)!, bytes, undefined);
  }

  #keep({ id, name, kind, version }: ServiceView, content: Buffer, proof: Backup['proof']): Backup {
    const digest = createHash('sha256').update(content).digest('hex');
    const backup: Backup = {
      id: `backup-${this.#held.length + 1}`,
      service: id,
      name,
      kind,
      version,
      digest: asDigest(`sha256:${digest}`),
      sizeBytes: content.length,
      takenAtMs: Date.now(),
      takenOn: this.#holders[0]!,
      proof,
    };
    this.#held.push({ backup: { ...backup, holders: this.#holders }, content });
    return backup;
  }

  #expectReady(id: ServiceId): ServiceView {
    const view = this.#serviceOf(id)!;
    if (this.#isReady(id)) return view;
    throw new BackupError('service_not_ready', `${view.name} does not run: see peer service status ${view.name}`);
  }
}
