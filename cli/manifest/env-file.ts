// Env files in Compose's format: `NAME=value` a line, quotes, comments and variables. Pure.
// See https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax

import { CliError } from '../errors.ts';
import { type ShellVariables, substituteText } from './compose-variables.ts';

/** `export` is for shells that read the same file; a colon is an equals sign. */
const ASSIGNMENT = /[^\S\n]*(?:export[^\S\n]+)?([\w.-]+)[^\S\n]*(?:([=:])[^\S\n]*)?/y;
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };

/**
 * The variables of a file. A value may name those above it, and those of `outside`, which also give a value to a name
 * that stands alone. Fails with CliError `bad_manifest`, by file and line, where a line is no assignment.
 */
export function readEnvText(text: string, file: string, outside: ShellVariables = {}): Record<string, string> {
  const found: Record<string, string> = {};
  const known: Record<string, string | undefined> = { ...outside };
  const source = text.replaceAll('\r\n', '\n');
  let line = 1;
  for (let at = 0; at < source.length; ) {
    const { name, value, next } = assignmentAt(source, at, { where: `${file}: line ${line}`, known });
    if (name !== undefined && value !== undefined) known[name] = found[name] = value;
    line += source.slice(at, next).split('\n').length - 1;
    at = next;
  }
  return found;
}

type Place = { where: string; known: ShellVariables };

/** What begins there, and where the line after it does. Without a name it is a comment, or an empty line. */
function assignmentAt(
  source: string,
  at: number,
  { where, known }: Place,
): { name?: string; value?: string | undefined; next: number } {
  const end = endOfLine(source, at);
  if (/^\s*(#|$)/.test(source.slice(at, end))) return { next: end + 1 };
  ASSIGNMENT.lastIndex = at;
  const [head = '', name, equals] = ASSIGNMENT.exec(source) ?? [];
  const begin = at + head.length;
  if (name === undefined || (equals === undefined && begin < end)) {
    throw new CliError('bad_manifest', `${where}: should be NAME=value, or a comment that begins with #`);
  }
  if (equals === undefined) return { name, value: known[name], next: end + 1 };
  const quote = source[begin];
  if (quote === '"' || quote === "'") {
    const { value, next } = quoted(source, begin, where);
    if (!/^\s*(#.*)?$/.test(source.slice(next, endOfLine(source, next)))) {
      throw new CliError('bad_manifest', `${where}: there is more behind the closing ${quote}: quote all of the value`);
    }
    const whole = quote === "'" ? value : substituteText(value, known, where);
    return { name, value: whole, next: endOfLine(source, next) + 1 };
  }
  // A # is a comment only behind a space: `https://x/#/login` and `ab#cd` are whole.
  const value = source.slice(begin, end).replace(/(^|\s+)#.*$/, '');
  return { name, value: substituteText(value.trim(), known, where), next: end + 1 };
}

function endOfLine(source: string, from: number): number {
  const newline = source.indexOf('\n', from);
  return newline === -1 ? source.length : newline;
}

/** What is between quotes, over several lines if need be, and where it goes on behind them. */
function quoted(source: string, from: number, where: string): { value: string; next: number } {
  const quote = source[from]!;
  let value = '';
  for (let at = from + 1; at < source.length; at++) {
    const letter = source[at]!;
    if (letter === quote) return { value, next: at + 1 };
    const escaped = letter === '\\' ? source[at + 1] : undefined;
    if (escaped === undefined) {
      value += letter;
    } else if (quote === "'") {
      // Between single quotes all is as it stands but the quote itself.
      value += escaped === "'" ? escaped : letter + escaped;
      at++;
    } else {
      // A $ that was escaped stays one when variables are put in.
      value += escaped === '$' ? '$$' : (ESCAPES[escaped] ?? escaped);
      at++;
    }
  }
  throw new CliError('bad_manifest', `${where}: the value has no closing ${quote}`);
}
