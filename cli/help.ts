// The help of the whole and of each command, made from the table of commands. Pure.

import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS, nameOf, type OptionSpec, usageOf } from './commands.ts';

/** Of all commands, or of one. */
export function helpText(spec?: CommandSpec): string {
  if (spec === undefined) {
    return [
      'peer: a platform-as-a-service without a master',
      section('Usage', ['$ peer COMMAND [options]']),
      section('Commands', inColumns(COMMANDS.map((command) => [usageOf(command), command.summary]))),
      section('Options', optionLines(GLOBAL_OPTIONS)),
      'See peer help COMMAND for the options of a command.',
    ].join('\n\n');
  }
  // A command's own --api stands in the place of the global one.
  const own = spec.options.map(longFlag);
  const options = [...spec.options, ...GLOBAL_OPTIONS.filter((option) => !own.includes(longFlag(option)))];
  return [
    `peer ${nameOf(spec)}: ${spec.summary}`,
    section('Usage', [`$ peer ${usageOf(spec)} [options]`]),
    section('Options', optionLines(options)),
  ].join('\n\n');
}

const section = (title: string, lines: readonly string[]): string =>
  [`${title}:`, ...lines.map((line) => `  ${line}`)].join('\n');

const optionLines = (options: readonly OptionSpec[]): string[] =>
  inColumns(options.map(({ flags, summary }) => [flags, summary]));

function inColumns(rows: readonly (readonly [string, string])[]): string[] {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `${left.padEnd(width)}  ${right}`);
}

const longFlag = ({ flags }: OptionSpec): string | undefined => /--[a-z-]+/.exec(flags)?.[0];
