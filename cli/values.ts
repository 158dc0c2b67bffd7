// What people write as values, read: sizes, durations, names, K=V, slots. Pure; a value that is wrong is a UsageError
// that says what it should be.

import { APP_SETTINGS } from '../crdt/settings.ts';
import { UsageError } from './errors.ts';
import { formatBytes } from './format.ts';

const UNIT_BYTES: Record<string, number> = { K: 1024, M: 1024 ** 2, G: 1024 ** 3, T: 1024 ** 4 };
const UNIT_MS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
export const INSTANCES_MAX = 100;

/** Both ends belong to it, as people write them. */
export type Range = { min: string; max: string };

export const sizeRange = ({ min, max }: { min: number; max: number }): Range => ({
  min: formatBytes(min),
  max: formatBytes(max),
});

export const INSTANCE_MEMORY = sizeRange(APP_SETTINGS.memoryBytes);
export const INSTANCE_DISK = sizeRange(APP_SETTINGS.diskBytes);
/** The node has the last word (crdt/limits.ts); a test keeps these in step. */
export const HEALTH_TIMEOUT: Range = { min: '1s', max: '180s' };
export const HEALTH_TIMEOUT_SECONDS = { min: 1, max: 180 };

/** `256M`, `1.5G`, `512MB`, `1GiB`: all in powers of 1024. */
export function parseSize(text: string, what: string, range?: Range): number {
  const match = /^(\d+(?:\.\d+)?)([KMGT])(?:i?B)?$/i.exec(text);
  if (match === null) throw new UsageError(`${what} ${text}: should be a size such as 256M or 1G`);
  const bytes = Math.round(Number(match[1]) * UNIT_BYTES[match[2]!.toUpperCase()]!);
  if (range !== undefined && (bytes < parseSize(range.min, what) || bytes > parseSize(range.max, what))) {
    throw new UsageError(`${what} ${text}: should be a size from ${range.min} to ${range.max}`);
  }
  return bytes;
}

/** `500ms`, `60s`, `5m`, `1h`, `2d`. */
export function parseDuration(text: string, what: string, range?: Range): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (match === null) throw new UsageError(`${what} ${text}: should be a duration such as 500ms, 60s, 5m or 1h`);
  const ms = Math.round(Number(match[1]) * UNIT_MS[match[2]!]!);
  if (range !== undefined && (ms < parseDuration(range.min, what) || ms > parseDuration(range.max, what))) {
    throw new UsageError(`${what} ${text}: should be a duration from ${range.min} to ${range.max}`);
  }
  return ms;
}

/** `2026-01-31T12:00:00Z`, with any offset, or `10m`: so long ago. Unix ms. */
export function parseMoment(text: string, what: string, nowMs: number): number {
  if (/^\d+(?:\.\d+)?(ms|s|m|h|d)$/.test(text)) return nowMs - parseDuration(text, what);
  const isWhole = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$/.test(text);
  const atMs = isWhole ? Date.parse(text.replace(' ', 'T')) : Number.NaN;
  if (Number.isFinite(atMs)) return atMs;
  throw new UsageError(
    `${what} ${text}: should be a time with its zone, such as 2026-01-31T12:00:00Z, or 10m for ten minutes ago`,
  );
}

export function parseWhole(text: string, what: string, range: { min: number; max: number }): number {
  const number = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= range.min && number <= range.max)) {
    throw new UsageError(`${what} ${text}: should be a whole number from ${range.min} to ${range.max}`);
  }
  return number;
}

/** Names of apps, nodes and users. */
export function parseName(text: string, what: string): string {
  if (/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text)) return text;
  throw new UsageError(
    `${what} ${JSON.stringify(text)}: should be up to 63 lower-case letters, digits and dashes, with no dash at either end${offerOf(text)}`,
  );
}

/** `My App` → `: my-app would do`. */
function offerOf(text: string): string {
  const name = slugOf(text);
  return name === '' ? '' : `: ${name} would do`;
}

const slugOf = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 63)
    .replace(/^-+|-+$/g, '');

/** Of what is there already, by its name or its id: nodes, and users, of whom nodes have `operator@NODE`. */
export function parseNameOrId(text: string, what: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._@-]{0,199}$/.test(text)) return text;
  throw new UsageError(`${what} ${JSON.stringify(text)}: should be a name or an id: letters, digits, dots and dashes`);
}

