// Runs one of the machine's own programs (ip, nft, mkfs…) to its end. For short commands of the platform itself, never
// for users' code.

import { spawnChild } from './spawn-child.ts';

const OUTPUT_CHARACTERS_MAX = 1024 * 1024;
const PROBLEM_CHARACTERS_MAX = 500;
const TIMEOUT_MS = 10_000;
/** System programs that only root uses are not on every daemon's path. */
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** As strerror(3) says it in the C locale, in which nothing else is set. */
const CODE_BY_TEXT: [string, string][] = [
  ['No space left on device', 'ENOSPC'],
  ['Disk quota exceeded', 'EDQUOT'],
  ['Too many open files', 'EMFILE'],
  ['Cannot allocate memory', 'ENOMEM'],
];

/**
 * The error, with the code that the words of a program stand for, if it is one of those that its machine is to blame
 * for.
 */
export function coded(error: Error, words: string): Error {
  const code = CODE_BY_TEXT.find(([text]) => words.includes(text))?.[1];
  return code === undefined ? error : Object.assign(error, { code });
}

/**
 * Resolves with what it printed; fails with an error that names the program and quotes its first line of complaint,
 * with a code when the machine was to blame: ENOSPC, EMFILE…
 */
export function runCommand(
  argv: readonly string[],
  options: { stdin?: string; timeoutMs?: number; cwd?: string } = {},
): Promise<string> {
  const [program = '', ...rest] = argv;
  return new Promise((resolve, reject) => {
    const child = spawnChild(program, rest, {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: options.timeoutMs ?? TIMEOUT_MS,
      killSignal: 'SIGKILL',
      env: { PATH },
      cwd: options.cwd ?? '/',
    });
    let output = '';
    let problem = '';
    child.stdout.on('data', (chunk: Buffer) => {
      if (output.length < OUTPUT_CHARACTERS_MAX) output += chunk;
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (problem.length < PROBLEM_CHARACTERS_MAX) problem += chunk;
    });
    child.once('error', (error) => reject(new Error(`${program} cannot be run: ${error.message}`, { cause: error })));
    child.once('close', (code, signal) => {
      if (code === 0) resolve(output);
      else {
        const error = new Error(`${program}: ${problem.trim().split('\n')[0] || `status ${code ?? signal}`}`);
        reject(coded(error, problem));
      }
    });
    child.stdin.on('error', () => {});
    child.stdin.end(options.stdin ?? '');
  });
}
