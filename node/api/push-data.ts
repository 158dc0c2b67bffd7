// The services and volumes that a push asks for: what is made, bound and waited for before the app is released.

import type { NamedChange } from '../../crdt/change.ts';
import type { NewVolume } from '../../crdt/change-data.ts';
import type { AppId } from '../../crdt/ids.ts';
import { volumePathProblem } from '../../crdt/limits-data.ts';
import type { AppView, DesiredView, ReleaseView, ServiceView, VolumeView } from '../../crdt/view.ts';
import type { NodeService } from '../ports/node-service.ts';
import type { StagedDroplet } from '../ports/staging.ts';
import { ApiError } from './errors.ts';
import type { EventSink } from './event-stream.ts';
import { GRANT_WAIT_MS, untilGranted } from './granted.ts';
import { findService } from './lookup.ts';
import { bindingOf, kindNamed, newBinding, newService } from './new-service.ts';
import { newVolumes } from './new-volumes.ts';
import type { PushEvent } from './stream-events.ts';
import type { PushOptions } from './validate.ts';

type CreateService = Extract<NamedChange, { change: 'createService' }>;
type BindService = Extract<NamedChange, { change: 'bindService' }>;

/** An engine that makes its data for the first time, on a slow machine. */
const NEW_SERVICE_WAIT_MS = 120_000;

export type Wishes = {
  options: Pick<PushOptions, 'services' | 'createServices'>;
  /** Fails when whoever pushes may not bind to the service. */
  allowService(view: DesiredView, service: ServiceView): void;
};

/**
 * What binds the app to each service that is asked for, and makes those that are missing: empty when all is as it is
 * asked for. Fails with ApiError when one cannot be had.
 */
export function serviceChanges(
  service: NodeService,
  app: AppId | undefined,
  { options, allowService }: Wishes,
): (CreateService | BindService)[] {
  const view = service.view();
  const made: CreateService[] = [];
  const bound: BindService[] = [];
  for (const wish of options.services ?? []) {
    const existing = findService(view, wish.name);
    if (existing !== undefined) {
      allowService(view, existing);
      if (wish.kind !== undefined && wish.kind !== existing.kind) {
        throw new ApiError('service_exists', `${wish.name} is there and is a ${existing.kind}, not a ${wish.kind}`);
      }
      if (app !== undefined && bindingOf(view, existing.id, app) !== undefined) continue;
      if (app !== undefined) bound.push(newBinding(service, { service: existing.id, app, prefix: '' }));
      continue;
    }
    const kind = wish.kind ?? kindOfName(service, wish.name, options.createServices === true);
    const change = newService(service, { ...wish, kind }, made);
    made.push(change);
    if (app !== undefined) bound.push(newBinding(service, { service: change.service, app, prefix: '' }));
  }
  return [...made, ...bound];
}

/** `postgres` is a postgres, when services may be made. */
function kindOfName(service: NodeService, name: string, mayCreate: boolean): string {
  const kinds = service.kinds();
  if (mayCreate && kinds.some((kind) => kind.name === name)) return kindNamed(kinds, name).name;
  throw new ApiError(
    'not_found',
    `there is no service ${name}: peer service create KIND ${name}, or say its kind in the manifest (- name: ${name}, kind: KIND)`,
  );
}

/** Resolves when the credentials work, or with a warning to the sink for each that does not yet. */
export async function untilBound(
  service: NodeService,
  changes: readonly (CreateService | BindService)[],
  sink: EventSink<PushEvent>,
): Promise<void> {
  const made = new Set(changes.flatMap((one) => (one.change === 'createService' ? [one.service] : [])));
  await Promise.all(
    changes.map(async (one) => {
      if (one.change !== 'bindService') return;
      const isNew = made.has(one.service);
      const timeoutMs = isNew ? NEW_SERVICE_WAIT_MS : GRANT_WAIT_MS;
      const question = { service: one.service, binding: one.binding, timeoutMs, signal: sink.signal, isNew };
      const warning = await untilGranted(service, question);
      if (warning !== undefined) sink.send({ type: 'line', text: `warning: ${warning}` });
    }),
  );
}

/**
 * Volumes that are asked for, and with `imageVolumes` those that the image declares. Says which it declares and does
 * not get: what is written there does not last. Fails with `bad_request` where one cannot be a volume.
 */
export function wishedVolumes(
  { imageVolumes: declared = [] }: Pick<StagedDroplet, 'imageVolumes'>,
  options: Pick<PushOptions, 'volumes' | 'imageVolumes'>,
  present: readonly Pick<VolumeView, 'path'>[],
): { volumes: NonNullable<PushOptions['volumes']>; lost: string[] } {
  const volumes = options.volumes ?? [];
  const left = declared.filter((path) => ![...volumes, ...present].some((one) => one.path === path));
  if (options.imageVolumes !== true) return { volumes, lost: left };
  for (const path of left) {
    const problem = volumePathProblem(path);
    if (problem === undefined) continue;
    throw new ApiError(
      'bad_request',
      `the image declares the volume ${path}, which ${problem}: leave out --image-volumes`,
    );
  }
  return { volumes: [...volumes, ...left.map((path) => ({ path }))], lost: [] };
}

/** Of every process type that has volumes, or is asked to: those that its slots lack. */
export function volumeChanges(
  service: Pick<NodeService, 'view' | 'observed'>,
  asked: {
    app: { id: AppId; name: string; memoryBytes: number };
    existing: AppView | undefined;
    /** Slots of each process type, after the change. */
    counts: Readonly<Record<string, number>>;
    /** Of the process type of that name. */
    wishes: { process: string; volumes: NonNullable<PushOptions['volumes']> };
    release: Pick<ReleaseView, 'droplet' | 'image'>;
  },
): NamedChange[] {
  const volumes: NewVolume[] = Object.entries(asked.counts).flatMap(([process, count]) =>
    newVolumes(service, {
      app: asked.app,
      volumes: asked.existing?.volumes ?? [],
      process,
      count,
      wishes: process === asked.wishes.process ? asked.wishes.volumes : [],
      release: asked.release,
    }),
  );
  return volumes.length === 0 ? [] : [{ change: 'createVolumes', volumes }];
}
