// $VARIABLES in Compose files and their env files: `$X`, `${X}`, `${X:-default}`, `${X:?message}`, `${X:+other}` and
// `$$`; what stands after an operator is a template itself, such as `${X:-${Y:-z}}`. Pure.
// See https://github.com/compose-spec/compose-spec/blob/main/12-interpolation.md

import { CliError } from '../errors.ts';
import type { Data } from './document.ts';

export type ShellVariables = Readonly<Record<string, string | undefined>>;

const PLAIN = /[A-Za-z_]\w*/y;
const OPERATOR = /:?[-?+]/y;
const DEPTH_MAX = 20;

export function substitute(data: Data, variables: ShellVariables, file: string, path: readonly string[] = []): Data {
  if (typeof data === 'string') return substituteText(data, variables, `${file}: ${path.join('.')}`);
  if (Array.isArray(data))
    return data.map((value, index) => substitute(value, variables, file, [...path, String(index)]));
  if (data === null) return null;
  return Object.fromEntries(
    Object.entries(data).map(([key, value]) => [key, substitute(value, variables, file, [...path, key])]),
  );
}

/** `where` begins the message of what is wrong: CliError `bad_manifest`. */
export function substituteText(text: string, variables: ShellVariables, where: string): string {
  if (!text.includes('$')) return text;
  return new Template(text, variables, where).whole();
}

/** Reads a text once, from left to right. */
class Template {
  readonly #text: string;
  readonly #variables: ShellVariables;
  readonly #where: string;
  #at = 0;

  constructor(text: string, variables: ShellVariables, where: string) {
    this.#text = text;
    this.#variables = variables;
    this.#where = where;
  }

  whole(): string {
    return this.#until('', true, 0);
  }

  /** Up to `end`, which is not taken. What is not `used`, as the other branch is, may name what has no value. */
  #until(end: '' | '}', used: boolean, depth: number): string {
    if (depth > DEPTH_MAX) this.#fail('variables are nested too deeply');
    let expanded = '';
    while (this.#at < this.#text.length && (end === '' || this.#text[this.#at] !== end)) {
      const letter = this.#text[this.#at++]!;
      expanded += letter === '$' ? this.#variable(used, depth) : letter;
    }
    return expanded;
  }

  /** What stands behind a $. */
  #variable(used: boolean, depth: number): string {
    if (this.#take('$')) return '$';
    if (!this.#take('{')) {
      const name = this.#match(PLAIN) ?? this.#fail('a $ that begins no variable is written $$');
      return this.#value(name, '', '', used);
    }
    const name = this.#match(PLAIN) ?? this.#fail('a $ that begins no variable is written $$');
    const operator = this.#match(OPERATOR) ?? '';
    const word = operator === '' ? '' : this.#until('}', used && this.#wantsWord(name, operator), depth + 1);
    if (!this.#take('}')) this.#fail(`\${${name} has no end: write \${${name}}, or $$ for a $`);
    return this.#value(name, operator, word, used);
  }

  #isSet(name: string, operator: string): boolean {
    const value = this.#variables[name];
    // With a colon an empty value counts as none.
    return value !== undefined && !(operator.startsWith(':') && value === '');
  }

  #wantsWord(name: string, operator: string): boolean {
    return operator.endsWith('+') === this.#isSet(name, operator);
  }

  #value(name: string, operator: string, word: string, used: boolean): string {
    if (operator.endsWith('+')) return this.#isSet(name, operator) ? word : '';
    if (this.#isSet(name, operator)) return this.#variables[name]!;
    if (operator.endsWith('-')) return word;
    if (!used) return '';
    const why = operator.endsWith('?') && word !== '' ? `: ${word}` : '';
    this.#fail(`\${${name}} has no value${why}: set it, or pass --var ${name}=VALUE`);
  }

  #take(letter: string): boolean {
    if (this.#text[this.#at] !== letter) return false;
    this.#at++;
    return true;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0];
    if (found !== undefined) this.#at += found.length;
    return found;
  }

  #fail(why: string): never {
    throw new CliError('bad_manifest', `${this.#where}: ${why}`);
  }
}
