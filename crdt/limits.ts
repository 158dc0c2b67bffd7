// The rules for what may stand in the desired state: names, ranges, bounds and defaults. Pure, and free of Automerge,
// so that the API and the CLI can check early with the same rules. Never looks at a document.
//
// Every `…Problem` function answers undefined when the value is fine, else one clause that fits after "NAME: ".

import { CLUSTER_KEY_ID_PATTERN, SEAL_KEY_PATTERN, sealedTextBytesMin, WRAPPED_KEY_PATTERN } from './sealed.ts';

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;
const TiB = 1024 ** 4;

export const NAME_LENGTH_MAX = 63;
/** App, user and node names: a lower-case DNS label, because app names become host names. */
export const NAME_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
/**
 * Ids are made by programs, and become names of files, folders, networks and labels: so no separator of a path or of a
 * key, and a letter or digit in front, which also keeps the names of object prototypes out.
 */
export const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
export const PROCESS_TYPE_PATTERN = /^[A-Za-z0-9_-]{1,63}$/;
export const ENV_KEY_PATTERN = /^[A-Za-z_][A-Za-z0-9_]{0,254}$/;
/** Buildpacks, stacks and references of images: as programs name them, for people to read. */
export const TITLE_LENGTH_MAX = 2000;
export const AUTHOR_LENGTH_MAX = 200;
export const CLUSTER_NAME_LENGTH_MAX = 100;
export const DIGEST_PATTERN = /^sha256:[0-9a-f]{64}$/;
export const TOKEN_HASH_PATTERN = /^[A-Za-z0-9:+/=_$.,-]{8,256}$/;
export const LABEL_KEY_PATTERN = /^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$/;
export const LABEL_VALUE_PATTERN = /^[\x20-\x7e]{0,128}$/;

export const INSTANCES_MAX = 100;
export const PROCESS_TYPES_MAX = 20;
export const COMMAND_BYTES_MAX = 16 * 1024;
/** A web process that nobody scaled. */
export const WEB_INSTANCES_DEFAULT = 1;

export const MEMORY_BYTES_MIN = 16 * MiB;
export const MEMORY_BYTES_MAX = 64 * GiB;
export const MEMORY_BYTES_DEFAULT = 256 * MiB;
export const DISK_BYTES_MIN = 16 * MiB;
export const DISK_BYTES_MAX = TiB;
export const DISK_BYTES_DEFAULT = GiB;

export const ENV_VALUE_BYTES_MAX = 64 * 1024;
/** Keys and values of one app together; every release carries a copy. */
export const ENV_TOTAL_BYTES_MAX = 256 * 1024;
export const ENV_KEYS_MAX = 1000;

export const ROUTES_PER_APP_MAX = 100;
/** Apps that one app shares a host with. */
export const SHARES_PER_HOST_MAX = 100;
/** Users beside the owner who may work on one app. */
export const MEMBERS_PER_APP_MAX = 100;
export const ROUTE_HOST_LENGTH_MAX = 253;
export const ROUTE_PATH_LENGTH_MAX = 255;

export const HEALTH_TIMEOUT_MS_MIN = 1_000;
/** Cloud Foundry's longest start-up time. */
export const HEALTH_TIMEOUT_MS_MAX = 180_000;
export const HEALTH_TIMEOUT_MS_DEFAULT = 60_000;
export const HEALTH_KIND_DEFAULT = 'port';
export const HEALTH_PATH_DEFAULT = '/';

export const MAX_UNAVAILABLE_MIN = 1;
export const MAX_UNAVAILABLE_MAX = INSTANCES_MAX;
export const MAX_UNAVAILABLE_DEFAULT = 1;
export const MAX_SURGE_MIN = 0;
export const MAX_SURGE_MAX = INSTANCES_MAX;
export const MAX_SURGE_DEFAULT = 1;
export const STRATEGY_DEFAULT = 'rolling';
export const PARTITION_DEFAULT = 'serve';

