// The data of a Compose file: its named volumes as volumes of the apps that mount them, and its databases as services
// of the cluster. Says what cannot be had, and what to write instead. Pure.

import { posix } from 'node:path';
import * as v from 'valibot';
import type { PushOptions } from '../../node/api/validate.ts';
import { INSTANCE_MEMORY, parseName, parseSize } from '../values.ts';
import { variablesOf } from './compose-wiring.ts';
import { type Data, isMapping } from './document.ts';
import { mapping, parseData, read, text } from './fields.ts';
import { type VolumeWish, volumeSettings } from './volume-fields.ts';

export type ServiceWish = NonNullable<PushOptions['services']>[number];
type Fail = (path: string, message: string) => never;

// ---------------------------------------------------------------- volumes

/** One entry of a service's `volumes`, in either syntax. */
type Mount =
  | { kind: 'volume'; name: string | undefined; target: string }
  | { kind: 'refused'; what: string; why: string };

const FOLDER =
  'instances see no folders of the machine: put files into the image or the folder that is pushed, and name a volume for data, such as data:/data';
const ENGINE = 'apps do not reach the container engine: remove it';
const READ_ONLY = 'a volume belongs to the one app that writes it: remove its read-only mode';
const MEMORY = 'each instance has its own /tmp: remove it';
const MODES = ['rw', 'z', 'Z', 'nocopy', 'cached', 'delegated', 'consistent'];

/** What a service mounts that no volume can stand for, in one clause for each reason. */
export function refusedMounts(written: Data | undefined): string[] {
  if (!Array.isArray(written)) return [];
  const reasons = new Map<string, string[]>();
  for (const entry of written) {
    const mount = mountOf(entry);
    if (mount?.kind === 'refused') reasons.set(mount.why, [...(reasons.get(mount.why) ?? []), mount.what]);
  }
  return [...reasons].map(([why, whats]) => `${whats.join(', ')}: ${why}`);
}

/** Undefined: it is no entry of that list at all. */
function mountOf(entry: Data): Mount | undefined {
  if (typeof entry === 'string') return shortMount(entry);
  if (!isMapping(entry)) return undefined;
  const { type, source, target, read_only: readOnly, volume } = entry;
  if (typeof target !== 'string') return undefined;
  const what = typeof source === 'string' ? source : target;
  if (type === 'bind') return folderRefused(what);
  if (type === 'tmpfs') return { kind: 'refused', what, why: MEMORY };
  if (type !== 'volume') return undefined;
  if (readOnly === 'true') return { kind: 'refused', what, why: READ_ONLY };
  if (isMapping(volume) && volume.subpath !== undefined) {
    return { kind: 'refused', what, why: 'a volume is mounted as a whole: remove subpath' };
  }
  return { kind: 'volume', name: typeof source === 'string' ? source : undefined, target };
}

/** `NAME:/path`, `NAME:/path:rw`, `/path`; what begins otherwise is a folder of the machine. */
function shortMount(entry: string): Mount | undefined {
  const [first = '', second, mode, ...more] = entry.split(':');
  if (more.length > 0) return undefined;
  if (second === undefined)
    return first.startsWith('/') ? { kind: 'volume', name: undefined, target: first } : undefined;
  if (/^[./~\\]/.test(first)) return folderRefused(first);
  const modes = mode === undefined ? [] : mode.split(',');
  if (modes.includes('ro')) return { kind: 'refused', what: entry, why: READ_ONLY };
  return modes.every((one) => MODES.includes(one)) ? { kind: 'volume', name: first, target: second } : undefined;
}

const folderRefused = (what: string): Mount => ({
  kind: 'refused',
  what,
  why: /docker\.sock|podman\.sock/.test(what) ? ENGINE : FOLDER,
});

const topVolume = mapping(
  {
    name: v.nullish(text),
    driver: v.nullish(v.literal('local', 'should be local: volumes are folders of a node')),
    'x-peer': v.nullish(volumeSettings),
  },
  {
    external: 'is of another project, and volumes belong to one app here: remove it',
    driver_opts: 'volumes are folders of a node: remove it; x-peer: {size: 2G} says how large one may be',
    labels: 'remove it',
  },
);
const topVolumes = v.nullish(v.record(text, v.nullable(topVolume), 'should be a mapping of names to volumes'));

/** The named volumes of a file: who mounts each, and as what. */
export class ComposeVolumes {
  readonly #named: ReadonlyMap<string, Omit<VolumeWish, 'path'>>;
  readonly #mountedBy = new Map<string, string>();

  /** `written`: the file's `volumes`. Fails with CliError `bad_manifest`. */
  constructor(written: Data | undefined, file: string) {
    const parsed = parseData(topVolumes, written, `${file}: volumes`) ?? {};
    this.#named = new Map(Object.entries(parsed).map(([name, one]) => [name, one?.['x-peer'] ?? {}]));
  }

