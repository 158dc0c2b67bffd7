// Gives a command a terminal of its own inside its sandbox: decides the command line of script(1), which makes the
// terminal where the command can name it. Pure.

import type { TerminalSize } from '../../ports/commands.ts';
import { BASH } from '../sandbox/scripts.ts';

/** The pipe that carries new sizes of the terminal, as the wrapper finds it: a line `ROWS COLUMNS` for each. */
export const SIZES_FD = 5;

/** Understood by every program that draws; the terminal of whoever attends understands it too, or nearly. */
export const TERM = 'xterm-256color';

/** A login shell where there is bash. */
export const SHELL_LINE = 'if [ -x /bin/bash ]; then exec /bin/bash -l; else exec /bin/sh; fi';

/** Copies sizes to the terminal until whoever sends them has gone. It holds nothing of the terminal open itself. */
const RESIZER = `peer_tty=$(tty); (while read -r peer_rows peer_columns; do stty -F "$peer_tty" rows "$peer_rows" columns "$peer_columns"; done) <&${SIZES_FD} >/dev/null 2>&1 & exec ${SIZES_FD}<&-`;

/** What to run for an empty or a given argv, without a terminal or in one of this size. */
export function attendedArgv(argv: readonly string[], terminal: TerminalSize | undefined): string[] {
  if (terminal === undefined) return argv.length === 0 ? ['/bin/sh', '-c', SHELL_LINE] : [...argv];
  const command = argv.length === 0 ? SHELL_LINE : `exec ${argv.map(quoted).join(' ')}`;
  const { rows, columns } = terminal;
  const line = `stty rows ${rows} columns ${columns}; ${RESIZER}; ${command}`;
  // script runs the line with $SHELL, which may be anything in an app's environment.
  const start = `export SHELL=/bin/sh TERM=${TERM}; exec script --quiet --flush --return --command "$1" /dev/null`;
  return [BASH, '-c', start, 'peer', line];
}

export const sizeLine = ({ rows, columns }: TerminalSize): string => `${rows} ${columns}\n`;

/** One word of a shell's line. */
export const quoted = (word: string): string => `'${word.replaceAll("'", "'\\''")}'`;
