// Decides the environment of an instance: what the platform tells it, then the app's own variables. Pure.

import { type ENV_KEYS_OF_INSTANCES, portOf } from '../../crdt/limits.ts';
import type { InstanceSpec } from '../core/types.ts';

/** Open files an instance may have; told to it in VCAP_APPLICATION. */
export const INSTANCE_FILES_MAX = 16_384;

/** There is one organization and one space; apps that look for them find these. */
const ORGANIZATION = { id: '00000000-0000-4000-8000-000000000001', name: 'peer' };
const SPACE = { id: '00000000-0000-4000-8000-000000000002', name: 'default' };

const MIB = 1024 * 1024;

/**
 * Paths that a droplet's files may name, and what of the droplet each leads to: the app, and the layers of Cloud
 * Native Buildpacks. The same in every sandbox and container (scripts/stack/build.sh), as they were when it was built.
 */
export const DROPLET_PATHS = [
  { path: '/app', part: 'app' },
  { path: '/layers', part: 'layers' },
] as const;

export type InstancePlace = {
  port: number;
  /** Address it is reached at. */
  host: string;
  /** Address it should listen on, when that is another. */
  listen?: string;
  /** Folder that holds the droplet's `app` and `tmp`, as the app sees it. */
  home: string;
  /** Folder with the daemon's own Node, as the app sees it: last on the path, so that a droplet's own comes first. */
  nodeBin: string;
  /** Heroku's name of it; without one it fills a slot. */
  dyno?: string;
};

/** Where the app says that its instances are to listen. */
export const wantedPort = ({ env }: Pick<InstanceSpec, 'env'>): number | undefined => portOf(env.PORT);

/** Of a service: what its kind gives it, and little else. */
export function serviceEnvironment(
  given: Readonly<Record<string, string>>,
  { home }: Pick<InstancePlace, 'home'>,
): Record<string, string> {
  return { HOME: `${home}/app`, LANG: 'C.UTF-8', PATH: '/usr/local/bin:/usr/bin:/bin', USER: 'vcap', ...given };
}

export function instanceEnvironment(spec: InstanceSpec, place: InstancePlace): Record<string, string> {
  const port = String(place.port);
  const listen = place.listen ?? place.host;
  const memoryMiB = Math.floor(spec.memoryBytes / MIB);
  const platform = {
    HOME: `${place.home}/app`,
    TMPDIR: `${place.home}/tmp`,
    USER: 'vcap',
    LANG: 'C.UTF-8',
    PATH: `/usr/local/bin:/usr/bin:/bin:${place.nodeBin}`,
    HOST: listen,
    MEMORY_LIMIT: `${memoryMiB}m`,
    VCAP_SERVICES: '{}',
  };
  // What names this very instance: an app's own variables never stand in its place.
  const identity: Record<(typeof ENV_KEYS_OF_INSTANCES)[number], string> = {
    // Heroku's name of an instance; profile scripts of buildpacks tell process types apart by it.
    DYNO: place.dyno ?? `${spec.process}.${spec.index + 1}`,
    INSTANCE_INDEX: String(spec.index),
    CF_INSTANCE_INDEX: String(spec.index),
    CF_INSTANCE_GUID: spec.id,
    CF_INSTANCE_IP: place.host,
    CF_INSTANCE_INTERNAL_IP: place.host,
    CF_INSTANCE_PORT: port,
    CF_INSTANCE_ADDR: `${place.host}:${port}`,
    CF_INSTANCE_PORTS: JSON.stringify([{ external: place.port, internal: place.port }]),
    VCAP_APP_HOST: listen,
    VCAP_APP_PORT: port,
    VCAP_APPLICATION: JSON.stringify({
      application_id: spec.app.id,
      application_name: spec.app.name,
      application_uris: spec.uris,
      application_version: spec.release.id,
      name: spec.app.name,
      uris: spec.uris,
      version: spec.release.id,
      limits: { mem: memoryMiB, disk: Math.floor(spec.diskBytes / MIB), fds: INSTANCE_FILES_MAX },
      process_id: `${spec.app.id}/${spec.process}`,
      process_type: spec.process,
      instance_id: spec.id,
      instance_index: spec.index,
      host: listen,
      port: place.port,
      space_id: SPACE.id,
      space_name: SPACE.name,
      organization_id: ORGANIZATION.id,
      organization_name: ORGANIZATION.name,
    }),
  };
  const { HOST, MEMORY_LIMIT, VCAP_SERVICES } = platform;
  // An image brings its own of what the platform would say of a stack.
  const told = spec.image === undefined ? platform : { HOST, MEMORY_LIMIT, VCAP_SERVICES };
  // Where it is to listen is what it asked for wherever that can be had (wantedPort).
  return { ...told, ...spec.env, PORT: port, ...identity };
}
