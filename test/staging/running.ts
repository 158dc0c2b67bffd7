// Starts a process type of an unpacked droplet the way a runtime does (profile scripts, then the command), but unconfined:
// what the sandbox adds is tested with the runtime.

import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';

export type RunningApp = { url: string; port: number; output: () => string; stop(): Promise<number | null> };

const START = `
for s in ../profile.d/* .profile.d/*.sh .profile; do [ -f "$s" ] && . "./$s"; done
exec bash --norc -c "$PEER_TEST_COMMAND"
`;
const LISTEN_TIMEOUT_MS = 15_000;

export const startApp = async (
  droplet: string,
  command: string,
  env: Record<string, string> = {},
): Promise<RunningApp> => {
  const port = await freePort();
  const child = spawn('bash', ['--norc', '-c', START], {
    cwd: join(droplet, 'app'),
    env: {
      HOME: join(droplet, 'app'),
      PATH: `${dirname(process.execPath)}:/usr/bin:/bin`,
      LANG: 'C.UTF-8',
      PORT: String(port),
      HOST: '127.0.0.1',
      PEER_TEST_COMMAND: command,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
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
    stop: () => {
      if (child.exitCode === null) process.kill(-child.pid!, 'SIGTERM');
      return ended;
    },
  };
};

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
