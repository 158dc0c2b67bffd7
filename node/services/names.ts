// Names and words that go into commands and configurations of engines. Pure, but for newGuestUser.

import { randomBytes } from 'node:crypto';
import type { BindingView } from '../../crdt/view.ts';

/** Longest name of a database that PostgreSQL and MariaDB both take. */
const DATABASE_NAME_LENGTH_MAX = 63;
const WORD = /^[A-Za-z0-9]{1,256}$/;
/**
 * Databases that an engine has itself, or that a restore makes: whoever was let into `mysql` would have the list of
 * users. People do name services like their kinds.
 */
const OWN_DATABASES: ReadonlySet<string> = new Set([
  ...['postgres', 'template0', 'template1'],
  ...['mysql', 'sys', 'information_schema', 'performance_schema'],
  ...['peer_restoring', 'peer_replaced'],
]);

/** The database of a service, by its name: nothing in it has to be quoted in a URL or by people. */
export function databaseName(service: string): string {
  const name = service.replace(/[^A-Za-z0-9]/g, '_').slice(0, DATABASE_NAME_LENGTH_MAX);
  const isTaken = !/^[a-z]/i.test(name) || OWN_DATABASES.has(name.toLowerCase());
  return isTaken ? `d${name}`.slice(0, DATABASE_NAME_LENGTH_MAX) : name;
}

/** The text itself, that nothing has to quote; everything else is a bug of the caller. */
export function word(text: string): string {
  if (!WORD.test(text)) throw new Error('names and passwords of accesses are letters and digits');
  return text;
}

/** As one word of a shell's command line. */
export function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

const HEX_DIGITS = 16;

/** By which the engine knows the binding; two bindings never share one. */
export const userOf = ({ id }: Pick<BindingView, 'id'>): string =>
  `b${id
    .toLowerCase()
    .replace(/[^0-9a-f]/g, '')
    .slice(0, HEX_DIGITS)
    .padStart(HEX_DIGITS, '0')}`;

/** Of a person who connects: as of a binding that there is not, so that it is taken away once nobody knows it. */
export const newGuestUser = (): string => `b${randomBytes(HEX_DIGITS / 2).toString('hex')}`;

/** Whether the engine's name is one that userOf gave: others are not Peer's to take away. */
export const isUserOfBinding = (name: string): boolean => /^b[0-9a-f]{16}$/.test(name);
