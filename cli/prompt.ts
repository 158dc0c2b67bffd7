// Asks for what nobody else is to see: from a terminal without showing it, else from stdin, a line each.

import type { Interface } from 'node:readline';

export type Prompt = {
  /** The next line, without its end; undefined when there is none any more. */
  ask(question: string): Promise<string | undefined>;
  close(): void;
};

/** Of stdin; `close` lets the process end. */
export function promptOn(stdin: NodeJS.ReadStream, stderr: NodeJS.WritableStream): Prompt {
  const isTerminal = stdin.isTTY === true;
  let reading: Promise<{ lines: Interface; next: AsyncIterator<string> }> | undefined;
  const start = async () => {
    const [{ createInterface }, { Writable }] = await Promise.all([import('node:readline'), import('node:stream')]);
    const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
    const lines = createInterface({ input: stdin, output: silent, terminal: isTerminal });
    return { lines, next: lines[Symbol.asyncIterator]() };
  };
  return {
    async ask(question) {
      reading ??= start();
      const { next } = await reading;
      if (isTerminal) stderr.write(question);
      const { done, value } = await next.next();
      if (isTerminal) stderr.write('\n');
      return done === true ? undefined : value;
    },
    close() {
      void reading?.then(({ lines }) => lines.close());
    },
  };
}
