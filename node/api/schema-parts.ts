// What schemas of requests are put together from. Decides nothing of any request.

import * as v from 'valibot';
import * as limits from '../../crdt/limits.ts';

export const object = <E extends v.ObjectEntries>(entries: E) => v.strictObject(entries, objectMessage);

function objectMessage(issue: v.StrictObjectIssue): string {
  if (issue.expected === 'never') return 'is not a field that is known here';
  return issue.received === 'undefined' ? 'is missing' : 'should be an object';
}

/** A value that a rule of crdt/limits.ts accepts. */
export const ruled = (problem: (value: unknown) => string | undefined) =>
  v.pipe(
    v.string('should be text'),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const message = problem(dataset.value);
      if (message !== undefined) addIssue({ message });
    }),
  );

export const whole = (min: number, max: number, unit = '') => {
  const message = `should be a whole number from ${min} to ${max}${unit}`;
  return v.pipe(v.number(message), v.safeInteger(message), v.minValue(min, message), v.maxValue(max, message));
};

export const appName = ruled(limits.nameProblem);
export const memoryBytes = whole(limits.MEMORY_BYTES_MIN, limits.MEMORY_BYTES_MAX, ' bytes');
export const flag = v.optional(v.picklist(['true', 'false'], 'should be true or false'));
