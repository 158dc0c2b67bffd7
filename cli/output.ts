// Where a command's words go: results to stdout, everything else to stderr. With --json stdout gets exactly one
// document.

import picocolors from 'picocolors';

export type Colours = ReturnType<typeof picocolors.createColors>;

export type Output = {
  readonly json: boolean;
  /** For stdout: none unless it is a terminal. */
  readonly colours: Colours;
  readonly errorColours: Colours;
  /** Columns of the terminal; unbounded when stdout is none. */
  readonly width: number;
  /** The result of the command. */
  result(document: unknown, human: () => string): void;
  /** One line of a stream that has no end: as it is, or with --json as a JSON document per line. */
  line(document: unknown, human: () => string): void;
  /** To stderr. */
  note(text: string): void;
};

export function createOutput(options: { json: boolean }): Output {
  const { json } = options;
  const mayColour = (stream: NodeJS.WriteStream) =>
    stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
  return {
    json,
    colours: picocolors.createColors(!json && mayColour(process.stdout)),
    errorColours: picocolors.createColors(mayColour(process.stderr)),
    width: process.stdout.isTTY ? process.stdout.columns : Number.POSITIVE_INFINITY,
    result(document, human) {
      write(json ? JSON.stringify(document, null, 2) : human());
    },
    line(document, human) {
      write(json ? JSON.stringify(document) : human());
    },
    note(text) {
      process.stderr.write(`${text}\n`);
    },
  };
}

function write(text: string): void {
  if (text !== '') process.stdout.write(`${text}\n`);
}
