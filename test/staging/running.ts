// Starts a process type of an unpacked droplet the way a runtime does (profile scripts, then the command), on a bare
// stack: what the sandbox adds is tested with the runtime.

import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { expect } from 'vitest';
import type { BareStack } from './bare-stack.ts';

export type RunningApp = { url: string; port: number; output: () => string; stop(): Promise<number | null> };

const START = `
for s in ../profile.d/* .profile.d/*.sh .profile; do [ -f "$s" ] && . "./$s"; done
exec bash --norc -c "$PEER_TEST_COMMAND"
`;
const LISTEN_TIMEOUT_MS = 30_000;
/** As on a node, whoever does not end on SIGTERM is ended. */
const TERM_TIMEOUT_MS = 5_000;

export const startApp = async (options: {
  stack: BareStack;
  droplet: string;
  command: string;
  env?: Record<string, string>;
}): Promise<RunningApp> => {
  const port = await freePort();
  const child = spawn('bwrap', [...options.stack.arguments(options.droplet), 'bash', '--norc', '-c', START], {
    env: {
      HOME: '/home/vcap/app',
      TMPDIR: '/home/vcap/tmp',
      PATH: '/usr/local/bin:/usr/bin:/bin:/opt/peer/node/bin',
      LANG: 'C.UTF-8',
      PORT: String(port),
      HOST: '127.0.0.1',
      MEMORY_LIMIT: '256m',
      PEER_TEST_COMMAND: options.command,
      ...options.env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk));
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const url = `http://127.0.0.1:${port}`;
  await expect
    .poll(
      async () =>
        child.exitCode ??
        (await fetch(url, { redirect: 'manual' }).then((r) => r.text().then(() => 'listens'))).toString(),
      { timeout: LISTEN_TIMEOUT_MS },
    )
    .toBe('listens')
    .catch((error) => {
      child.kill('SIGKILL');
      throw new Error(`${error.message}\n${output}`);
    });
  return {
    url,
    port,
    output: () => output,
    async stop() {
      if (child.exitCode !== null) return ended;
      const outer = childrenOf(child.pid!)[0];
      const app = outer === undefined ? undefined : childrenOf(outer)[0];
      if (app !== undefined) process.kill(app, 'SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), TERM_TIMEOUT_MS);
      return ended.finally(() => clearTimeout(timer));
    },
  };
};

/** Bubblewrap, the first process of its namespace, then the app, whose exit status they pass on. */
const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number);

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
