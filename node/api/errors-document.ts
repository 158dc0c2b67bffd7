// The documentation of errors, made from the catalogue: `npm run docs` writes it.

import { ERRORS, type ErrorEntry } from '../ports/error-catalogue.ts';

const CHANGED = { nothing: 'nothing', perhaps: 'perhaps: look first' };
const RETRY = { no: 'no', later: 'later', elsewhere: 'on another node' };

export function renderErrors(): string {
  const all = Object.entries<ErrorEntry>(ERRORS);
  const rows = all
    .filter(([, { status }]) => status !== undefined)
    .map(
      ([code, { status, exit, changed, retry, meaning }]) =>
        `| \`${code}\` | ${status} | ${exit} | ${meaning} | ${CHANGED[changed]} | ${RETRY[retry]} |`,
    );
  const starts = all
    .filter(([, { status }]) => status === undefined)
    .map(([code, { exit, meaning, retry }]) => `| \`${code}\` | ${exit} | ${meaning} | ${RETRY[retry]} |`);
  return `# Errors

Every failure of the API is one JSON object: \`{"error": {"code", "message", "retry", "mayHold"?}}\`. The message is one
line that says what happened and what to do. \`mayHold\` is there when what was asked for may have taken effect all the
same. In the tables, "exit" is the exit status of the command that asked.
This file is made from \`node/ports/error-catalogue.ts\` by \`npm run docs\`.

| code | status | exit | what happened | what has changed | ask again? |
| --- | --- | --- | --- | --- | --- |
${rows.join('\n')}

A start can fail with these too; \`peer start\` prints the line.

| code | exit | what happened | try again? |
| --- | --- | --- | --- |
${starts.join('\n')}
`;
}
