// Completion scripts for the shells, made from the table of commands. Names of apps and nodes are asked of the daemon
// when a word is completed, by `peer completions apps` and its kin. Pure.

import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS, nameOf, type OptionSpec } from './commands.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** What only the cluster knows: names of apps, their slots (`hello/0`), names of nodes and services, volumes. */
export const LISTS = ['apps', 'slots', 'nodes', 'services', 'volumes'] as const;
export type List = (typeof LISTS)[number];

export function completionScript(shell: Shell): string {
  return { bash, zsh, fish }[shell]();
}

/** By the word that stands for it in the usage of a command or an option. */
const LIST_BY_WORD: Record<string, List> = {
  app: 'apps',
  slot: 'slots',
  instance: 'slots',
  node: 'nodes',
  service: 'services',
  volume: 'volumes',
};

/**
 * What each argument of a command may be; undefined where nobody can know. The last goes on when there may be more.
 */
type Argument = { words: readonly string[]; list?: List };

export function argumentsOf(command: CommandSpec): Argument[] {
  return command.usage
    .split(' ')
    .slice(1)
    .map((part, at): Argument => {
      const list = LIST_BY_WORD[part.replace(/[^a-z]/g, '')];
      const words = at > 0 ? [] : nameOf(command) === 'help' ? COMMANDS.map(nameOf) : (command.actions ?? []);
      // The app of `peer env APP` stands where an action may.
      const isApp = at === 0 && nameOf(command) === 'env';
      return { words, ...(isApp ? { list: 'apps' } : list === undefined ? {} : { list }) };
    });
}

const flagsOf = (options: readonly OptionSpec[]): string[] =>
  options.flatMap(({ flags }) => flags.match(/(?<![\w-])--?[a-z][a-z-]*/g) ?? []);

const optionsOf = (command: CommandSpec): OptionSpec[] => [...command.options, ...GLOBAL_OPTIONS];
const takesValue = ({ flags }: OptionSpec): boolean => flags.includes('<');

/** Options whose value is an app or a node. */
const listedOptions = (command: CommandSpec): { flags: string[]; list: List }[] =>
  command.options.flatMap((option) => {
    const list = LIST_BY_WORD[/<([A-Z]+)>/.exec(option.flags)?.[1]?.toLowerCase() ?? ''];
    return list === undefined ? [] : [{ flags: flagsOf([option]), list }];
  });

/** A shell's lines for each command: what its n-th argument may be, the command counted as argument 0. */
const argumentCases = (line: (argument: Argument) => string | undefined): string[] =>
  COMMANDS.flatMap((command) =>
    argumentsOf(command).flatMap((argument, at) => {
      const done = line(argument);
      return done === undefined ? [] : [`    ${nameOf(command)}:${at + 1}) ${done} ;;`];
    }),
  );

const optionCases = (line: (list: List) => string): string[] =>
  COMMANDS.flatMap((command) =>
    listedOptions(command).flatMap(({ flags, list }) =>
      flags.map((flag) => `    ${nameOf(command)}:${flag}) ${line(list)} ;;`),
    ),
  );

/** After which a word is no argument: -f takes a value of peer push, none of peer logs. bash takes `=` for a word. */
const valueFlags = (): string[] => [
  '*:=',
  ...flagsOf(GLOBAL_OPTIONS.filter(takesValue)).map((flag) => `*:${flag}`),
  ...COMMANDS.flatMap((command) =>
    flagsOf(command.options.filter(takesValue)).map((flag) => `${nameOf(command)}:${flag}`),
  ),
];

/**
 * In bash and zsh: `argument`, the number of the argument that is being written, and `previous`, the word before it.
 */
const counting = (word: (index: string) => string, from: number, upTo: string): string => `\
  local argument=1 index previous=''
  for ((index = ${from}; index < ${upTo}; index++)); do
    previous=${word('index')}
    case $previous in
    -*|=) ;;
    *)
      case $command:${word('index - 1')} in
      ${valueFlags().join('|')}) ;;
      *) argument=$((argument + 1)) ;;
      esac
      ;;
    esac
  done`;

