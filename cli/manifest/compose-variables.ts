// $VARIABLES in Compose files: `$X`, `${X}`, `${X:-default}`, `${X:?message}`, `${X:+other}` and `$$`. Pure.
// See https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md

import { CliError } from '../errors.ts';
import type { Data } from './document.ts';

export type ShellVariables = Readonly<Record<string, string | undefined>>;

const VARIABLE = /\$(?:(\$)|([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?[-?+])([^{}]*))?\}|(.?))/g;

export function substitute(data: Data, variables: ShellVariables, file: string, path: readonly string[] = []): Data {
  if (typeof data === 'string') return substituteText(data, variables, `${file}: ${path.join('.')}`);
  if (Array.isArray(data))
    return data.map((value, index) => substitute(value, variables, file, [...path, String(index)]));
  if (data === null) return null;
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, substitute(value, variables, file, [...path, key])]),
  );
}

function substituteText(text: string, variables: ShellVariables, where: string): string {
  return text.replace(VARIABLE, (_, dollar, plain, braced, operator = '', word = '') => {
    if (dollar !== undefined) return '$';
    const name: string | undefined = plain ?? braced;
    if (name === undefined) {
      throw new CliError('bad_manifest', `${where}: a $ that begins no variable is written $$`);
    }
    const value = variables[name];
    // With a colon an empty value counts as none.
    const isSet = value !== undefined && !(operator.startsWith(':') && value === '');
    if (operator.endsWith('+')) return isSet ? word : '';
    if (isSet) return value;
    if (operator.endsWith('-')) return word;
    const why = operator.endsWith('?') && word !== '' ? `: ${word}` : '';
    throw new CliError('bad_manifest', `${where}: \${${name}} has no value${why}: set it, or pass --var ${name}=VALUE`);
  });
}
