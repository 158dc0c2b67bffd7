// Reads a Dockerfile into its instructions, strictly, and writes them again one a line, so that every engine, of
// whatever version, reads exactly what was judged. What an instruction may say is judged in dockerfile-rules.ts.
//
// @see https://docs.docker.com/reference/dockerfile/#format
// @see https://github.com/moby/buildkit/blob/master/frontend/dockerfile/parser/parser.go

export const DOCKERFILE_BYTES_MAX = 1024 * 1024;
/** What older engines read as one line. */
const INSTRUCTION_CHARACTERS_MAX = 60_000;

/**
 * The Dockerfile says what builds here do not do, or what cannot be understood. One line for people; names the line.
 */
export class DockerfileError extends Error {
  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`);
  }
}

export type Instruction = {
  /** Of its beginning, from 1. */
  line: number;
  keyword: Keyword;
  /** `--name=value` before the arguments, as written. */
  flags: string[];
  /** What follows, with continued lines joined, as written. */
  rest: string;
};

const KEYWORDS = [
  'ADD',
  'ARG',
  'CMD',
  'COPY',
  'ENTRYPOINT',
  'ENV',
  'EXPOSE',
  'FROM',
  'HEALTHCHECK',
  'LABEL',
  'MAINTAINER',
  'ONBUILD',
  'RUN',
  'SHELL',
  'STOPSIGNAL',
  'USER',
  'VOLUME',
  'WORKDIR',
] as const;
export type Keyword = (typeof KEYWORDS)[number];

const CONTINUED = /\\[ \t]*$/;
const DIRECTIVE = /^#\s*([A-Za-z]+)\s*=\s*(.*?)\s*$/;
const BLANKS = /[ \t]+/;
// biome-ignore-start lint/suspicious/noControlCharactersInRegex: those are what they look for.
const CONTROL = /[\u0000-\u0008\u000a-\u001f\u007f]/;
/**
 * Engines split words at blanks and tabs, and trim more than that from what they find; more than is trimmed here, too.
 */
const UNUSUAL_BLANK = /[\u0085\u00a0\u1680\u2000-\u200f\u2028-\u202f\u205f\u2060\u3000\ufeff]/;
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: those are what they look for.
/** Where a word that is read differently might be something to fetch. */
const EXACT: ReadonlySet<Keyword> = new Set(['ADD', 'COPY', 'FROM', 'ONBUILD']);
const HERE_DOCUMENT = /(?:^|\s)\d*<<-?(["']?)[A-Za-z_]\w*\1(?:\s|$)/;

/** Fails with DockerfileError. */
export function readDockerfile(text: string): Instruction[] {
  const lines = text.replace(/^\ufeff/, '').split('\n');
  const instructions: Instruction[] = [];
  let directives = true;
  for (let at = 0; at < lines.length; at++) {
    const first = at;
    let joined = '';
    for (; at < lines.length; at++) {
      const physical = lines[at]!.replace(/\r$/, '');
      const line = at === first ? physical.trimStart() : physical;
      if (/^\s*#/.test(line)) {
        if (directives) checkDirective(line, at + 1);
        if (joined === '') break;
        continue;
      }
      directives = false;
      if (line.trim() === '') {
        if (joined === '') break;
        continue;
      }
      if (!CONTINUED.test(line)) {
        joined += line;
        break;
      }
      // Some versions take the first for an escape of the second, and the line for whole.
      if (/\\\\[ \t]*$/.test(line)) throw new DockerfileError(at + 1, 'it ends in two backslashes: write one, or none');
      joined += line.replace(CONTINUED, '');
    }
    if (joined.trim() !== '') instructions.push(readInstruction(joined, first + 1));
  }
  return instructions;
}

/** One a line, each on the line where it began, so that what an engine says of lines is true. */
export function writeDockerfile(instructions: readonly Instruction[]): string {
  let text = '';
  let line = 1;
  for (const { line: at, keyword, flags, rest } of instructions) {
    text += '\n'.repeat(at - line) + [keyword, ...flags, rest].filter((part) => part !== '').join(' ');
    line = at;
  }
  return `${text}\n`;
}

/** One instruction; also what an image's ONBUILD holds. */
export function readInstruction(text: string, line: number): Instruction {
  const whole = text.trim();
  const [word = ''] = whole.split(BLANKS, 1);
  const keyword = KEYWORDS.find((one) => one === word.toUpperCase());
  if (keyword === undefined)
    throw new DockerfileError(line, `unknown instruction ${JSON.stringify(word.slice(0, 40))}`);
  if (CONTROL.test(whole) || (EXACT.has(keyword) && UNUSUAL_BLANK.test(whole))) {
    throw new DockerfileError(line, 'it holds a control character or an unusual blank: remove it');
  }
  if ((keyword === 'RUN' || EXACT.has(keyword)) && HERE_DOCUMENT.test(whole)) {
    throw new DockerfileError(
      line,
      'here-documents are not read by this builder: put the lines into a file, or join them with \\',
    );
  }
  if (whole.length > INSTRUCTION_CHARACTERS_MAX) {
    throw new DockerfileError(line, `it is longer than ${INSTRUCTION_CHARACTERS_MAX} characters: put it into a file`);
  }
  if (whole.endsWith('\\')) throw new DockerfileError(line, 'it ends in a backslash, and nothing follows: remove it');
  let rest = whole.slice(word.length).trim();
  const flags: string[] = [];
  while (rest.startsWith('--')) {
    const [flag = ''] = rest.split(BLANKS, 1);
    if (!/^--[a-z-]+(=[^"'`\\]*)?$/.test(flag)) {
      throw new DockerfileError(line, `${flag.slice(0, 40)} cannot be read: write --name=value without quotes`);
    }
    flags.push(flag);
    rest = rest.slice(flag.length).trim();
  }
  return { line, keyword, flags, rest };
}

function checkDirective(comment: string, line: number): void {
  const [, name = '', value = ''] = DIRECTIVE.exec(comment.trim()) ?? [];
  if (name.toLowerCase() === 'escape' && value !== '\\') {
    throw new DockerfileError(line, 'the escape character is the backslash here: remove the directive');
  }
}

/**
 * The words of ADD and COPY: those of the list when it is written as one, else those between blanks, as written.
 * Undefined when it begins as a list and is none: engines differ in what they make of that.
 */
export function wordsOf(rest: string): string[] | undefined {
  if (!rest.startsWith('[')) return rest.split(BLANKS).filter((word) => word !== '');
  try {
    const list: unknown = JSON.parse(rest);
    return Array.isArray(list) && list.every((word) => typeof word === 'string') ? list : undefined;
  } catch {
    return undefined;
  }
}