/** Releases of one app that can be rolled back to; the droplets of older ones are collected. */
export const RELEASES_KEPT_MAX = 10;
/** Releases of one app that are read; two sides of a partition may each have kept RELEASES_KEPT_MAX of their own. */
export const RELEASES_READ_MAX = 10 * RELEASES_KEPT_MAX;
export const RELEASE_VERSION_MAX = 1_000_000_000;
export const RESTART_COUNT_MAX = 1_000_000_000;
export const DROPLET_BYTES_MAX = 64 * GiB;
/** Descriptions and reasons are written by programs: cut, not rejected. */
export const DESCRIPTION_LENGTH_MAX = 200;
export const REASON_LENGTH_MAX = 500;

/** The last moment that a JavaScript date can hold, ms since 1970. */
export const TIME_MS_MAX = 8_640_000_000_000_000;

export const APPS_MAX = 2000;
export const NODES_MAX = 1000;
export const USERS_MAX = 1000;
export const INVITES_MAX = 200;
export const INVITE_USES_MAX = 1000;
/** An expired invite is kept this long, so that a late joiner is told that it expired, not that it is unknown. */
export const INVITE_KEPT_MS = 24 * 60 * 60 * 1000;
export const LABELS_PER_NODE_MAX = 50;
/** Each removal of a node makes one, and goes when nothing is sealed with it any more. */
export const KEYS_MAX = 200;
/** Nodes that one key is wrapped to, removed ones included. */
export const WRAPS_PER_KEY_MAX = 2 * NODES_MAX;
/** Texts in one change that seals them anew. */
export const RESEALED_MAX = 1000;
/** Of what they become, in every release that ships them: with what is around them less than a change may have. */
export const RESEALED_BYTES_MAX = 640 * 1024;

export const HEALTH_KINDS = ['port', 'http', 'process'] as const;
export const STRATEGIES = ['rolling', 'recreate'] as const;
export const PARTITION_MODES = ['serve', 'fence'] as const;
export const ROLES = ['admin', 'developer', 'viewer'] as const;
export const TEAMS = ['flat', 'owned'] as const;

/** Assigning to this key of a plain object would change its prototype instead. */
const KEY_RESERVED = '__proto__';

const encoder = new TextEncoder();
export const byteLength = (text: string): number => encoder.encode(text).length;

/** White space, and what would steer a terminal or turn the direction of what follows. */
const NOT_PLAIN = /[\s\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]+/g;

/** Cut to one line of at most `lengthMax` characters, without control characters and halves of characters. */
export const oneLine = (text: string, lengthMax: number): string => {
  const line = text.replace(NOT_PLAIN, ' ').trim().toWellFormed();
  return line.length <= lengthMax ? line : `${line.slice(0, lengthMax - 1).replace(/[\ud800-\udbff]$/, '')}…`;
};

export function nameProblem(name: unknown): string | undefined {
  if (typeof name === 'string' && NAME_PATTERN.test(name)) return undefined;
  return `must be 1 to ${NAME_LENGTH_MAX} lower-case letters, digits or dashes, with a letter or digit at both ends`;
}

export function idProblem(id: unknown): string | undefined {
  if (typeof id === 'string' && ID_PATTERN.test(id) && id !== KEY_RESERVED) return undefined;
  return 'must be an id of 1 to 64 letters, digits, dots, dashes or underscores, with a letter or digit in front';
}

export function digestProblem(digest: unknown): string | undefined {
  if (typeof digest === 'string' && DIGEST_PATTERN.test(digest)) return undefined;
  return 'must be sha256: and 64 hexadecimal digits';
}

export function tokenHashProblem(hash: unknown): string | undefined {
  if (typeof hash === 'string' && TOKEN_HASH_PATTERN.test(hash)) return undefined;
  return 'must be the hash of a token, 8 to 256 characters';
}

export function labelKeyProblem(key: unknown): string | undefined {
  if (typeof key === 'string' && LABEL_KEY_PATTERN.test(key)) return undefined;
  return 'must be 1 to 63 letters, digits, dots, dashes, slashes or underscores, with a letter or digit at both ends';
}

export function labelValueProblem(value: unknown): string | undefined {
  if (typeof value === 'string' && LABEL_VALUE_PATTERN.test(value)) return undefined;
  return 'must be at most 128 printable ASCII characters';
}

