// Decides what a Dockerfile may ask of the engine itself. What RUN does is done in the build's network, within the
// policy; an engine that fetches a URL or an image does so as the machine, and reaches all that the machine does.
// Pure.

import {
  DockerfileError,
  type Instruction,
  readDockerfile,
  readInstruction,
  wordsOf,
  writeDockerfile,
} from './dockerfile.ts';
import { isImageId, isPublic, parseImageName } from './image-names.ts';

export type BuildPlan = {
  /**
   * Names or ids of the images that it is built from; each to be there, and its triggers judged, before the build
   * begins.
   */
  images: string[];
  /** The Dockerfile to build, with images named by their ids. */
  write(idOf: (image: string) => string): string;
};

const RUN_INSTEAD =
  'the engine would fetch it, outside of the build’s network: use RUN with curl or wget, or put it into the folder';

/** Fails with DockerfileError when it asks for what the engine is not to do. */
export function planBuild(text: string): BuildPlan {
  const instructions = readDockerfile(text);
  if (!instructions.some(({ keyword }) => keyword === 'FROM')) throw new DockerfileError(1, 'it has no FROM');
  const images = new Set<string>();
  const stages: string[] = [];
  const globals = new Map<string, string>();
  const written = instructions.map((instruction): ((idOf: (image: string) => string) => Instruction) => {
    const { keyword, line, flags } = instruction;
    if (keyword === 'FROM') {
      const { image, name } = readFrom(instruction, globals);
      const isStage = stages.includes(image.toLowerCase());
      stages.push(name?.toLowerCase() ?? '');
      const as = name === undefined ? '' : ` AS ${name}`;
      if (isStage || image === 'scratch') return () => ({ line, keyword, flags: [], rest: `${image}${as}` });
      checkImage(image, line);
      images.add(image);
      return (idOf) => ({ line, keyword, flags: [], rest: `${idOf(image)}${as}` });
    }
    if (stages.length === 0) {
      if (keyword !== 'ARG') throw new DockerfileError(line, `${keyword} comes before FROM`);
      learn(instruction.rest, globals);
      return () => instruction;
    }
    judge(instruction);
    const [from, ...more] = flags
      .filter((flag) => flag.startsWith('--from'))
      .map((flag) => flag.slice('--from='.length));
    if (more.length > 0) throw new DockerfileError(line, `${keyword} takes one --from`);
    if (from === undefined || isStageOf(from, stages)) return () => instruction;
    checkImage(from, line);
    images.add(from);
    return (idOf) => ({
      ...instruction,
      flags: flags.map((flag) => (flag === `--from=${from}` ? `--from=${idOf(from)}` : flag)),
    });
  });
  return {
    images: [...images],
    write: (idOf) => writeDockerfile(written.map((write) => write(idOf))),
  };
}

/** What an image has builds do that start from it. Fails with DockerfileError; its line counts the triggers. */
export function judgeTriggers(triggers: readonly string[]): void {
  for (const [index, trigger] of triggers.entries()) judgeTrigger(readInstruction(trigger, index + 1));
}

function judgeTrigger(instruction: Instruction): void {
  const { keyword, line, flags } = instruction;
  if (keyword === 'FROM' || keyword === 'ONBUILD' || keyword === 'MAINTAINER') {
    throw new DockerfileError(line, `ONBUILD ${keyword} is not allowed`);
  }
  if (flags.some((flag) => flag.startsWith('--from'))) {
    throw new DockerfileError(line, 'ONBUILD with --from is not allowed: what it would fetch is not known now');
  }
  judge(instruction);
}

/** An instruction within a stage. */
function judge(instruction: Instruction): void {
  const { keyword, line, flags, rest } = instruction;
  switch (keyword) {
    case 'ADD':
    case 'COPY': {
      const words = wordsOf(rest);
      if (words === undefined)
        throw new DockerfileError(line, `${keyword} begins with [ and is no list of texts: write ["FROM", "TO"]`);
      for (const word of words.slice(0, -1)) judgeSource(keyword, word, line);
      return;
    }
    case 'RUN':
      if (flags.length > 0) {
        throw new DockerfileError(
          line,
          `RUN takes no ${flags[0]!.split('=')[0]} here: a build has its own network, and mounts nothing`,
        );
      }
      return;
    case 'ONBUILD':
      if (flags.length > 0) throw new DockerfileError(line, 'ONBUILD takes no flags');
      judgeTrigger(readInstruction(rest, line));
      return;
    default:
      return;
  }
}

