// The rules of limits.ts as checks that throw ChangeRejected with one line naming the field. Decides nothing itself.

import { ChangeRejected } from './errors.ts';
import {
  choiceProblem,
  envKeyProblem,
  envSetProblem,
  envSetValueProblem,
  envTotalProblem,
  envValueProblem,
  idProblem,
  integerProblem,
  nameProblem,
  normaliseRoute,
} from './limits.ts';
import { isSealed } from './sealed.ts';

const QUOTED_LENGTH_MAX = 80;

/** What someone wrote, shown in a message: quoted, on one line, cut. */
export function quote(value: unknown): string {
  const shown = JSON.stringify(value) ?? String(value);
  return shown.length <= QUOTED_LENGTH_MAX ? shown : `${shown.slice(0, QUOTED_LENGTH_MAX)}…`;
}

export const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export function checkId(what: string, id: unknown): void {
  const problem = idProblem(id);
  if (problem !== undefined) throw new ChangeRejected('invalid_id', `${what} ${quote(id)}: ${problem}.`);
}

export function checkName(what: string, name: unknown): void {
  const problem = nameProblem(name);
  if (problem !== undefined) throw new ChangeRejected('invalid_name', `${what} ${quote(name)}: ${problem}.`);
}

export function checkChoice(what: string, value: unknown, choices: readonly string[]): void {
  const problem = choiceProblem(value, choices);
  if (problem !== undefined) throw new ChangeRejected('invalid_value', `${what} ${quote(value)}: ${problem}.`);
}

export function checkInteger(what: string, value: unknown, range: { min: number; max: number }): void {
  const problem = integerProblem(value, range);
  if (problem !== undefined) throw new ChangeRejected('out_of_range', `${what} ${quote(value)}: ${problem}.`);
}

export function checkText(what: string, value: unknown, lengthMax: number): void {
  if (typeof value === 'string' && value.length <= lengthMax) return;
  throw new ChangeRejected('invalid_value', `${what}: must be text of at most ${lengthMax} characters.`);
}

export function checkBoolean(what: string, value: unknown): void {
  if (typeof value !== 'boolean') throw new ChangeRejected('invalid_value', `${what}: must be true or false.`);
}

/** Values never appear in the message: they may be secret. */
export function checkEnv(env: unknown): void {
  if (!isRecord(env)) throw new ChangeRejected('invalid_env', 'env: must be pairs of name and value.');
  for (const [key, value] of Object.entries(env)) {
    checkEnvKey(key);
    const problem = envValueProblem(value);
    if (problem !== undefined) throw new ChangeRejected('invalid_env', `env ${key}: ${problem}.`);
  }
  const problem = envTotalProblem(env as Record<string, string>);
  if (problem !== undefined) throw new ChangeRejected('too_large', `env: ${problem}.`);
}

/** Of variables that somebody sets. */
export function checkEnvSet(env: unknown): void {
  checkEnv(env);
  for (const [key, value] of Object.entries(env as Record<string, unknown>)) {
    // What is sealed was looked at before.
    const isClear = typeof value !== 'string' || !isSealed(value);
    const problem = envSetProblem(key) ?? (isClear ? envSetValueProblem(key, value) : undefined);
    if (problem !== undefined) throw new ChangeRejected('invalid_env', `env ${key}: ${problem}.`);
  }
}

export function checkEnvKey(key: unknown): void {
  const problem = envKeyProblem(key);
  if (problem !== undefined) throw new ChangeRejected('invalid_env', `env ${quote(key)}: ${problem}.`);
}

/** The host as it stands in a route. */
export function checkedHost(text: unknown): string {
  const host = checkedRoute(text);
  if (!host.includes('/')) return host;
  throw new ChangeRejected('invalid_route', `host ${quote(text)}: must be a host alone, without a path.`);
}

/** The route as it is stored. */
export function checkedRoute(text: unknown): string {
  const normal = normaliseRoute(text);
  if ('route' in normal) return normal.route;
  throw new ChangeRejected('invalid_route', `route ${quote(text)}: ${normal.problem}.`);
}
