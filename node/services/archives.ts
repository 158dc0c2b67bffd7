// Logs of changes of services, for whoever wants the data of an earlier moment: fetched piece by piece from the
// services that run here, held by two more nodes, begun anew from a base each day, and made into a backup of a moment
// when a person asks. What moments there are, follows from what is held (archive-windows.ts).

import type { InstanceId, NodeId, ServiceId } from '../../crdt/ids.ts';
import { oneLine } from '../../crdt/limits.ts';
import type { DesiredView, ServiceView } from '../../crdt/view.ts';
import type { Log } from '../lib/log.ts';
import { stampedId } from '../lib/stamped-id.ts';
import type { ArchivePiece, Archives, ArchiveWindow } from '../ports/archives.ts';
import type { Backup } from '../ports/backups.ts';
import type { BlobStore } from '../ports/blobs.ts';
import type { Copies, Held } from '../ports/copies.ts';
import { RECOVER_SERVICE } from '../ports/data-methods.ts';
import type { Gossip } from '../ports/gossip.ts';
import type { ServiceArchive, ServiceCommand, ServiceContext } from '../ports/services.ts';
import type { KeptLog } from '../ports/services-desk.ts';
import { type Chain, chainFor, chainsOf, neededOf, outdatedOf, windowsOf } from './archive-windows.ts';
import { begins } from './backup-content.ts';
import { BackupError, serviceIn } from './backup-error.ts';
import type { Contexts } from './contexts.ts';
import { type ProofParts, withInstance } from './proof.ts';
import { runInService } from './run-command.ts';
import { lastOf, steps } from './steps.ts';
import { type Stored, type StoredOutputParts, storedOutput } from './stored-output.ts';

/** How often the log is closed and fetched: what is lost with a node is at most this, and what that takes. */
export const FETCH_EVERY_MS = 30_000;
const LOOK_MS = 5_000;
/** One that failed is tried again after this. */
const FAILED_AGAIN_MS = 30_000;
/** How often it begins anew from a base: to make an earlier moment takes no more log than this. */
const BASE_EVERY_MS = 24 * 60 * 60_000;
/** With the log since the oldest. */
export const BASES_KEPT = 3;
/** Of a service that was deleted, as its backups. */
const DELETED_KEPT_MS = 14 * 24 * 60 * 60_000;
const SPREAD_LOOK_MS = 60 * 60_000;
const PRUNE_MS = 10 * 60_000;
const COMMAND_TIMEOUT_MS = 60 * 60_000;
const PIECE_BYTES_MAX = 64 * 1024 ** 3;
/** Of one look; what is left is fetched by the next. */
const ROUNDS_MAX = 16;
/** The base, its log, and the backup of what comes of them. */
const PAST_STORAGE_TIMES = 4;
const REASON_LENGTH_MAX = 250;
const SAID_AGAIN_MS = 10 * 60_000;

export type ArchivesParts = {
  self: NodeId;
  view: () => DesiredView;
  contexts: Contexts;
  nodeOf: (service: ServiceId) => NodeId | undefined;
  instanceOf: (service: ServiceId) => InstanceId | undefined;
  copies: Copies<ArchivePiece, ServiceId>;
  blobs: Pick<BlobStore, 'put' | 'read'>;
  gossip: Pick<Gossip, 'handleStream' | 'requestStream'>;
  proof: ProofParts;
  /** Keeps a backup of that moment, proves it and brings it to others. */
  adopt: (
    service: ServiceView,
    made: { stored: { digest: Backup['digest']; sizeBytes: number }; atMs: number },
    onLine: (text: string) => void,
    signal: AbortSignal,
  ) => Promise<Backup>;
  record: (name: string, service: ServiceView, message: string) => void;
  log: Log;
  /** Unix ms. */
  nowMs: () => number;
};

