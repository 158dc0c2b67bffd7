// Holds an instance still for a moment, so that its files can be copied as they are at one point in time. Whatever
// becomes of the daemon meanwhile, a helper lets the instance go on.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { spawnChild } from '../lib/spawn-child.ts';
import type { Frozen } from '../ports/runtime.ts';
import { RuntimeError } from './errors.ts';
import { descendants } from './process-tree.ts';
import type { ControlGroup } from './sandbox/cgroup.ts';

/** Longer than that, an instance is not held: its clients would give it up. */
export const FREEZE_MAX_MS = 10_000;
/** How long the kernel may take over it. */
const FREEZING_MAX_MS = 5_000;
const LOOK_MS = 2;

/** Waits for the end of its input, which comes with the daemon's end too, then lets the group go on. */
const THAW_GROUP = 'while read -r _; do :; done; echo "$2" >"$1"';
/** The same for processes, whose ids it reads. */
const CONTINUE_PROCESSES =
  'pids=; while read -r pid; do pids="$pids $pid"; done; for pid in $pids; do kill -CONT "$pid" 2>/dev/null; done; :';

/** Fails with RuntimeError `not_frozen`, and then it runs on. */
export async function freezeInstance(options: {
  group: ControlGroup | undefined;
  shim: number;
  maxMs?: number;
}): Promise<Frozen> {
  const { group, shim } = options;
  const maxMs = options.maxMs ?? FREEZE_MAX_MS;
  const held = await groupOf(group);
  const helper =
    held === undefined ? startHelper(CONTINUE_PROCESSES, []) : startHelper(THAW_GROUP, [held.file, held.thawed]);
  const exited = once(helper, 'close').then(
    () => true,
    () => false,
  );
  const timer = setTimeout(() => letGo(), maxMs);
  let inTime = true;
  const letGo = (isInTime = false): void => {
    inTime &&= isInTime;
    clearTimeout(timer);
    helper.stdin?.end();
  };
  const thaw = async (): Promise<boolean> => {
    letGo(true);
    await exited;
    return inTime;
  };
  try {
    if (held === undefined) await stopProcesses(shim, helper);
    else {
      await writeFile(held.file, held.frozen);
      await waitUntilFrozen(held.isFrozen);
    }
    return { thaw };
  } catch (cause) {
    await thaw();
    throw new RuntimeError('not_frozen', `the instance could not be held still: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Undefined where there is none, or the instance is not in it: an older daemon started it. */
async function groupOf(group: ControlGroup | undefined): Promise<ControlGroup['freezer']> {
  const freezer = group?.freezer;
  if (freezer === undefined) return undefined;
  const members = await readFile(`${freezer.folder}/cgroup.procs`, 'utf8').catch(() => '');
  return members.trim() === '' ? undefined : freezer;
}

function startHelper(script: string, argv: string[]): ChildProcess {
  const child = spawnChild('/bin/sh', ['-c', script, 'peer', ...argv], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin' },
    // It outlives the daemon by a moment.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  child.on('error', () => {});
  child.stdin?.on('error', () => {});
  return child;
}

async function waitUntilFrozen(isFrozen: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + FREEZING_MAX_MS;
  while (!(await isFrozen())) {
    if (performance.now() > deadlineMs) throw new Error(`the kernel did not within ${FREEZING_MAX_MS / 1000} s`);
    await delay(LOOK_MS);
  }
}

/** Again until there are none but stopped ones: they may have started others meanwhile. */
async function stopProcesses(shim: number, helper: ChildProcess): Promise<void> {
  const stopped = new Set<number>();
  const deadlineMs = performance.now() + FREEZING_MAX_MS;
  for (;;) {
    const found = (await descendants(shim)).filter(({ pid }) => !stopped.has(pid));
    if (found.length === 0) break;
    if (performance.now() > deadlineMs) throw new Error('it starts processes faster than they can be stopped');
    for (const { pid } of found) {
      stopped.add(pid);
      // First told to who lets it go on.
      helper.stdin?.write(`${pid}\n`);
      signal(pid);
    }
  }
  if (stopped.size === 0) throw new Error('it has ended');
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGSTOP');
  } catch {
    // It has gone by itself.
  }
}
