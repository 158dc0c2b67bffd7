// Reads single values out of a document that may hold anything: each answers a value of the wanted type, or the
// default, and says at its place what was wrong. Never throws, and knows nothing of what the values mean.

import { ImmutableString, isCounter } from '@automerge/automerge';
import { choiceProblem, integerProblem, oneLine } from './limits.ts';
import type { Place } from './record-problems.ts';

export type Entries = [key: string, value: unknown][];

export const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' &&
  value !== null &&
  !(value instanceof ImmutableString || value instanceof Uint8Array || value instanceof Date) &&
  !Array.isArray(value) &&
  !isCounter(value);

/**
 * A field of a map, which may be one that is being changed; undefined when it is not there, or when this is no map.
 */
export function field(map: unknown, key: string): unknown {
  // A list within a change throws when it is asked for a field.
  return isMap(map) && Object.hasOwn(map, key) ? map[key] : undefined;
}

/** Entries of a map in the order of their keys (code units), so that no view depends on the order of arrival. */
export function entries(map: unknown): Entries {
  if (!isMap(map)) return [];
  // A key of this name would not be an entry but the map's prototype, wherever it is copied to.
  const found = Object.entries(map).filter(([key]) => key !== '__proto__');
  return found.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The entries of a field that is a map; one that is something else is said. */
export function entriesIn(map: unknown, key: string, place: Place): Entries {
  const value = field(map, key);
  if (value !== undefined && !isMap(value)) place.in(key).replaced('must be a map');
  return entries(value);
}

/**
 * A record by names that people and programs chose: without a prototype, so that a process type named `constructor` is
 * not there until somebody scales it.
 */
export function record<T>(pairs: readonly (readonly [string, T])[]): Record<string, T> {
  const made: Record<string, T> = Object.create(null);
  for (const [key, value] of pairs) made[key] = value;
  return made;
}

/** Text, which may be empty. */
export function anyText(value: unknown): string | undefined {
  const found = value instanceof ImmutableString ? value.val : value;
  return typeof found === 'string' ? found : undefined;
}

/** Text that is not empty. */
export const optionalText = (value: unknown): string | undefined => anyText(value) || undefined;

/** Text for people: one line, cut to its length. */
export function line(map: unknown, key: string, rule: { lengthMax: number; default: string }, place: Place): string {
  const value = field(map, key);
  if (value === undefined) return rule.default;
  const found = anyText(value);
  if (found === undefined) place.in(key).replaced('must be text');
  return oneLine(found ?? '', rule.lengthMax) || rule.default;
}

export function choice<T extends string>(
  map: unknown,
  key: string,
  rule: { choices: readonly T[]; default: T },
  place: Place,
): T {
  const value = field(map, key);
  if (value === undefined) return rule.default;
  const text = anyText(value);
  const found = rule.choices.find((one) => one === text);
  if (found === undefined) place.in(key).replaced(choiceProblem(text, rule.choices) ?? '');
  return found ?? rule.default;
}

export function flag(map: unknown, key: string, place: Place): boolean {
  const value = field(map, key);
  if (value !== undefined && typeof value !== 'boolean') place.in(key).replaced('must be true or false');
  return value === true;
}

export type IntegerRule = { min?: number; max?: number; default: number };

/** A whole number; one outside the range is moved into it. The range is 0 to the largest safe integer unless given. */
export function integer(value: unknown, rule: IntegerRule, place?: Place): number {
  if (value === undefined) return rule.default;
  const found = isCounter(value) ? value.value : value;
  const [min, max] = [rule.min ?? 0, rule.max ?? Number.MAX_SAFE_INTEGER];
  const problem = integerProblem(found, { min, max });
  if (problem !== undefined) place?.replaced(problem);
  if (typeof found !== 'number' || !Number.isFinite(found)) return rule.default;
  // Without the sum, −0 would be a second kind of zero.
  return Math.min(Math.max(Math.trunc(found), min), max) + 0;
}

export const integerIn = (map: unknown, key: string, rule: IntegerRule, place: Place): number =>
  integer(field(map, key), rule, place.in(key));