/** A folder's name as the name of an app. */
export function nameOfFolder(folder: string): string {
  const name = slugOf(folder);
  if (name === '')
    throw new UsageError(`the folder's name ${JSON.stringify(folder)} makes no app name: pass --name APP`);
  return name;
}

/** `K=V`; the value may be empty, and may hold more equal signs. */
export function parsePair(text: string, what: string): [key: string, value: string] {
  const equals = text.indexOf('=');
  if (equals < 1) throw new UsageError(`${what} ${JSON.stringify(text)}: should be KEY=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/** Each key once: of two, one would be passed over. */
export function parsePairs(texts: readonly string[], what: string): Record<string, string> {
  return Object.fromEntries(
    onlyOnce(
      texts.map((text) => parsePair(text, what)),
      what,
    ),
  );
}

export function onlyOnce<T extends readonly [key: string, value: unknown]>(pairs: T[], what: string): T[] {
  const twice = pairs.find(([key], index) => pairs.findIndex((other) => other[0] === key) < index);
  if (twice !== undefined) throw new UsageError(`${what} ${twice[0]} was given twice: give it once`);
  return pairs;
}

/** `3` and `web=3 worker=2`. */
export function parseScale(texts: readonly string[]): Record<string, number> {
  const scale = new Map<string, number>();
  for (const text of texts) {
    const [process, count] = text.includes('=') ? parsePair(text, 'scale') : ['web', text];
    if (scale.has(process)) {
      throw new UsageError(
        `${JSON.stringify(text)} is one argument too many, ${process} has a number already: peer scale APP [web=]N …`,
      );
    }
    scale.set(process, parseWhole(count, `scale ${process}`, { min: 0, max: INSTANCES_MAX }));
  }
  return Object.fromEntries(scale);
}

/** `hello`, `hello/1` (of web) or `hello/worker/1`. */
export function parseAppOrSlot(text: string): { app: string; slot?: { process: string; index: number } } {
  const [app = '', ...rest] = text.split('/');
  parseName(app, 'app');
  if (rest.length === 0) return { app };
  const [process, index] = rest.length === 1 ? ['web', rest[0]!] : [rest[0]!, rest[1]!];
  if (rest.length > 2 || process === '') throw new UsageError(`${text}: should be APP, APP/INDEX or APP/PROCESS/INDEX`);
  return { app, slot: { process, index: parseWhole(index, 'index', { min: 0, max: INSTANCES_MAX - 1 }) } };
}

/** `port`, `process`, `http` or `http:/PATH`. */
export function parseHealth(text: string): { kind: 'port' | 'process' | 'http'; path?: string } {
  if (text === 'port' || text === 'process' || text === 'http') return { kind: text };
  if (text.startsWith('http:/') && !text.startsWith('http://'))
    return { kind: 'http', path: text.slice('http:'.length) };
  throw new UsageError(`--health ${text}: should be port, process or http:/PATH`);
}

export function parseHostPort(text: string, what: string): string {
  const match = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/.exec(text);
  if (match === null || Number(match[1]) > 65535) {
    throw new UsageError(`${what} ${text}: should be HOST:PORT, for example 127.0.0.1:7600; port 0 means any free one`);
  }
  return text;
}

export function parseChoice<const T extends string>(text: string, what: string, choices: readonly T[]): T {
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new UsageError(`${what} ${text}: should be one of ${choices.join(', ')}`);
  return found;
}

export const VOLUME_SIZE: Range = { min: '1M', max: '16T' };

/** `/data` and `/data:2G`. */
export function parseVolume(text: string, what: string): { path: string; sizeBytes?: number } {
  const colon = text.lastIndexOf(':');
  const path = colon < 0 ? text : text.slice(0, colon);
  if (!path.startsWith('/')) throw new UsageError(`${what} ${text}: should be /PATH or /PATH:SIZE, such as /data:2G`);
  return colon < 0 ? { path } : { path, sizeBytes: parseSize(text.slice(colon + 1), `${what} ${path}`, VOLUME_SIZE) };
}

/** Each path once. */
export function parseVolumes(texts: readonly string[], what: string): { path: string; sizeBytes?: number }[] {
  const volumes = texts.map((text) => parseVolume(text, what));
  onlyOnce(
    volumes.map(({ path }) => [path, undefined]),
    what,
  );
  return volumes;
}
