// Proves a backup: restores it into an instance of its own, beside the service, on an empty volume, and lets the
// engine check what came of it. Nothing of it is left afterwards, whatever happens, unless what came of it is to
// become the service's data.

import { randomBytes, randomUUID } from 'node:crypto';
import { asInstanceId, asLineageId, asVolumeId, type InstanceId, type VolumeId } from '../../crdt/ids.ts';
import type { ServiceView } from '../../crdt/view.ts';
import type { InstanceSpec, VolumeMount } from '../core/types.ts';
import type { Backup } from '../ports/backups.ts';
import type { CommandRunner } from '../ports/commands.ts';
import type { Runtime, RuntimeEvent } from '../ports/runtime.ts';
import type { ServiceContext, ServiceKind } from '../ports/services.ts';
import { runInService } from './run-command.ts';

/** From its start to the first answer. */
const START_TIMEOUT_MS = 180_000;
const RESTORE_TIMEOUT_MS = 60 * 60_000;
const CHECK_TIMEOUT_MS = 10 * 60_000;
/** Without so much memory beside what runs, no such instance is started: what runs comes first. */
export const PROOF_SPARE_BYTES = 128 * 1024 ** 2;
/** Process type of such an instance: no app's, and not the service's own. */
export const PROOF_PROCESS = 'proof';

/**
 * Marks instances that are no slot's, and their volumes: the core leaves what it does not know to whoever started it.
 */
export const isProof = (id: InstanceId | VolumeId): boolean => id.startsWith('proof-');

/** Nothing is known of the backup: its instance did not come up, or whoever asked wants it no more. */
export class NotTried extends Error {}

export type ProofParts = {
  runtime: Pick<Runtime, 'start' | 'stop'> & Pick<CommandRunner, 'exec'>;
  /** Events of instances that are no slot's. */
  onEvent: (listener: (event: RuntimeEvent) => void) => () => void;
  removeVolume: (volume: Pick<VolumeMount, 'id' | 'lineage'>) => Promise<void>;
  /** The volume of an instance that has ended is another's from now on. */
  renameVolume: (from: Pick<VolumeMount, 'id' | 'lineage'>, to: RebuiltVolume) => Promise<void>;
};

export type RebuiltVolume = Pick<VolumeMount, 'id' | 'lineage' | 'path' | 'sizeBytes'> & { owner: string };

/**
 * Answers what was looked at, one line. Fails with NotTried, or with the engine's own words. `into`: what is whole
 * becomes that, once its instance has ended by the engine's own signal.
 */
export async function prove(
  parts: ProofParts,
  asked: {
    kind: ServiceKind;
    context: ServiceContext;
    service: ServiceView;
    backup: Backup;
    content: AsyncIterable<Uint8Array>;
    signal: AbortSignal;
    into?: RebuiltVolume;
  },
): Promise<string> {
  const { kind, context, signal } = asked;
  const { restore, check } = kind;
  if (restore === undefined || check === undefined) return 'a kind that keeps nothing';
  const { runtime } = parts;
  const volumeBytes = asked.service.storageBytes;
  return withInstance(parts, { service: asked.service, volumeBytes, signal, into: asked.into }, async (id) => {
    const limits = { timeoutMs: RESTORE_TIMEOUT_MS, input: asked.content, signal };
    await runInService(runtime, id, restore(context), limits);
    const found = await runInService(runtime, id, check(context), { timeoutMs: CHECK_TIMEOUT_MS, signal });
    return found.trim().split('\n').at(-1) ?? '';
  });
}

/**
 * Of the service's engine, beside it, on an empty volume, for as long as the work takes. `into`: as prove() has it.
 * Fails with NotTried, or as the work does.
 */
export async function withInstance<T>(
  { runtime, onEvent, removeVolume, renameVolume }: ProofParts,
  asked: { service: ServiceView; volumeBytes: number; signal: AbortSignal; into?: RebuiltVolume | undefined },
  work: (id: InstanceId) => Promise<T>,
): Promise<T> {
  const { service, volumeBytes, signal, into } = asked;
  const id = asInstanceId(`proof-${randomBytes(8).toString('hex')}`);
  const volume = { id: asVolumeId(id), lineage: asLineageId(randomUUID()) };
  const states = follow(id, onEvent);
  const end = async (): Promise<void> => {
    runtime.stop(id, 'its work is done');
    await states.ended;
  };
  // Nobody fetches its log.
  const alone = { ...service, wal: false };
  runtime.start(specOf(alone, id, { ...volume, path: '/data', sizeBytes: volumeBytes }));
  try {
    await states.ready(signal);
    const found = await work(id);
    if (into !== undefined) {
      await end();
      await renameVolume(volume, into);
    }
    return found;
  } catch (error) {
    throw signal.aborted ? new NotTried('it was called off') : error;
  } finally {
    await end();
    states.close();
    await removeVolume(volume);
  }
}

function follow(id: InstanceId, onEvent: ProofParts['onEvent']) {
  const ready = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  ready.promise.catch(() => {});
  const off = onEvent((event) => {
    if (event.id !== id) return;
    if (event.type === 'instanceReady') ready.resolve();
    if (event.type !== 'instanceExited') return;
    ready.reject(new NotTried(`its instance did not start: ${event.reason}`));
    ended.resolve();
  });
  return {
    ready: (signal: AbortSignal): Promise<void> => {
      const abort = (): void => ready.reject(new NotTried('it was called off'));
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      return ready.promise.finally(() => signal.removeEventListener('abort', abort));
    },
    ended: ended.promise,
    close: off,
  };
}

function specOf(
  service: ServiceView,
  id: InstanceId,
  volume: NonNullable<InstanceSpec['volumes']>[number],
): InstanceSpec {
  return {
    id,
    app: { id: service.id as unknown as InstanceSpec['app']['id'], name: service.name },
    process: PROOF_PROCESS,
    index: 0,
    release: { id: service.id as unknown as InstanceSpec['release']['id'], version: 1 },
    restartCount: 0,
    droplet: { digest: `sha256:${'0'.repeat(64)}` as InstanceSpec['droplet']['digest'], sizeBytes: 0, stack: '' },
    command: '',
    env: {},
    memoryBytes: service.memoryBytes,
    diskBytes: service.storageBytes,
    health: { kind: 'process', path: '/', timeoutMs: START_TIMEOUT_MS },
    uris: [],
    volumes: [volume],
    service,
  };
}
