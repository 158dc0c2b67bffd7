// Decides what a container is asked to run for a command that a person attends to: in a droplet through the app's
// profile scripts, in an image the program itself, because an image need not have a shell. Pure.

import type { AttendedCommand } from '../../ports/commands.ts';
import { quoted, SHELL_LINE } from '../commands/terminal.ts';
import { startCommand } from '../sandbox/scripts.ts';
import { IMAGE_SHELL } from './image-config.ts';

/** Of a program that is not there, as shells have it. */
export const NOT_FOUND_STATUS = 127;

/** The environment of a container is what it was made with, not what profile scripts add, so these come first. */
export function argvInDroplet({ argv, terminal }: AttendedCommand): string[] {
  const line = argv.length === 0 ? SHELL_LINE : `exec ${argv.map(quoted).join(' ')}`;
  if (terminal === undefined) return startCommand(line);
  // Engines set the size when they are asked to, which is after the start.
  return startCommand(`stty rows ${terminal.rows} columns ${terminal.columns} 2>/dev/null; ${line}`);
}

export function argvInImage({ argv }: AttendedCommand): string[] {
  return argv.length === 0 ? [IMAGE_SHELL, '-c', SHELL_LINE] : [...argv];
}

/** For whoever asked for it. */
export function notInImage(program: string): string {
  const hint =
    program === IMAGE_SHELL
      ? 'name one that it has, with its arguments, in place of a line for a shell'
      : "name one that it has, by its path if it is not on the image's PATH";
  return `the image has no program ${program}: ${hint}`;
}
