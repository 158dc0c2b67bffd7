// From the command line to a command with its arguments and options, or a UsageError with a suggestion. cac registers
// and parses; what it is too lenient about is checked here. Runs nothing.

import { type CAC, cac } from 'cac';
import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS, nameOf, type OptionSpec, usageOf } from './commands.ts';
import { UsageError } from './errors.ts';
import { closest } from './suggest.ts';

export type Options = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

/** `help`: of all commands, or of one. */
export type Parsed =
  | { kind: 'run'; command: CommandSpec; args: string[]; options: Options }
  | { kind: 'help'; command?: CommandSpec; json: boolean };

/**
 * cac turns what looks like a number into one, and 007 into 7; and it takes a lone dash, which means stdin, for an
 * option. No argument can hold a NUL, so one behind the number, or before the dash, prevents that.
 */
const GUARD = '\u0000';

export function parse(argv: readonly string[]): Parsed {
  if (argv.length === 0) return { kind: 'help', json: false };
  const cli = register();
  const guarded = argv.map((argument) => {
    if (argument === '-') return GUARD + argument;
    return isNumberLike(argument) ? argument + GUARD : argument;
  });
  const parsed = cli.parse(['node', 'peer', ...guarded], { run: false });
  const words = parsed.args.map(unguard);
  const given = Object.entries(parsed.options).filter(([name]) => name !== '--');
  const spec = COMMANDS.find((command) => nameOf(command) === cli.matchedCommandName);
  if (parsed.options.help === true) {
    if (spec === undefined && words[0] !== undefined) throw unknownCommand(words[0]);
    return helpOf(spec, parsed.options.json === true);
  }
  const matched = cli.matchedCommand;
  if (spec === undefined || matched === undefined) {
    if (words[0] !== undefined) throw unknownCommand(words[0]);
    throw new UsageError(`there is no command in: peer ${argv.join(' ')}; see peer --help`);
  }
  const args = [...words, ...(parsed.options['--'] as string[]).map(unguard)];
  const known = [...spec.options, ...GLOBAL_OPTIONS];
  const options: Record<string, string | boolean | readonly string[]> = {};
  for (const [name, value] of given) {
    const option = known.findLast((candidate) => namesOf(candidate).includes(name));
    if (option === undefined) throw unknownOption(name, argv, known, nameOf(spec));
    const read = readOption(name, value, known, nameOf(spec));
    // cac forgets what stood before the --no-x.
    const written = writtenAs(name, known);
    const isBoth =
      (read === false && argv.some((one) => written.includes(one.split('=')[0]!))) ||
      (typeof read === 'string' &&
        written.some((flag) => flag.startsWith('--') && argv.includes(`--no-${flag.slice(2)}`)));
    if (isBoth) throw new UsageError(`--${kebabCase(name)} and --no-${kebabCase(name)} exclude each other`);
    // For cac a --no-x makes the value of --x a matter of choice.
    const isBare = argv.some((one) => written.includes(one));
    const takesValue = known.some((one) => namesOf(one).includes(name) && one.flags.includes('<'));
    if (read === undefined && isBare && takesValue) throw needsValue(`--${kebabCase(name)}`);
    if (read !== undefined) options[name] = read;
  }
  checkArgs(spec, matched.args, args);
  if (nameOf(spec) !== 'help') return { kind: 'run', command: spec, args, options };
  const about = COMMANDS.find((command) => nameOf(command) === args[0]);
  if (about === undefined && args[0] !== undefined) throw unknownCommand(args[0]);
  return helpOf(about, options.json === true);
}

const helpOf = (command: CommandSpec | undefined, json: boolean): Parsed => ({
  kind: 'help',
  ...(command === undefined ? {} : { command }),
  json,
});

export function register(): CAC {
  const cli = cac('peer');
  for (const { flags, summary } of GLOBAL_OPTIONS) cli.option(flags, summary);
  for (const { usage, summary, options } of COMMANDS) {
    const command = cli.command(usage, summary);
    for (const option of options) command.option(option.flags, option.summary);
  }
  return cli;
}

/** Every way to write the option of that name, without its `no-`. */
function writtenAs(name: string, known: readonly OptionSpec[]): string[] {
  const names = known.map(namesOf).find((one) => one.length > 1 && one.includes(name)) ?? [name];
  return names.map((one) => (one.length === 1 ? `-${one}` : `--${kebabCase(one)}`));
}

