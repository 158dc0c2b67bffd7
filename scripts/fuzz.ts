// `npm run fuzz -- …`: lets another node take up documents as an admitted node that keeps to no rule could write them.
// One line of JSON on stdout; exits 1 when one of them was not survived, with the command that replays it, 2 on wrong
// usage.

import { parseArgs } from 'node:util';
import { fuzz } from '../test/fuzz/records.ts';

const USAGE = 'usage: npm run fuzz -- [--documents N] [--seed S] [--from I]   (I: the number of the first document)\n';
const DOCUMENTS_DEFAULT = 10_000;
const DOCUMENTS_MAX = 100_000_000;
const PROGRESS_EVERY = 5_000;

function usage(problem: string): never {
  process.stderr.write(`${problem}\n${USAGE}`);
  process.exit(2);
}

function count(name: string, text: string | undefined, byDefault: number): number {
  const value = text === undefined ? byDefault : Number(text);
  if (Number.isSafeInteger(value) && value >= 0 && value <= DOCUMENTS_MAX) return value;
  return usage(`--${name} ${text}: must be a whole number up to ${DOCUMENTS_MAX}`);
}

function flags() {
  try {
    const option = { type: 'string' } as const;
    return parseArgs({ options: { documents: option, seed: option, from: option } }).values;
  } catch (error) {
    return usage((error as Error).message);
  }
}

const { documents, seed, from } = flags();
const result = fuzz({
  seed: seed ?? String(Date.now()),
  from: count('from', from, 0),
  documents: count('documents', documents, DOCUMENTS_DEFAULT),
  onProgress: (done) => {
    if (done % PROGRESS_EVERY === 0) process.stderr.write(`${done} documents\n`);
  },
});
for (const { document, error, replay } of result.failures) {
  process.stderr.write(`document ${document}: ${error}\n  replay: ${replay}\n`);
}
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exitCode = result.failures.length === 0 ? 0 : 1;
