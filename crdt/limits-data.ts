// The rules for volumes, services and bindings, as limits.ts has them for everything else. Pure, free of Automerge;
// never looks at a document.

import { isIP } from 'node:net';
import { byteLength } from './limits.ts';

const MiB = 1024 ** 2;
const TiB = 1024 ** 4;
const MINUTE_MS = 60_000;
const YEAR_MS = 366 * 24 * 60 * MINUTE_MS;

export const SERVICES_MAX = 1000;
export const VOLUMES_MAX = 4000;
export const BINDINGS_MAX = 4000;
export const VOLUMES_PER_SLOT_MAX = 8;
/** Volumes that one change makes: as many as a process type may have slots. */
export const VOLUMES_PER_CHANGE_MAX = 100;

export const VOLUME_BYTES_MIN = MiB;
export const VOLUME_BYTES_MAX = 16 * TiB;
/** Of one with a disk of its own: below that the file system would take most of it. */
export const HARD_QUOTA_BYTES_MIN = 16 * MiB;
export const VOLUME_PATH_LENGTH_MAX = 255;

/** Between two snapshots or backups of one volume or service. 0 stands for never. */
export const COPY_INTERVAL_MS_MIN = MINUTE_MS;
export const COPY_INTERVAL_MS_MAX = YEAR_MS;
export const COPIES_KEPT_MAX = 1000;

/** Ports below are the system's. */
export const EXPORT_PORT_MIN = 1024;
export const EXPORT_PORT_MAX = 65_535;
const EXPORT_HOST_LENGTH_MAX = 64;

export const SECRET_BYTES_MAX = 64 * 1024;
export const ON_LOSS = ['wait', 'restore'] as const;

/** Words of the catalogue: kinds and plans. */
export const KIND_PATTERN = /^[a-z][a-z0-9-]{0,31}$/;
export const VERSION_PATTERN = /^[0-9][0-9A-Za-z.-]{0,31}$/;
export const PREFIX_PATTERN = /^[A-Z][A-Z0-9_]{0,31}$/;

/** A service that runs elsewhere: Peer has its credentials alone. */
export const USER_PROVIDED = 'user-provided';
/** The one slot of a service that runs here, and where it sees its volume. */
export const SERVICE_PROCESS = 'service';
export const SERVICE_VOLUME_PATH = '/data';

export function kindProblem(kind: unknown): string | undefined {
  if (typeof kind === 'string' && KIND_PATTERN.test(kind)) return undefined;
  return 'must be 1 to 32 lower-case letters, digits or dashes, with a letter in front';
}

export function versionProblem(version: unknown): string | undefined {
  if (typeof version === 'string' && VERSION_PATTERN.test(version)) return undefined;
  return 'must be a version such as 15 or 10.11, of at most 32 characters';
}

/** May be empty. */
export function prefixProblem(prefix: unknown): string | undefined {
  if (typeof prefix === 'string' && (prefix === '' || PREFIX_PATTERN.test(prefix))) return undefined;
  return 'must be 1 to 32 capital letters, digits or underscores, with a letter in front';
}

/** A literal address: a name would mean another one on another day. */
export function exportHostProblem(host: unknown): string | undefined {
  return typeof host === 'string' && host.length <= EXPORT_HOST_LENGTH_MAX && isIP(host) !== 0
    ? undefined
    : 'must be an IP address of the node, such as 192.168.1.5, or 0.0.0.0 for all that it has';
}

export function secretProblem(secret: unknown): string | undefined {
  if (typeof secret !== 'string' || secret === '') return 'must be text that is not empty';
  return byteLength(secret) <= SECRET_BYTES_MAX ? undefined : `must be at most ${SECRET_BYTES_MAX / 1024} KiB`;
}

/** What the sandbox, the system and the droplet have their own content in. */
const PATHS_RESERVED = [
  '/bin',
  '/boot',
  '/dev',
  '/etc',
  '/lib',
  '/lib32',
  '/lib64',
  '/libx32',
  '/proc',
  '/sbin',
  '/sys',
  '/usr',
] as const;
/** A folder within may be a volume, the folder itself may not. */
const FOLDERS_RESERVED = ['/home', '/home/vcap', '/home/vcap/app', '/run', '/tmp', '/var'];

export function volumePathProblem(path: unknown): string | undefined {
  if (typeof path !== 'string' || !/^(?:\/[A-Za-z0-9._@+-]+)+$/.test(path)) {
    return 'must be an absolute path of plain names such as /data, without a slash at the end';
  }
  if (path.length > VOLUME_PATH_LENGTH_MAX) return `must be at most ${VOLUME_PATH_LENGTH_MAX} characters`;
  if (path.split('/').some((part) => part === '.' || part === '..')) return 'must not hold . or ..';
  const reserved = PATHS_RESERVED.some((one) => path === one || path.startsWith(`${one}/`));
  if (reserved || FOLDERS_RESERVED.includes(path)) return 'is a folder of the system; take another such as /data';
  return undefined;
}

/** 198.18.0.0/15, which is meant for networks that nobody routes. */
const ADDRESS_FIRST = (198 << 24) | (18 << 16);
const ADDRESSES = 2 ** 17;

/** The number of an address within its range; undefined when it is none. */
export function addressNumber(address: unknown): number | undefined {
  const parts = typeof address === 'string' ? /^198\.(18|19)\.(\d{1,3})\.(\d{1,3})$/.exec(address) : null;
  if (parts === null) return undefined;
  const [second, third, fourth] = parts.slice(1).map(Number) as [number, number, number];
  const number = ((second - 18) << 16) | (third << 8) | fourth;
  return numberedAddress(number) === address ? number : undefined;
}

export function numberedAddress(number: number): string {
  const bits = ADDRESS_FIRST + (number % ADDRESSES);
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 0xff).join('.');
}

export function addressProblem(address: unknown): string | undefined {
  const number = addressNumber(address);
  const last = number === undefined ? 0 : number % 256;
  return last !== 0 && last !== 255 ? undefined : 'must be an address in 198.18.0.0/15 that ends in neither 0 nor 255';
}

/** The one after it that is free; undefined when none is. */
export function nextAddress(address: string, taken: ReadonlySet<string>): string | undefined {
  const from = addressNumber(address) ?? 0;
  // More addresses than services there may be: the first few are looked at.
  for (let step = 1; step < ADDRESSES; step++) {
    const next = numberedAddress(from + step);
    if (addressProblem(next) === undefined && !taken.has(next)) return next;
  }
  return undefined;
}
