// A Podman service of a test's own, on the images of this machine's Podman (scripts/setup.mjs brings the stack there).

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { type Engine, findEngine } from '../../node/runtime/docker/engine.ts';

/**
 * runc knows every kind of control groups, crun not those of both versions at once; without systemd only cgroupfs
 * makes any.
 */
const PODMAN = ['--runtime', '/usr/sbin/runc', '--cgroup-manager', 'cgroupfs'];

export type PodmanService = { engine: Engine; stop(): Promise<void> };

export async function startPodman(): Promise<PodmanService> {
  const folder = await mkdtemp(join(tmpdir(), 'peer-podman-'));
  const socket = `unix://${join(folder, 'podman.sock')}`;
  const service: ChildProcess = spawn('podman', [...PODMAN, 'system', 'service', '--time=0', socket], {
    // Where conmon, which watches what runs, notes that a command was ended for want of memory: a file called oom.
    cwd: folder,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  service.stderr!.on('data', (chunk: Buffer) => {
    said = `${said}${chunk}`.slice(-1_000);
  });
  const ended = new Promise<void>((resolve) => {
    service.once('error', (error) => {
      said += error.message;
      resolve();
    });
    service.once('exit', () => resolve());
  });
  const stop = async (): Promise<void> => {
    service.kill('SIGTERM');
    await ended;
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const engine = await vi.waitFor(() => findEngine({ DOCKER_HOST: socket }), { timeout: 20_000, interval: 50 });
    return { engine, stop };
  } catch (error) {
    await stop();
    throw new Error(`podman does not serve (${said.trim()}): npm run setup -- --tests installs it`, { cause: error });
  }
}

/** Ids of the images that were built on it, to be removed: removing a name may remove the image. */
export function removeImage(id: string): void {
  execFileSync('podman', ['image', 'rm', '--force', '--ignore', id], { stdio: 'ignore' });
}
