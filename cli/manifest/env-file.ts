// Env files in Compose's format: `NAME=value` a line, quotes, comments and variables. Pure.
// See https://docs.docker.com/compose/how-tos/environment-variables/variable-interpolation/#env-file-syntax

import { CliError } from '../errors.ts';
import { type ShellVariables, substituteText } from './compose-variables.ts';

/** `export` is for shells that read the same file; a colon is an equals sign. */
const ASSIGNMENT = /[^\S\n]*(?:export[^\S\n]+)?([\w.-]+)[^\S\n]*(?:[=:][^\S\n]*)?/y;
const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t' };

/**
 * The variables of a file. A value may name those above it, and those of `outside`, which also give a value to a name
 * that stands alone. Fails with CliError `bad_manifest`, by file and line, where a line is no assignment.
 */
export function readEnvText(text: string, file: string, outside: ShellVariables = {}): Record<string, string> {
  const found: Record<string, string> = {};
  const source = text.replaceAll('\r\n', '\n');
  let at = 0;
  const end = (from: number): number => {
    const newline = source.indexOf('\n', from);
    return newline === -1 ? source.length : newline;
  };
  while (at < source.length) {
    const lineEnd = end(at);
    if (/^\s*(#|$)/.test(source.slice(at, lineEnd))) {
      at = lineEnd + 1;
      continue;
    }
    const where = `${file}: line ${source.slice(0, at).split('\n').length}`;
    ASSIGNMENT.lastIndex = at;
    const [head, name] = ASSIGNMENT.exec(source) ?? [];
    const isAssigned = head !== undefined && /[=:]/.test(head.slice(head.indexOf(name!) + name!.length));
    if (head === undefined || name === undefined || (!isAssigned && at + head.length < lineEnd)) {
      throw new CliError('bad_manifest', `${where}: should be NAME=value, or a comment that begins with #`);
    }
    at += head.length;
    if (!isAssigned) {
      const given = outside[name];
      if (given !== undefined) found[name] = given;
      at = lineEnd + 1;
      continue;
    }
    const quote = source[at];
    if (quote === '"' || quote === "'") {
      const { value, next } = quoted(source, at, where);
      const rest = source.slice(next, end(next));
      if (!/^\s*(#.*)?$/.test(rest)) {
        throw new CliError(
          'bad_manifest',
          `${where}: there is more behind the closing ${quote}: quote all of the value`,
        );
      }
      found[name] = quote === "'" ? value : substituteText(value, { ...outside, ...found }, where);
      at = end(next) + 1;
      continue;
    }
    // A # is a comment only behind a space: `https://x/#/login` and `ab#cd` are whole.
    const value = source
      .slice(at, lineEnd)
      .replace(/(^|\s+)#.*$/, '')
      .trim();
    found[name] = substituteText(value, { ...outside, ...found }, where);
    at = lineEnd + 1;
  }
  return found;
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