/** What is known here of a service whose log is fetched. */
type Fetched = {
  nextAtMs: number;
  /** All that was committed by then is held, as there was nothing more to fetch. */
  coveredMs: number;
  lineage: string;
  /** The last piece that was fetched. */
  last?: string | undefined;
  needsBase: boolean;
  saidAtMs: number;
};

type Sources = { archive: ServiceArchive; context: ServiceContext; instance: InstanceId };

export class ServiceArchives implements Archives {
  readonly #parts: ArchivesParts;
  readonly #timer: NodeJS.Timeout;
  readonly #fetched = new Map<ServiceId, Fetched>();
  /** One at a time of each service. */
  readonly #busy = new Map<ServiceId, Promise<void>>();
  readonly #ending = new AbortController();
  #prunedAtMs = Number.NEGATIVE_INFINITY;
  #spreadAtMs = Number.NEGATIVE_INFINITY;
  #tidying: Promise<void> | undefined;

  constructor(parts: ArchivesParts) {
    this.#parts = parts;
    parts.gossip.handleStream(RECOVER_SERVICE, ({ service, atMs }, _from, signal) =>
      steps((onLine) => this.#recoverHere(service, atMs, onLine, signal)),
    );
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
  }

  async windows(service: ServiceId): Promise<ArchiveWindow[]> {
    return windowsOf(await this.#chains(service));
  }

  /** Of a service that runs here. */
  keptHere({ id, volume }: Pick<ServiceView, 'id' | 'volume'>): KeptLog {
    const known = this.#fetched.get(id);
    const own = this.#parts.copies.here(id).filter(({ lineage }) => lineage === volume?.lineage);
    const pieceMs = Math.max(0, ...own.filter(({ what }) => what === 'log').map(({ takenAtMs }) => takenAtMs));
    const isWhole = known?.lineage === volume?.lineage && known?.needsBase === false && own.some(isBase);
    return {
      ...(isWhole && known.coveredMs > 0 ? { coveredMs: known.coveredMs } : {}),
      ...(pieceMs > 0 ? { pieceMs } : {}),
    };
  }

  async recover(
    service: ServiceId,
    atMs: number,
    onLine: (text: string) => void,
    signal: AbortSignal,
  ): Promise<Backup> {
    const { nodeOf, self, gossip } = this.#parts;
    // Where nobody runs it, this node tries: what it takes is held by others.
    const node = nodeOf(service) ?? self;
    if (node === self) return this.#recoverHere(service, atMs, onLine, signal);
    return lastOf(gossip.requestStream(node, RECOVER_SERVICE, { service, atMs }, { signal }), onLine);
  }

  /** Fetches what is due, of services that run here. */
  look(): void {
    const { view, nowMs } = this.#parts;
    for (const service of view().services.values()) {
      if (service.wal !== true || service.stopped || this.#busy.has(service.id)) continue;
      if (nowMs() < (this.#fetched.get(service.id)?.nextAtMs ?? 0)) continue;
      void this.fetch(service.id);
    }
    this.#tidying ??= this.#tidy().finally(() => {
      this.#tidying = undefined;
    });
  }

  /** Never fails; says so when it cannot. */
  fetch(id: ServiceId): Promise<void> {
    const running = this.#busy.get(id);
    if (running !== undefined) return running;
    const fetching = this.#fetch(id).finally(() => this.#busy.delete(id));
    this.#busy.set(id, fetching);
    return fetching;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#ending.abort();
    await Promise.all([...this.#busy.values(), this.#tidying]);
  }

  async #fetch(id: ServiceId): Promise<void> {
    const { view, nowMs, record, log } = this.#parts;
    const service = view().services.get(id);
    if (service === undefined) return;
    const known = this.#knownOf(service);
    const sources = this.#sourcesOf(service);
    if (known === undefined || sources === undefined) return;
    known.nextAtMs = nowMs() + FETCH_EVERY_MS;
    try {
      await this.#fetchLog(service, sources, known);
      if (this.#isBaseDue(service, known)) await this.#takeBase(service, sources, known);
    } catch (error) {
      known.nextAtMs = nowMs() + FAILED_AGAIN_MS;
      if (this.#ending.signal.aborted) return;
      const reason = oneLine((error as Error).message, REASON_LENGTH_MAX);
      log.warn('service.log_not_fetched', { service: id, error });
      if (nowMs() - known.saidAtMs < SAID_AGAIN_MS) return;
      known.saidAtMs = nowMs();
      record('service.log_failed', service, `the log of changes of ${service.name} is not kept: ${reason}`);
    }
  }

  #knownOf({ id, volume }: ServiceView): Fetched | undefined {
    if (volume === undefined) return undefined;
    const known = this.#fetched.get(id);
    if (known?.lineage === volume.lineage) return known;
    const fresh = { nextAtMs: 0, coveredMs: 0, lineage: volume.lineage, needsBase: false, saidAtMs: 0 };
    this.#fetched.set(id, fresh);
    return fresh;
  }

  #sourcesOf(service: ServiceView): Sources | undefined {
    const instance = this.#parts.instanceOf(service.id);
    if (instance === undefined) return undefined;
    const { kind, context } = this.#parts.contexts.of(service);
    return kind.archive === undefined ? undefined : { archive: kind.archive, context, instance };
  }

  async #fetchLog(service: ServiceView, { archive, context, instance }: Sources, known: Fetched): Promise<void> {
    const { nowMs, proof, record } = this.#parts;
    const limits = { timeoutMs: COMMAND_TIMEOUT_MS, signal: this.#ending.signal };
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const begunMs = nowMs();
      const printed = await runInService(proof.runtime, instance, archive.seal(context), limits);
      const lines = printed.split('\n');
      const names = lines.filter((line) => archive.isName(line));
      if (lines.includes('gap') || this.#isGapBefore(service, archive, names[0], known)) {
        known.needsBase = true;
        const text = `some changes of ${service.name} were never fetched: moments until its next base cannot be made again`;
        record('service.log_gap', service, text);
      }
      known.last = names.at(-1) ?? known.last;
      if (names.length === 0) {
        known.coveredMs = begunMs;
        return;
      }
      for (const run of runsOf(names, archive)) {
        await this.#keepRun(service, { archive, context, instance }, run, run.at(-1) === names.at(-1) ? begunMs : 0);
      }
      // What was closed by then has been fetched: nothing older is left.
      known.coveredMs = begunMs;
    }
  }

  /** Its log was not kept for a while, or not all of it is here that was. */
  #isGapBefore({ id }: ServiceView, archive: ServiceArchive, name: string | undefined, known: Fetched): boolean {
    if (name === undefined) return false;
    known.last ??= this.#parts.copies
      .here(id)
      .filter(({ what, lineage }) => what === 'log' && lineage === known.lineage)
      .map(({ last }) => last)
      .sort()
      .at(-1);
    return known.last !== undefined && name > archive.next(known.last);
  }

  /** Dropped where it was only once it is held here, and by others where there are any. */
  async #keepRun(service: ServiceView, sources: Sources, names: readonly string[], takenAtMs: number): Promise<void> {
    const { proof, copies } = this.#parts;
    const { archive, context, instance } = sources;
    const stored = await this.#store(archive.pack(context, names), instance);
    await copies.share(
      this.#describe(service, { what: 'log', first: names[0]!, last: names.at(-1)!, takenAtMs }, stored),
      { signal: this.#ending.signal },
    );
    const limits = { timeoutMs: COMMAND_TIMEOUT_MS, signal: this.#ending.signal };
    await runInService(proof.runtime, instance, archive.drop(context, names), limits);
  }

  #isBaseDue({ id, volume }: ServiceView, known: Fetched): boolean {
    const { copies, nowMs } = this.#parts;
    const newest = copies.here(id).find(({ what, lineage }) => what === 'base' && lineage === volume?.lineage);
    return known.needsBase || newest === undefined || nowMs() - newest.takenAtMs >= BASE_EVERY_MS;
  }

  async #takeBase(service: ServiceView, { archive, context, instance }: Sources, known: Fetched): Promise<void> {
    const { proof, copies, nowMs, record } = this.#parts;
    const { signal } = this.#ending;
    const limits = { timeoutMs: COMMAND_TIMEOUT_MS, signal };
    const printed = await runInService(proof.runtime, instance, archive.position(context), limits);
    const first = printed.split('\n').find((line) => archive.isName(line));
    if (first === undefined) throw new Error('the engine does not say where its log is');
    const stored = await this.#store(archive.base(context), instance);
    const piece = this.#describe(service, { what: 'base', first, last: first, takenAtMs: nowMs() }, stored);
    await copies.share(piece, { signal });
    known.needsBase = false;
    // It is of use from here on: with what was written while it was taken.
    await this.#fetchLog(service, { archive, context, instance }, known);
    record('service.base_taken', service, `a base of ${service.name}: moments from now on can be made again`);
  }

  #store(command: ServiceCommand, instance: InstanceId): Promise<Stored> {
    const limits = { timeoutMs: COMMAND_TIMEOUT_MS, sizeBytesMax: PIECE_BYTES_MAX, signal: this.#ending.signal };
    return storedOutput(this.#outputs, instance, command, limits);
  }

  get #outputs(): StoredOutputParts {
    const { blobs, proof } = this.#parts;
    return { runtime: proof.runtime, blobs };
  }

  #describe(
    { id, volume }: ServiceView,
    piece: Pick<ArchivePiece, 'what' | 'first' | 'last' | 'takenAtMs'>,
    { digest, sizeBytes }: Pick<ArchivePiece, 'digest' | 'sizeBytes'>,
  ): ArchivePiece {
    const { lineage } = volume!;
    return {
      id: stampedId(this.#parts.nowMs(), id, lineage, piece.what, piece.first, digest),
      service: id,
      lineage,
      ...piece,
      ...{ digest, sizeBytes },
    };
  }

  async #chains(id: ServiceId): Promise<Chain<Held<ArchivePiece>>[]> {
    const { copies, view, contexts } = this.#parts;
    const service = view().services.get(id);
    const archive = service === undefined ? undefined : contexts.of(service).kind.archive;
    if (archive === undefined) return [];
    const chains = chainsOf(await copies.list(id), (name) => archive.next(name));
    const covered = this.#fetched.get(id);
    const newest = chains.at(-1);
    // Nothing was written since the last piece: there is none to be fetched, and nothing is missing.
    if (
      newest !== undefined &&
      covered !== undefined &&
      covered.lineage === newest.base.lineage &&
      !covered.needsBase
    ) {
      for (const chain of chains) {
        if (chain.log.at(-1)?.last === newest.log.at(-1)?.last) chain.toMs = Math.max(chain.toMs, covered.coveredMs);
      }
    }
    return chains;
  }

