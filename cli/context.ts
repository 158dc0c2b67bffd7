// What a command is given: its arguments and options, where to write, and the API. Reads of options are typed here.

import type { Client } from './client.ts';
import type { Output } from './output.ts';
import type { Options } from './parse.ts';

export type Context = {
  args: readonly string[];
  options: Options;
  output: Output;
  /** Connects on first use; fails with CliError when nothing says where the API is. */
  client(): Promise<Client>;
};

export const textOption = (options: Options, name: string): string | undefined => {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
};

export const textsOption = (options: Options, name: string): readonly string[] | undefined => {
  const value = options[name];
  return Array.isArray(value) ? value : undefined;
};

export const flagOption = (options: Options, name: string): boolean => options[name] === true;
