// Reads single values out of a document that may hold anything: each answers a value of the wanted type, or the default.
// Never throws, and knows nothing of what the values mean.

import { ImmutableString, isCounter } from '@automerge/automerge';

export type Entries = [key: string, value: unknown][];

/** A field of a map; undefined when it is not there, or when this is no map. */
export function field(map: unknown, key: string): unknown {
  if (typeof map !== 'object' || map === null || !Object.hasOwn(map, key)) return undefined;
  return (map as Record<string, unknown>)[key];
}

/** Entries of a map in the order of their keys (code units), so that no view depends on the order of arrival. */
export function entries(map: unknown): Entries {
  if (typeof map !== 'object' || map === null || Array.isArray(map) || map instanceof Date) return [];
  if (map instanceof Uint8Array || map instanceof ImmutableString) return [];
  // A key of this name would not be an entry but the map's prototype, wherever it is copied to.
  const found = Object.entries(map).filter(([key]) => key !== '__proto__');
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** Text, which may be empty. */
export function anyText(value: unknown): string | undefined {
  const found = value instanceof ImmutableString ? value.val : value;
  return typeof found === 'string' ? found : undefined;
}

/** Text that is not empty. */
export const optionalText = (value: unknown): string | undefined => anyText(value) || undefined;

export const text = (value: unknown, byDefault: string): string => optionalText(value) ?? byDefault;

export function choice<T extends string, D>(value: unknown, choices: readonly T[], byDefault: D): T | D {
  const found = optionalText(value);
  return choices.find((one) => one === found) ?? byDefault;
}

/** A whole number; one outside the range is moved into it. The range is 0 to the largest safe integer unless given. */
export function integer(value: unknown, rule: { min?: number; max?: number; default: number }): number {
  const found = isCounter(value) ? value.value : value;
  if (typeof found !== 'number' || !Number.isFinite(found)) return rule.default;
  return Math.min(Math.max(Math.trunc(found), rule.min ?? 0), rule.max ?? Number.MAX_SAFE_INTEGER);
}

export const isMap = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  !(value instanceof ImmutableString || value instanceof Uint8Array || value instanceof Date) &&
  !Array.isArray(value) &&
  !isCounter(value);
