// Completion scripts for the shells, made from the table of commands. Pure.

import { COMMANDS, type CommandSpec, GLOBAL_OPTIONS, nameOf, type OptionSpec } from './commands.ts';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

export function completionScript(shell: Shell): string {
  return { bash, zsh, fish }[shell]();
}

const flagsOf = (options: readonly OptionSpec[]): string[] =>
  options.flatMap(({ flags }) => flags.match(/(?<![\w-])--?[a-z][a-z-]*/g) ?? []);

const wordsAfter = (command: CommandSpec): string[] => [
  ...(command.actions ?? []),
  ...flagsOf(command.options),
  ...flagsOf(GLOBAL_OPTIONS),
];

function bash(): string {
  const cases = COMMANDS.map((command) => `    ${nameOf(command)}) words='${wordsAfter(command).join(' ')}' ;;`);
  return `# bash completion for peer; put "source <(peer completions bash)" into ~/.bashrc
_peer() {
  local current=\${COMP_WORDS[COMP_CWORD]} words
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='${COMMANDS.map(nameOf).join(' ')}'
  else
    case \${COMP_WORDS[1]} in
${cases.join('\n')}
    *) words='' ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _peer peer`;
}

function zsh(): string {
  const commands = COMMANDS.map(
    (command) => `    ${quote(`${nameOf(command)}:${command.summary.replaceAll(':', '\\:')}`)}`,
  );
  const cases = COMMANDS.map(
    (command) => `    ${nameOf(command)}) compadd -- ${wordsAfter(command).map(quote).join(' ')}; _files ;;`,
  );
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
  case $words[2] in
${cases.join('\n')}
  esac
}
compdef _peer peer`;
}

function fish(): string {
  const lines = ['# fish completion for peer; save as ~/.config/fish/completions/peer.fish'];
  for (const command of COMMANDS) {
    const name = nameOf(command);
    const inside = `'__fish_seen_subcommand_from ${name}'`;
    lines.push(`complete -c peer -n __fish_use_subcommand -f -a ${name} -d ${fishQuote(command.summary)}`);
    if (command.actions !== undefined) lines.push(`complete -c peer -n ${inside} -a '${command.actions.join(' ')}'`);
    for (const option of [...command.options, ...GLOBAL_OPTIONS]) {
      const value = option.flags.includes('<') ? ' -r' : '';
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
