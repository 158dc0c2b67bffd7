// Proves a backup: restores it into an instance of its own, beside the service, on an empty volume, and lets the
// engine check what came of it. Nothing of it is left afterwards, whatever happens.

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
};

/** Answers what was looked at, one line. Fails with NotTried, or with the engine's own words. */
export async function prove(
  { runtime, onEvent, removeVolume }: ProofParts,
  asked: {
    kind: ServiceKind;
    context: ServiceContext;
    service: ServiceView;
    backup: Backup;
    content: AsyncIterable<Uint8Array>;
    signal: AbortSignal;
  },
): Promise<string> {
  const { kind, context, signal } = asked;
  const { restore, check } = kind;
  if (restore === undefined || check === undefined) return 'a kind that keeps nothing';
  return withInstance(
    { runtime, onEvent, removeVolume },
    { service: asked.service, volumeBytes: asked.service.storageBytes, signal },
    async (id) => {
      const limits = { timeoutMs: RESTORE_TIMEOUT_MS, input: asked.content, signal };
      await runInService(runtime, id, restore(context), limits);
      const found = await runInService(runtime, id, check(context), { timeoutMs: CHECK_TIMEOUT_MS, signal });
      return found.trim().split('\n').at(-1) ?? '';
    },
  );
}

/**
 * Of the service's engine, beside it, on an empty volume, for as long as the work takes. Fails with NotTried, or as
 * it.
 */
export async function withInstance<T>(
  { runtime, onEvent, removeVolume }: ProofParts,
  { service, volumeBytes, signal }: { service: ServiceView; volumeBytes: number; signal: AbortSignal },
  work: (id: InstanceId) => Promise<T>,
): Promise<T> {
  const id = asInstanceId(`proof-${randomBytes(8).toString('hex')}`);
  const volume = { id: asVolumeId(id), lineage: asLineageId(randomUUID()) };
  const states = follow(id, onEvent);
  // Nobody fetches its log.
  const alone = { ...service, wal: false };
  runtime.start(specOf(alone, id, { ...volume, path: '/data', sizeBytes: volumeBytes }));
  try {
    await states.ready(signal);
    return await work(id);
  } catch (error) {
    throw signal.aborted ? new NotTried('it was called off') : error;
  } finally {
    runtime.stop(id, 'its work is done');
    await states.ended;
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
