// Runs one of the machine's own programs (ip, nft, mkfs…) to its end. For short commands of the platform itself, never for users' code.

import { spawn } from 'node:child_process';

const OUTPUT_CHARACTERS_MAX = 1024 * 1024;
const PROBLEM_CHARACTERS_MAX = 500;
const TIMEOUT_MS = 10_000;
/** System programs that only root uses are not on every daemon's path. */
const PATH = '/usr/sbin:/usr/bin:/sbin:/bin';

/** Resolves with what it printed; fails with an error that names the program and quotes its first line of complaint. */
export function runCommand(
  argv: readonly string[],
  options: { stdin?: string; timeoutMs?: number } = {},
): Promise<string> {
  const [program = '', ...rest] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, rest, {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: options.timeoutMs ?? TIMEOUT_MS,
      killSignal: 'SIGKILL',
      env: { PATH },
    });
    let output = '';
    let problem = '';
    child.stdout.on('data', (chunk: Buffer) => {
      if (output.length < OUTPUT_CHARACTERS_MAX) output += chunk;
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (problem.length < PROBLEM_CHARACTERS_MAX) problem += chunk;
    });
    child.once('error', (error) => reject(new Error(`${program} cannot be run: ${error.message}`)));
    child.once('close', (code, signal) => {
      if (code === 0) resolve(output);
      else reject(new Error(`${program}: ${problem.trim().split('\n')[0] || `status ${code ?? signal}`}`));
    });
    child.stdin.on('error', () => {});
    child.stdin.end(options.stdin ?? '');
  });
}