/** Of all labels that a node would have from one source: given to its start, or written with `peer nodes label`. */
export function labelCountProblem(count: number): string | undefined {
  return count <= LABELS_PER_NODE_MAX ? undefined : `must be at most ${LABELS_PER_NODE_MAX} labels, not ${count}`;
}

export function commandProblem(command: unknown): string | undefined {
  if (typeof command !== 'string' || command.trim() === '' || command.includes('\0'))
    return 'must have a start command';
  if (byteLength(command) <= COMMAND_BYTES_MAX) return undefined;
  return `its command must be at most ${COMMAND_BYTES_MAX / 1024} KiB; put it in a script`;
}

export function processTypeProblem(type: unknown): string | undefined {
  if (typeof type === 'string' && PROCESS_TYPE_PATTERN.test(type) && type !== KEY_RESERVED) return undefined;
  return 'must be 1 to 63 letters, digits, dashes or underscores, such as web or worker';
}

export function envKeyProblem(key: unknown): string | undefined {
  if (typeof key === 'string' && ENV_KEY_PATTERN.test(key) && key !== KEY_RESERVED) return undefined;
  return 'must be letters, digits or underscores, not beginning with a digit';
}

/**
 * Variables that name an instance: Peer sets them for each one, and a value of the app's never stands in their place.
 * Some are of names that Cloud Foundry and Heroku gave them. What else Peer sets (HOME, PATH, LANG …), an app may set
 * itself; PORT, too, which says where its instances are to listen.
 */
export const ENV_KEYS_OF_INSTANCES = [
  'DYNO',
  'INSTANCE_INDEX',
  'CF_INSTANCE_INDEX',
  'CF_INSTANCE_GUID',
  'CF_INSTANCE_IP',
  'CF_INSTANCE_INTERNAL_IP',
  'CF_INSTANCE_PORT',
  'CF_INSTANCE_ADDR',
  'CF_INSTANCE_PORTS',
  'VCAP_APP_HOST',
  'VCAP_APP_PORT',
  'VCAP_APPLICATION',
] as const;

/**
 * Of a variable that somebody sets. Readers do not ask: an older cluster may hold one of these from before they were
 * refused, and it can be unset.
 */
export function envSetProblem(key: unknown): string | undefined {
  const problem = envKeyProblem(key);
  if (problem !== undefined || !(ENV_KEYS_OF_INSTANCES as readonly unknown[]).includes(key)) return problem;
  return 'is set by Peer for each instance, whatever the app sets: leave it out';
}

/** Of the value of a variable that somebody sets. */
export function envSetValueProblem(key: string, value: unknown): string | undefined {
  const problem = envValueProblem(value);
  if (problem !== undefined || key !== 'PORT' || portOf(value as string) !== undefined) return problem;
  return 'must be a port, 1 to 65535: where each instance listens';
}

/** Undefined when the text is no port. */
export function portOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^[1-9]\d{0,4}$/.test(text)) return undefined;
  const port = Number(text);
  return port <= 65_535 ? port : undefined;
}

export function sealKeyProblem(key: unknown): string | undefined {
  return typeof key === 'string' && SEAL_KEY_PATTERN.test(key) ? undefined : 'must be a public key of X25519';
}

export function clusterKeyIdProblem(id: unknown): string | undefined {
  return typeof id === 'string' && CLUSTER_KEY_ID_PATTERN.test(id) ? undefined : 'must be 16 hexadecimal digits';
}

export function wrappedKeyProblem(wrapped: unknown): string | undefined {
  return typeof wrapped === 'string' && WRAPPED_KEY_PATTERN.test(wrapped) ? undefined : 'must be a wrapped key';
}

/**
 * What counts of a value against the bounds: of a sealed one what it has sealed, rounded down. Who takes it in clear
 * checks it before it is sealed.
 */
export const envValueBytes = (value: string): number => sealedTextBytesMin(value) ?? byteLength(value);

