// Asks whether what cannot be undone is meant, before it is done.

import { CliError, UsageError } from './errors.ts';

/** Resolves when the person wrote the word; `yes`: they said so on the command line. Fails with CliError otherwise. */
export async function confirmed(question: string, word: string, yes: boolean): Promise<void> {
  if (yes) return;
  if (process.stdin.isTTY !== true) {
    throw new UsageError(`${question}: nobody can be asked here, so say that it is meant with --yes`);
  }
  const { createInterface } = await import('node:readline/promises');
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  const said = await prompt.question(`${question}. Write ${word} to go on: `);
  prompt.close();
  if (said.trim() !== word) throw new CliError('not_confirmed', 'nothing was done');
}
