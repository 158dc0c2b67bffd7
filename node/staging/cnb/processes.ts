// The processes that buildpacks name in launch.toml, as commands of a shell. Pure.

import { type Descriptor, list, table, text } from './descriptor.ts';
import { LifecycleError } from './errors.ts';

/** From this API on a command is a list of words and never goes through a shell of its own. */
const API_WITH_COMMAND_LISTS = 9;

export type Process = { type: string; command: string; isDefault: boolean };

export const processesOf = (buildpack: Descriptor, document: Record<string, unknown>): Process[] =>
  list(document.processes).map((value) => {
    const process = table(value);
    const type = text(process.type);
    const fail = (why: string): never => {
      throw new LifecycleError('buildpack_invalid', `buildpack ${buildpack.id}: launch.toml: ${why}`);
    };
    if (type === undefined || !/^[A-Za-z0-9._-]+$/.test(type)) {
      return fail('the `type` of a process should be letters, digits, dots, dashes and underscores');
    }
    const args = list(process.args).map(String);
    const words = buildpack.api >= API_WITH_COMMAND_LISTS ? list(process.command).map(String) : [];
    const single = text(process.command);
    const workingDir = text(process['working-dir']);
    let command: string;
    if (buildpack.api >= API_WITH_COMMAND_LISTS) {
      if (words.length === 0) fail(`the \`command\` of ${type} should be a list of words`);
      command = shellWords([...words, ...args]);
    } else {
      if (single === undefined || single === '') return fail(`the \`command\` of ${type} should be text`);
      if (process.direct === true) command = shellWords([single, ...args]);
      else command = args.length === 0 ? single : evaluatedWords([single, ...args]);
    }
    return { type, command: inFolder(workingDir, command), isDefault: process.default === true };
  });

/** Later ones stand for earlier ones of the same type. Without a `web`, the default process is it. */
export const mergedProcesses = (processes: readonly Process[]): Record<string, string> => {
  const merged = new Map(processes.map((process) => [process.type, process]));
  const main = [...merged.values()].findLast(({ isDefault }) => isDefault);
  const commands = Object.fromEntries([...merged.values()].map(({ type, command }) => [type, command]));
  return main === undefined || merged.has('web') ? commands : { ...commands, web: main.command };
};

export const quoted = (word: string): string =>
  /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

const shellWords = (words: readonly string[]): string => words.map(quoted).join(' ');

/** Each word is evaluated by a shell as if it stood in double quotes, and stays one word. */
const evaluatedWords = (words: readonly string[]): string => {
  const script = words.map((_, at) => `"$(eval echo \\"$${at}\\")"`).join(' ');
  return `exec bash -c ${quoted(script)} ${shellWords(words)}`;
};

const inFolder = (folder: string | undefined, command: string): string =>
  folder === undefined || folder === '' ? command : `cd ${quoted(folder)} && exec ${command.replace(/^exec /, '')}`;