export function envValueProblem(value: unknown): string | undefined {
  if (typeof value !== 'string') return 'must be text';
  // execve ends an environment entry at the first NUL.
  if (value.includes('\0')) return 'must not contain a NUL character';
  if (envValueBytes(value) > ENV_VALUE_BYTES_MAX) return `must be at most ${ENV_VALUE_BYTES_MAX / 1024} KiB`;
  return undefined;
}

/** Of the whole environment, once its keys and values are fine. */
export function envTotalProblem(env: Readonly<Record<string, string>>): string | undefined {
  const entries = Object.entries(env);
  if (entries.length > ENV_KEYS_MAX) return `holds ${entries.length} variables; at most ${ENV_KEYS_MAX} are allowed`;
  const totalBytes = entries.reduce((sum, [key, value]) => sum + byteLength(key) + envValueBytes(value), 0);
  if (totalBytes <= ENV_TOTAL_BYTES_MAX) return undefined;
  return `holds ${totalBytes} bytes; at most ${ENV_TOTAL_BYTES_MAX / 1024} KiB are allowed`;
}

export function integerProblem(value: unknown, range: { min: number; max: number }): string | undefined {
  if (Number.isSafeInteger(value) && (value as number) >= range.min && (value as number) <= range.max) return undefined;
  return `must be a whole number from ${range.min} to ${range.max}`;
}

export function choiceProblem(value: unknown, choices: readonly string[]): string | undefined {
  return choices.includes(value as string) ? undefined : `must be one of ${choices.join(', ')}`;
}

/** An invite that nobody needs to hear about any more: dropped when the next one is made. */
export const isStaleInvite = (invite: { expiresAtMs: number }, nowMs: number): boolean =>
  invite.expiresAtMs + INVITE_KEPT_MS <= nowMs;

export function domainProblem(domain: unknown): string | undefined {
  return typeof domain === 'string' && isHost(domain) ? undefined : 'must be a DNS name such as apps.example.org';
}

const isHost = (host: string): boolean =>
  host.length <= ROUTE_HOST_LENGTH_MAX && host.split('.').every((label) => NAME_PATTERN.test(label));

/** `/` alone, or segments of what may stand in a URL path unescaped or as %XX, none empty, `.` or `..`. */
const PATH_PATTERN = /^(?:\/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})+)+$/;

export function healthPathProblem(path: unknown): string | undefined {
  if (typeof path === 'string' && path.length <= ROUTE_PATH_LENGTH_MAX && /^\/[\x21-\x7e]*$/.test(path)) {
    return undefined;
  }
  return `must begin with / and hold at most ${ROUTE_PATH_LENGTH_MAX} printable characters`;
}

/**
 * The one way a route is written: `host` or `host/path`, the host in lower case, possibly `*.` in front, no slash at
 * the end. Paths keep their case. Answers the problem instead when it is not a route.
 */
export function normaliseRoute(text: unknown): { route: string } | { problem: string } {
  if (typeof text !== 'string' || text === '') return { problem: 'must be HOST or HOST/PATH' };
  if (text.length > ROUTE_HOST_LENGTH_MAX + ROUTE_PATH_LENGTH_MAX) return { problem: 'is too long' };
  // As it stands in a browser.
  const plain = text.replace(/^https?:\/\//i, '');
  if (plain.includes('://')) return { problem: 'must be HOST or HOST/PATH, of HTTP' };
  const slash = plain.indexOf('/');
  const host = (slash < 0 ? plain : plain.slice(0, slash)).toLowerCase();
  const path = slash < 0 ? '' : plain.slice(slash).replace(/\/$/, '');
  if (host.includes(':')) return { problem: 'must be HOST or HOST/PATH, without a port' };
  if (!isHost(host.startsWith('*.') ? host.slice(2) : host)) {
    return { problem: 'must begin with a DNS name such as app.example.org, or *. and a DNS name' };
  }
  if (path !== '') {
    const segments = path.slice(1).split('/');
    const escapes = segments.some((segment) => segment === '.' || segment === '..');
    if (!PATH_PATTERN.test(path) || path.length > ROUTE_PATH_LENGTH_MAX || escapes) {
      return { problem: `has a path that is not made of plain, non-empty segments such as /api/v1` };
    }
  }
  return { route: host + path };
}