  async #recoverHere(
    id: ServiceId,
    atMs: number,
    onLine: (text: string) => void,
    signal: AbortSignal,
  ): Promise<Backup> {
    const { view, contexts, adopt, nowMs } = this.#parts;
    const service = serviceIn(view(), id);
    const { kind } = contexts.of(service);
    if (kind.archive === undefined) throw new BackupError('backup_unusable', `${service.kind} keeps no log of changes`);
    const until = AbortSignal.any([signal, this.#ending.signal]);
    if (atMs > nowMs()) throw new BackupError('outside_window', 'that moment has not come yet');
    if (this.#sourcesOf(service) !== undefined) {
      onLine('fetching the newest changes');
      await this.fetch(id);
      // One that was under way may have begun before that moment.
      if ((this.#fetched.get(id)?.coveredMs ?? 0) < atMs) await this.fetch(id);
    }
    const chains = await this.#chains(id);
    const chain = chainFor(chains, atMs);
    if (chain === undefined) throw new BackupError('outside_window', `${service.name} ${refusalOf(windowsOf(chains))}`);
    const stored = await this.#makePast(service, chain, atMs, { onLine, signal: until });
    return adopt(service, { stored, atMs }, onLine, until);
  }

  async #makePast(
    service: ServiceView,
    chain: Chain<Held<ArchivePiece>>,
    atMs: number,
    { onLine, signal }: { onLine: (text: string) => void; signal: AbortSignal },
  ) {
    const { contexts, copies, blobs, proof } = this.#parts;
    const { kind, context } = contexts.of(service);
    const { archive, backupMagic } = kind;
    if (archive === undefined) throw new BackupError('backup_unusable', `${service.kind} keeps no log of changes`);
    const pieces = [chain.base, ...neededOf(chain, atMs)];
    onLine(`bringing a base and ${pieces.length - 1} pieces of the log here`);
    for (const { holders, ...piece } of pieces) await copies.bring(piece, holders, signal);
    const volumeBytes = PAST_STORAGE_TIMES * service.storageBytes;
    return withInstance(proof, { service, volumeBytes, signal }, async (instance) => {
      const limits = { timeoutMs: COMMAND_TIMEOUT_MS, signal };
      for (const { what, digest } of pieces) {
        const unpack = what === 'base' ? archive.unpackBase(context) : archive.unpackLog(context);
        await runInService(proof.runtime, instance, unpack, { ...limits, input: blobs.read(digest) });
      }
      onLine('making the data of that moment');
      return storedOutput(this.#outputs, instance, archive.recover(context, atMs), {
        ...{ ...limits, sizeBytesMax: PIECE_BYTES_MAX },
        checked: (chunks) => begins(chunks, backupMagic, service.kind),
      });
    });
  }

  /** Forgets what is beyond the bases that are kept, and has others hold what too few do. Never fails. */
  async #tidy(): Promise<void> {
    const { copies, view, nowMs, log } = this.#parts;
    try {
      if (nowMs() - this.#prunedAtMs >= PRUNE_MS) {
        this.#prunedAtMs = nowMs();
        const { services } = view();
        const surplus = [...Map.groupBy(copies.here(), ({ service }) => service)].flatMap(([id, pieces]) =>
          services.has(id)
            ? outdatedOf(pieces, BASES_KEPT)
            : pieces.filter(({ takenAtMs }) => nowMs() - takenAtMs >= DELETED_KEPT_MS),
        );
        await copies.forget(surplus.map(({ id }) => id));
      }
      if (nowMs() - this.#spreadAtMs >= SPREAD_LOOK_MS) {
        this.#spreadAtMs = nowMs();
        await this.#spread();
      }
    } catch (error) {
      if (!this.#ending.signal.aborted) log.warn('service.logs_not_tidied', { error });
    }
  }

  async #spread(): Promise<void> {
    const { copies, view, instanceOf } = this.#parts;
    for (const { id, wal } of view().services.values()) {
      if (wal !== true || instanceOf(id) === undefined) continue;
      await copies.spread(await copies.list(id), this.#ending.signal);
    }
  }
}

const isBase = ({ what }: ArchivePiece): boolean => what === 'base';

/** Pieces that follow one another without a gap. */
function runsOf(names: readonly string[], archive: ServiceArchive): string[][] {
  const runs: string[][] = [];
  for (const name of names) {
    const run = runs.at(-1);
    if (run !== undefined && archive.next(run.at(-1)!) === name) run.push(name);
    else runs.push([name]);
  }
  return runs;
}

function refusalOf(windows: readonly ArchiveWindow[]): string {
  if (windows.length === 0) return 'has no base yet, or no log since: give it --wal, and a minute';
  const texts = windows.map(
    ({ fromMs, toMs }) => `${new Date(fromMs).toISOString()} to ${new Date(toMs).toISOString()}`,
  );
  return `can be restored to any moment from ${texts.slice(-3).join(', and from ')}`;
}
