// From what people write (names, ids, v3) to what the desired state holds, or a clear "there is no such thing".

import { type AppId, asAppId, asInstanceId, asReleaseId, asVolumeId, type ReleaseId } from '../../crdt/ids.ts';
import type { AppView, DesiredView, NodeView, ReleaseView, ServiceView, VolumeView } from '../../crdt/view.ts';
import { ApiError } from './errors.ts';
import type { RolloutTarget } from './rollout-progress.ts';
import { versionOf } from './shaping.ts';

/** The app that owns the name; by id also one that lost its name to another. */
export function findApp(view: DesiredView, name: string): AppView | undefined {
  for (const app of view.apps.values()) if (app.name === name && app.ownsName) return app;
  for (const app of view.apps.values()) if (app.id === name) return app;
  return undefined;
}

export function appNamed(view: DesiredView, name: string): AppView {
  const app = findApp(view, name);
  if (app === undefined) throw new ApiError('not_found', `there is no app ${name}: see peer apps`);
  return app;
}

/** The service that owns the name; by id also one that lost its name to another. */
export function findService(view: DesiredView, name: string): ServiceView | undefined {
  for (const service of view.services.values()) if (service.name === name && service.ownsName) return service;
  for (const service of view.services.values()) if (service.id === name) return service;
  return undefined;
}

export function serviceNamed(view: DesiredView, name: string): ServiceView {
  const service = findService(view, name);
  if (service === undefined) throw new ApiError('not_found', `there is no service ${name}: see peer services`);
  return service;
}

/** What runs of a service, in the shape of an app; undefined of one that was provided. */
export const workloadOf = (view: DesiredView, service: ServiceView): AppView | undefined =>
  view.workloads.get(asAppId(service.id));

export function volumeOf(view: DesiredView, id: string): VolumeView {
  const volume = view.volumes.get(asVolumeId(id));
  if (volume === undefined) throw new ApiError('not_found', `there is no volume ${id}: see peer volumes`);
  return volume;
}

/** By id, or by a name that only one node has. */
export function nodeNamed(view: DesiredView, name: string): NodeView {
  const found = [...view.nodes.values()].filter((node) => node.id === name || node.name === name);
  if (found.length > 1) {
    const ids = found.map((node) => node.id).join(', ');
    throw new ApiError('name_ambiguous', `several nodes are called ${name}: use one of the ids ${ids}`);
  }
  if (found[0] === undefined) throw new ApiError('not_found', `there is no node ${name}: see peer nodes`);
  return found[0];
}

/** `v3`; of two releases that were made apart under one number, the later in order. */
export function releaseNamed(app: AppView, version: string): ReleaseView {
  const release = app.releases.findLast((candidate) => versionOf(candidate) === version);
  if (release === undefined) {
    throw new ApiError('not_found', `${app.name} has no release ${version}: see peer releases ${app.name}`);
  }
  return release;
}

/** What a write answers of the release that it was given an id for; nulls when none was made. */
export function madeRelease(view: DesiredView, app: AppId, id: ReleaseId) {
  const made = view.apps.get(app)?.releases.find((release) => release.id === id);
  return {
    release: made === undefined ? null : versionOf(made),
    releaseId: made === undefined ? null : (id as string),
  };
}

export function rolloutTarget(query: { release?: string | undefined; replaced?: string | undefined }): RolloutTarget {
  return {
    release: query.release === undefined ? undefined : asReleaseId(query.release),
    replaced: query.replaced === undefined ? undefined : asInstanceId(query.replaced),
  };
}
