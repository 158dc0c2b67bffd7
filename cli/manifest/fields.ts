// How fields of manifests are read: valibot schemas over text, and the one line that names a wrong one by its path.
// Pure.

import * as v from 'valibot';
import { CliError, UsageError } from '../errors.ts';
import { closest } from '../suggest.ts';

export const text = v.string('should be text');

/** Text that a reader of values.ts takes; its complaint is the message. */
export const read = <T>(parse: (text: string) => T) =>
  v.pipe(
    text,
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      try {
        return parse(dataset.value);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        addIssue({ message: /should be .*$/s.exec(error.message)?.[0] ?? error.message });
        return NEVER;
      }
    }),
  );

export const yesOrNo = v.pipe(
  v.picklist(['true', 'false'], 'should be true or false'),
  v.transform((value) => value === 'true'),
);

/** A mapping with these keys and no others. `refused` says of known keys why not, and what to do. */
export const mapping = <E extends v.ObjectEntries>(entries: E, refused: Readonly<Record<string, string>> = {}) =>
  v.strictObject(entries, (issue) => {
    const last = issue.path?.at(-1);
    if (issue.expected === 'never' && last !== undefined && !Array.isArray(last.input)) {
      const key = String(last.key);
      return Object.hasOwn(refused, key) ? refused[key]! : unknownKey(key, Object.keys(entries));
    }
    return issue.received === 'undefined' ? 'is missing' : 'should be a mapping, such as KEY: VALUE';
  });

function unknownKey(key: string, known: readonly string[]): string {
  const meant = closest(key, known);
  return meant === undefined ? 'is not a key that is known here: remove it' : `is not known: did you mean ${meant}?`;
}

/** Parses, or fails with a line such as `manifest.yml: applications/0/memory: should be a size such as 256M or 1G`. */
export function parseData<S extends v.GenericSchema>(schema: S, data: unknown, file: string): v.InferOutput<S> {
  const parsed = v.safeParse(schema, data);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  const path = (issue.path ?? []).map((item) => String(item.key)).join('/');
  throw new CliError('bad_manifest', `${file}: ${path === '' ? '' : `${path}: `}${issue.message}`);
}
