// Requests and answers against the table of methods: what is of another shape goes no further, and is the other
// node's fault.

import * as v from 'valibot';
import { GossipError } from './errors.ts';

/** The value as the schema makes it. Fails with GossipError `protocol`, which says what was wrong with it. */
export function checked<T>(schema: v.GenericSchema<unknown, T>, value: unknown, what: string): T {
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue);
  throw new GossipError('protocol', `${what}${where === null ? '' : `: ${where}`} ${issue.message.slice(0, 200)}`);
}
