// Small writes to a draft of the document, which is Automerge's proxy inside a change, or a plain copy. Each leaves a
// value alone that is already as wanted: a write of the same value would grow the history, which can never be cut.

import { Counter, ImmutableString, isCounter } from '@automerge/automerge';
import { anyText, isMap } from './read-values.ts';
import type { DesiredDoc } from './schema.ts';

/** The document as changes write it; fields may be missing when an older version made it. */
export type Draft = DesiredDoc;

type Scalar = string | number | boolean;
type Plain = Scalar | { [key: string]: Plain };
type WritableCounter = Counter & { increment(by: number): void };
type Fields = Record<string, unknown>;

/** Stored form: text as one value that is replaced as a whole, not as a sequence of characters that are merged. */
export function stored(value: unknown): unknown {
  if (typeof value === 'string') return new ImmutableString(value);
  if (typeof value !== 'object' || value === null) return value;
  const defined = Object.entries(value).filter(([, one]) => one !== undefined);
  return Object.fromEntries(defined.map(([key, one]) => [key, stored(one)]));
}

/** Sets a scalar unless it is so already. */
export function put<T extends object>(map: T, key: keyof T & string, value: Scalar): void {
  const fields = map as Fields;
  const present = Object.hasOwn(fields, key) ? fields[key] : undefined;
  if ((typeof value === 'string' ? anyText(present) : present) === value) return;
  fields[key] = stored(value);
}

/** Sets a whole map, replacing what stood there: for maps that only make sense as one, and for new entries. */
export function putMap<T extends object>(map: T, key: keyof T & string, value: { [key: string]: Plain | undefined }) {
  (map as Fields)[key] = stored(value);
}

export function drop<T extends object>(map: T, key: keyof T & string): void {
  if (Object.hasOwn(map, key)) delete (map as Fields)[key];
}

/** The map under the key; made when it is missing, which only happens in a document that an older version created. */
export function mapIn<T extends object, K extends keyof T & string>(map: T, key: K): NonNullable<T[K]> & object {
  const fields = map as Fields;
  // Or when another node wrote something else there.
  if (!isMap(Object.hasOwn(fields, key) ? fields[key] : undefined)) fields[key] = {};
  return fields[key] as NonNullable<T[K]> & object;
}

/** Adds one. Increments made apart add up, so the number never goes back. */
export function increment<T extends object>(map: T, key: keyof T & string): void {
  const fields = map as Fields;
  const present = fields[key];
  // In a plain copy a counter is read-only; inside a change it is of a subclass that writes to the document.
  if (isCounter(present) && Object.getPrototypeOf(present) === Counter.prototype) {
    fields[key] = new Counter(present.value + 1);
  } else if (isWritableCounter(present)) present.increment(1);
  else fields[key] = (Number.isSafeInteger(present) ? (present as number) : 0) + 1;
}

/** A list inside a change claims to be a counter as well: its proxy says of every symbol that it has it. */
const isWritableCounter = (value: unknown): value is WritableCounter =>
  isCounter(value) && typeof (value as Partial<WritableCounter>).increment === 'function';

/** A deep copy of a document as plain maps, to try changes on before they are written. */
export function plainCopy(value: unknown): unknown {
  if (isCounter(value)) return value.value;
  if (typeof value !== 'object' || value === null || value instanceof ImmutableString) return value;
  if (value instanceof Uint8Array || value instanceof Date) return value;
  if (Array.isArray(value)) return value.map(plainCopy);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, plainCopy(one)]));
}