  /** What the service's slots mount. `fail`: with the path of an entry. */
  of(service: string, written: Data | null | undefined, fail: Fail): VolumeWish[] {
    if (written === undefined || written === null) return [];
    if (!Array.isArray(written)) return fail('volumes', 'should be a list, such as - data:/data');
    const wishes: VolumeWish[] = [];
    for (const [index, entry] of written.entries()) {
      const at = `volumes.${index}`;
      const mount = mountOf(entry);
      if (mount?.kind !== 'volume' || !mount.target.startsWith('/')) {
        return fail(at, 'should be NAME:/PATH, such as data:/data');
      }
      const path = mount.target === '/' ? '/' : posix.normalize(mount.target).replace(/\/$/, '');
      if (wishes.some((one) => one.path === path)) fail(at, `${path} is there twice`);
      wishes.push({ path, ...(mount.name === undefined ? {} : this.#settingsOf(mount.name, service, at, fail)) });
    }
    return wishes;
  }

  #settingsOf(name: string, service: string, at: string, fail: Fail): Omit<VolumeWish, 'path'> {
    const settings = this.#named.get(name);
    if (settings === undefined) return fail(at, `there is no volume ${name}: write it under volumes: at the top`);
    const other = this.#mountedBy.get(name);
    if (other !== undefined) {
      const both = other === service ? `${service} mounts ${name} twice` : `${other} mounts ${name} too`;
      fail(at, `${both}, and a volume has one place in one app: give each its own, or let one app serve the files`);
    }
    this.#mountedBy.set(name, service);
    return settings;
  }
}

// ---------------------------------------------------------------- databases

/** Images of servers, as their publishers name them, and the kind of service that each is here. */
const KIND_OF_IMAGE: Readonly<Record<string, string>> = {
  postgres: 'postgres',
  postgresql: 'postgres',
  postgis: 'postgres',
  pgvector: 'postgres',
  mysql: 'mysql',
  'mysql-server': 'mysql',
  mariadb: 'mysql',
  redis: 'redis',
  'redis-stack-server': 'redis',
  valkey: 'redis',
  rabbitmq: 'rabbitmq',
  nats: 'nats',
};
/** Programs that make a container of such an image the server. */
const SERVERS =
  /^(?:-|docker-entrypoint|postgres\b|mysqld|mariadbd|redis-server|valkey-server|rabbitmq-server|nats-server)/;

/** The kind that stands for the service: it runs a database's image as its server. Undefined: it is an app. */
export function databaseIn(written: Data | undefined): string | undefined {
  if (!isMapping(written) || typeof written.image !== 'string') return undefined;
  const name = written.image.split('@')[0]!.split('/').at(-1)!.split(':')[0]!;
  const kind = Object.hasOwn(KIND_OF_IMAGE, name) ? KIND_OF_IMAGE[name] : undefined;
  const { command } = written;
  const program = typeof command === 'string' ? command.trim() : Array.isArray(command) ? String(command[0] ?? '') : '';
  return program === '' || SERVERS.test(program) ? kind : undefined;
}

/** Servers that are no kind of service, and speak no HTTP. */
const UNREACHABLE = /(?:^|\/)(?:mongo|mongodb|mongodb-community-server|memcached|cassandra|mssql\/server)(?:[:@]|$)/;

/** What is said of a server that nobody could reach here; undefined of everything else. */
export function unreachableServer(written: Data | undefined): string | undefined {
  const { image } = isMapping(written) ? written : {};
  const found = typeof image === 'string' ? UNREACHABLE.exec(image.replace(/^docker\.io\//, '')) : null;
  if (found === null) return undefined;
  return 'apps are reached over HTTP alone, and no kind of service is such a server: run it elsewhere, and give its address under environment';
}

/** The kind of a `provider`, as it is written. */
export function providedKind(written: Data | undefined): string | undefined {
  const { provider: given } = isMapping(written) ? written : {};
  const options = isMapping(given) ? given.options : undefined;
  return isMapping(options) && typeof options.kind === 'string' ? options.kind : undefined;
}

/** What is said of such a service. Apps are reached over HTTP alone, so as an app nobody could use it. */
export const databaseRefused = (kind: string): string =>
  `a ${kind} server is a service here, with credentials of its own: write provider: {type: peer, options: {kind: ${kind}}} as all it holds, and depends_on at what uses it, which finds them in ${variablesOf(kind)}`;

/** A service of the cluster in the place of a container, as Compose's `provider` has it. */
export const provider = mapping({
  type: v.literal('peer', 'should be peer'),
  options: mapping(
    {
      kind: v.pipe(text, v.nonEmpty('should be a kind such as postgres: peer services kinds')),
      name: v.nullish(read((value) => parseName(value, ''))),
      plan: v.nullish(text),
      version: v.nullish(text),
      memory: v.nullish(read((value) => parseSize(value, '', INSTANCE_MEMORY))),
      storage: v.nullish(read((value) => parseSize(value, ''))),
      node: v.nullish(text),
    },
    { credentials: 'is not supported: peer service provide NAME makes one that runs elsewhere' },
  ),
});

/** `name`: of the service in the file; its name in the cluster, too, unless the options say another. */
export function wishOfProvider(name: string, { options }: v.InferOutput<typeof provider>): ServiceWish {
  const { name: other, memory, storage, ...rest } = options;
  const sizes = { memoryBytes: memory, storageBytes: storage };
  const given = Object.entries({ ...rest, ...sizes }).filter(([, value]) => value !== undefined && value !== null);
  return { name: other ?? name, ...Object.fromEntries(given) } as ServiceWish;
}