function bash(): string {
  const flags = COMMANDS.map(
    (command) => `    ${nameOf(command)}) words='${flagsOf(optionsOf(command)).join(' ')}' ;;`,
  );
  const list = (name: List) => `$(peer completions ${name} 2>/dev/null)`;
  const cases = argumentCases(({ words, list: name }) => {
    const known = [words.join(' '), ...(name === undefined ? [] : [list(name)])].filter((text) => text !== '');
    return known.length === 0 ? undefined : `words="${known.join(' ')}"`;
  });
  return `# bash completion for peer; put "source <(peer completions bash)" into ~/.bashrc
_peer() {
  local current=\${COMP_WORDS[COMP_CWORD]} command=\${COMP_WORDS[1]} words=''
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '${COMMANDS.map(nameOf).join(' ')}' -- "$current"))
    return
  fi
${counting((index) => `\${COMP_WORDS[${index}]}`, 2, 'COMP_CWORD')}
  case $command:$previous in
${optionCases((name) => `words="${list(name)}"`).join('\n')}
  *)
    case $current in
    -*)
      case $command in
${flags.join('\n')}
      esac
      ;;
    *)
      case $command:$argument in
${cases.join('\n')}
      esac
      ;;
    esac
    ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _peer peer`;
}

function zsh(): string {
  const commands = COMMANDS.map(
    (command) => `    ${quote(`${nameOf(command)}:${command.summary.replaceAll(':', '\\:')}`)}`,
  );
  const flags = COMMANDS.map(
    (command) => `    ${nameOf(command)}) compadd -- ${flagsOf(optionsOf(command)).map(quote).join(' ')} ;;`,
  );
  const list = (name: List) => `compadd -- \${(f)"$(peer completions ${name} 2>/dev/null)"}`;
  const cases = argumentCases(({ words, list: name }) => {
    const done = [
      ...(words.length === 0 ? [] : [`compadd -- ${words.map(quote).join(' ')}`]),
      ...(name === undefined ? [] : [list(name)]),
    ];
    return done.length === 0 ? undefined : done.join('; ');
  });
  return `#compdef peer
# zsh completion for peer; put "source <(peer completions zsh)" into ~/.zshrc
_peer() {
  local -a commands
  commands=(
${commands.join('\n')}
  )
  if (( CURRENT == 2 )); then
    _describe 'command' commands
    return
  fi
  local command=$words[2]
${counting((index) => `\${words[${index}]}`, 3, 'CURRENT')}
  case $command:$previous in
${optionCases((name) => `${list(name)}; return`).join('\n')}
  esac
  case $words[CURRENT] in
  -*)
    case $command in
${flags.join('\n')}
    esac
    return
    ;;
  esac
  case $command:$argument in
${cases.join('\n')}
  *) _files ;;
  esac
}
compdef _peer peer`;
}

function fish(): string {
  const list = (name: List) => `'(peer completions ${name} 2>/dev/null)'`;
  const lines = ['# fish completion for peer; save as ~/.config/fish/completions/peer.fish'];
  for (const command of COMMANDS) {
    const name = nameOf(command);
    const inside = `'__fish_seen_subcommand_from ${name}'`;
    lines.push(`complete -c peer -n __fish_use_subcommand -f -a ${name} -d ${fishQuote(command.summary)}`);
    for (const [at, { words, list: offered }] of argumentsOf(command).entries()) {
      // Options count with the words there: what comes after them is offered what the next argument may be.
      const here = `'__fish_seen_subcommand_from ${name}; and test (count (commandline -opc)) -eq ${at + 2}'`;
      if (words.length > 0) lines.push(`complete -c peer -n ${here} -f -a '${words.join(' ')}'`);
      if (offered !== undefined) lines.push(`complete -c peer -n ${here} -f -a ${list(offered)}`);
    }
    for (const option of optionsOf(command)) {
      const offered = listedOptions(command).find(({ flags }) => flags.join() === flagsOf([option]).join());
      const value = offered !== undefined ? ` -x -a ${list(offered.list)}` : takesValue(option) ? ' -r' : '';
      for (const flag of flagsOf([option])) {
        const kind = flag.startsWith('--') ? '-l' : '-s';
        const text = fishQuote(option.summary);
        lines.push(`complete -c peer -n ${inside} ${kind} ${flag.replace(/^-+/, '')}${value} -d ${text}`);
      }
    }
  }
  return lines.join('\n');
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const fishQuote = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