/** Anything that an engine, of this version or another, might take for something to fetch. */
function judgeSource(keyword: 'ADD' | 'COPY', word: string, line: number): void {
  // Quotes and escapes go before it is looked at.
  const source = word.replace(/["'`\\]/g, '');
  const shown = source.slice(0, 100);
  const isRemote = /^[a-z][a-z0-9+.-]*:/i.test(source) || /^git@/i.test(source) || /^github\.com\//i.test(source);
  if (isRemote) throw new DockerfileError(line, `${keyword} ${shown}: ${RUN_INSTEAD}`);
  if (keyword === 'COPY') return;
  const variable = source.indexOf('$');
  // A base image may set it, too, so what it stands for is not known. After a folder's name nothing can become a URL.
  if (variable !== -1 && !/^[^:]*\//.test(source.slice(0, variable))) {
    throw new DockerfileError(line, `ADD ${shown}: the variable may stand for a URL: use COPY, or write ./${shown}`);
  }
}

function readFrom(
  { flags, rest, line }: Instruction,
  globals: ReadonlyMap<string, string>,
): { image: string; name: string | undefined } {
  for (const flag of flags) {
    // For the machine that builds, which is the only one there is.
    if (/^--platform=\$\{?(BUILD|TARGET)PLATFORM\}?$/.test(flag)) continue;
    throw new DockerfileError(
      line,
      `FROM takes no ${flag.slice(0, 60)} here: images are built for the machine they are built on`,
    );
  }
  const [word = '', as, name, ...more] = rest.split(/[ \t]+/);
  if (word === '' || more.length > 0 || (as !== undefined && (as.toUpperCase() !== 'AS' || name === undefined))) {
    throw new DockerfileError(line, 'FROM takes IMAGE, or IMAGE AS NAME');
  }
  if (name !== undefined && !/^[a-z][a-z0-9._-]*$/i.test(name)) {
    throw new DockerfileError(line, `${name.slice(0, 60)} is no name for a stage: letters, digits, dots and dashes`);
  }
  return { image: substitute(word, globals, line), name };
}

function checkImage(image: string, line: number): void {
  if (isImageId(image)) return;
  if (parseImageName(image) === undefined) {
    throw new DockerfileError(line, `${JSON.stringify(image.slice(0, 100))} is no name of an image`);
  }
}

/** Why an image that the engine does not have is not fetched; undefined when it may be. */
export function whyNotFetched(image: string): string | undefined {
  const name = parseImageName(image);
  if (name === undefined)
    return `the engine of this node has no image ${image}: name one by its registry, or push to a node that has it`;
  if (isPublic(name)) return undefined;
  return (
    `the engine of this node has no image ${image}, and fetches images of builds from public registries only, ` +
    `outside of the build’s network: have it brought there (docker pull on the node), or start from another image`
  );
}

function isStageOf(from: string, stages: readonly string[]): boolean {
  if (/^\d+$/.test(from)) return Number(from) < stages.length - 1;
  return stages.slice(0, -1).includes(from.toLowerCase());
}

/**
 * ARG before the first FROM: the only values that FROM sees, as a push gives none. What cannot be read here has none.
 */
function learn(rest: string, globals: Map<string, string>): void {
  for (const word of rest.split(/[ \t]+/)) {
    const [, name = '', value] = /^([A-Za-z_]\w*)=(.*)$/.exec(word) ?? [];
    if (value === undefined) continue;
    globals.delete(name);
    const quoted = /^"([^"]*)"$|^'([^']*)'$/.exec(value);
    const replaced = replaceVariables(quoted?.[1] ?? quoted?.[2] ?? value, globals);
    if (typeof replaced === 'string' && !UNREADABLE.test(replaced)) globals.set(name, replaced);
  }
}

const VARIABLE = /\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?:(:?-)([^${}]*))?\})/g;

/** Written in ways that engines read differently. */
const UNREADABLE = /["'`\\$]/;

/** The text, or the name of a variable in it that has no value. */
function replaceVariables(text: string, globals: ReadonlyMap<string, string>): string | { unknown: string } {
  let unknown: string | undefined;
  const replaced = text.replace(VARIABLE, (_, plain?: string, braced?: string, how?: string, otherwise?: string) => {
    const name = plain ?? braced ?? '';
    const value = globals.get(name);
    if (value !== undefined && (value !== '' || how !== ':-')) return value;
    if (otherwise === undefined) unknown ??= name;
    return otherwise ?? '';
  });
  return unknown === undefined ? replaced : { unknown };
}

function substitute(text: string, globals: ReadonlyMap<string, string>, line: number): string {
  const replaced = replaceVariables(text, globals);
  if (typeof replaced !== 'string') {
    throw new DockerfileError(
      line,
      `$${replaced.unknown} has no value: write ARG ${replaced.unknown}=VALUE before the first FROM`,
    );
  }
  if (UNREADABLE.test(replaced)) {
    throw new DockerfileError(
      line,
      `${JSON.stringify(text.slice(0, 100))} cannot be read: write it without quotes and escapes`,
    );
  }
  return replaced;
}