/** In camel case, without the dashes: `data-dir <D>` → `dataDir`. */
export function namesOf(option: OptionSpec): string[] {
  return option.flags
    .replace(/[<[].*$/, '')
    .split(',')
    .map((flag) => camelCase(flag.trim().replace(/^-+/, '').replace(/^no-/, '')));
}

function readOption(
  name: string,
  value: unknown,
  known: readonly OptionSpec[],
  command: string,
): string | boolean | readonly string[] | undefined {
  const names = known.filter((option) => namesOf(option).includes(name)).flatMap(namesOf);
  // What is said of --manifest holds of its -f.
  const declared = known.filter((option) => namesOf(option).some((other) => names.includes(other)));
  const takesValue = declared.find((option) => option.flags.includes('<'));
  const isNegated = declared.some((option) => option.flags.startsWith('--no-'));
  const flag = `--${kebabCase(names.at(-1) ?? name)}`;
  const values: unknown[] = Array.isArray(value) ? value : [value];
  if (takesValue === undefined) {
    const [first] = values;
    // cac gives `true` for a --no-x that is absent, and the last of several wins.
    if (values.every((one) => typeof one === 'boolean'))
      return first === true && isNegated ? undefined : (first as boolean);
    throw new UsageError(`${flag} takes no value: see peer ${command} --help`);
  }
  const texts = values.filter((one) => typeof one === 'string').map(unguard);
  if (isNegated && values.includes(false)) {
    if (texts.length > 0) throw new UsageError(`${flag} and --no-${kebabCase(name)} exclude each other`);
    return false;
  }
  if (isNegated && texts.length === 0 && values.length === 1) return undefined;
  if (texts.length !== values.length) {
    throw needsValue(flag);
  }
  if (takesValue.many) return texts;
  if (texts.length > 1) throw new UsageError(`${flag} was given ${texts.length} times: give it once`);
  return texts[0]!;
}

const needsValue = (flag: string): UsageError =>
  new UsageError(`${flag} needs a value; one that begins with a dash is written ${flag}=VALUE`);

function checkArgs(
  spec: CommandSpec,
  declared: readonly { required: boolean; value: string; variadic: boolean }[],
  args: readonly string[],
): void {
  const missing = declared.filter(({ required }) => required)[args.length];
  const usage = `peer ${usageOf(spec)}`;
  if (missing !== undefined) throw new UsageError(`${missing.value.toUpperCase()} is missing: ${usage}`);
  if (declared.some(({ variadic }) => variadic) || args.length <= declared.length) return;
  throw new UsageError(`${JSON.stringify(args[declared.length])} is one argument too many: ${usage}`);
}

function unknownCommand(word: string): UsageError {
  const meant = closest(word, COMMANDS.map(nameOf));
  const hint = meant === undefined ? 'see peer --help' : `did you mean peer ${meant}?`;
  return new UsageError(`there is no command ${word}: ${hint}`);
}

function unknownOption(
  name: string,
  argv: readonly string[],
  known: readonly OptionSpec[],
  command: string,
): UsageError {
  const written = argv.find((argument) => camelCase(argument.replace(/^-+(no-)?/, '').replace(/[=.].*$/, '')) === name);
  const flag = (written ?? (name.length === 1 ? `-${name}` : `--${kebabCase(name)}`)).replace(/=.*$/, '');
  if (/^\d/.test(name)) {
    return new UsageError(`${flag} is no option: a value that begins with a dash is written --OPTION=${flag}`);
  }
  const flags = known.flatMap((option) => option.flags.match(/--[a-z-]+/g) ?? []);
  const meant = closest(flag, flags);
  const hint = meant === undefined ? `see peer ${command} --help` : `did you mean ${meant}?`;
  return new UsageError(`peer ${command} has no option ${flag}: ${hint}`);
}

/** What Number would take; the value behind `--x=` counts too. */
function isNumberLike(argument: string): boolean {
  const value = /^--?[^=]+=(.*)$/s.exec(argument)?.[1] ?? argument;
  return Number.isFinite(Number(value)) && !/^-\D/.test(value);
}

const unguard = (text: unknown): string => String(text).replaceAll(GUARD, '');
const camelCase = (text: string): string =>
  text.replace(/([a-z])-([a-z])/g, (_, a: string, b: string) => a + b.toUpperCase());
export const kebabCase = (text: string): string => text.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
