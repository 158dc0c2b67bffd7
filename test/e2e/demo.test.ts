// The README's second command, as whoever tries it out has it: a cluster that stays until Ctrl-C, and then is gone.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ROOT, waitFor } from '../../scripts/local-cluster.ts';
import { killAll, processTable } from '../../scripts/processes.ts';

let demo: ChildProcess | undefined;
let folder: string;
/** What runs for its nodes. */
const processes = async (): Promise<number[]> =>
  (await processTable()).filter(({ command }) => command.includes(`${folder}/`)).map(({ pid }) => pid);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peer-demo-'));
});
afterEach(async () => {
  demo?.kill('SIGKILL');
  killAll(await processes());
  await rm(folder, { recursive: true, force: true });
});

it('shows every step, stays up until Ctrl-C, and leaves nothing', async () => {
  demo = spawn(process.execPath, [join(ROOT, 'scripts', 'demo.ts')], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = once(demo, 'exit');
  let said = '';
  demo.stdout!.on('data', (chunk: Buffer) => (said += chunk));
  demo.stderr!.on('data', (chunk: Buffer) => (said += chunk));
  await waitFor('the last step', 120_000, async () => {
    if (demo!.exitCode !== null) throw new Error(`it ended with ${demo!.exitCode}: ${said}`);
    return said.includes('stays up until Ctrl-C');
  });
  expect(said).toContain('Every step was observed to work');
  const address = /PEER_API=(\S+) PEER_TOKEN=(\S+)/.exec(said)!;
  const headers = { authorization: `Bearer ${address[2]}` };
  // Requests that are over keep it alive for a moment: by then only what it waits for does.
  await waitFor('its connections to be closed', 60_000, async () => (await connectionsOf(demo!.pid!)) === 0);
  for (let asked = 0; asked < 50; asked++) {
    const nodes = (await (await fetch(`http://${address[1]}/v1/nodes`, { headers })).json()) as unknown[];
    expect(nodes).toHaveLength(3);
  }
  expect(demo.exitCode, said).toBeNull();
  expect((await processes()).length).toBeGreaterThan(3);
  demo.kill('SIGINT');
  expect(await exited).toEqual([0, null]);
  expect(await processes()).toEqual([]);
  expect(await readdir(folder)).toEqual([]);
}, 240_000);

/** Of TCP, open ones. */
async function connectionsOf(pid: number): Promise<number> {
  const rows = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/));
  const open = new Set(rows.filter(([, , , state]) => state === '01').map((fields) => `socket:[${fields[9]}]`));
  const descriptors = await readdir(`/proc/${pid}/fd`);
  const targets = await Promise.all(descriptors.map((one) => readlink(`/proc/${pid}/fd/${one}`).catch(() => '')));
  return targets.filter((target) => open.has(target)).length;
}
