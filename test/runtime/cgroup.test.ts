// Where there are no control groups: found out at once, and said. Each in a mount namespace of its own, so that the
// machine's own stay as they are.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

const run = promisify(execFile);
const TIMEOUT_MS = 30_000;
const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** What a machine whose mounts a script has changed says of its control groups. */
async function foundAfter(mounts: string, root = '/sys/fs/cgroup'): Promise<{ version?: number; reason?: string }> {
  const look = `
    const { findControlGroups } = await import('${ROOT}node/runtime/sandbox/cgroup.ts');
    const { groups, reason } = await findControlGroups('test-node', '${root}');
    await groups?.close();
    console.log(JSON.stringify({ version: groups?.version, reason }));`;
  const script = `set -e; ${mounts}; exec "$0" --input-type=module -e "$1"`;
  const args = ['--mount', '--net', '--propagation', 'private', 'sh', '-c', script, process.execPath, look];
  const { stdout } = await run('unshare', args, { timeout: TIMEOUT_MS, killSignal: 'SIGKILL' });
  return JSON.parse(stdout) as { version?: number; reason?: string };
}

describe('control groups', () => {
  it('that are hidden, as under ip netns exec, are missed at once and with a reason', async () => {
    const { version, reason } = await foundAfter('mount -t sysfs sysfs /sys');
    expect(version).toBeUndefined();
    expect(reason).toBe('no control groups are mounted at /sys/fs/cgroup/memory');
  });

  it('are not taken for some because folders can be made there', async () => {
    const { version, reason } = await foundAfter('mount -t tmpfs tmpfs /sys/fs/cgroup; mkdir /sys/fs/cgroup/memory');
    expect(version).toBeUndefined();
    expect(reason).toBe('no control groups are mounted at /sys/fs/cgroup/memory');
  });

  it('are not taken for version 2 because a file has that name', async () => {
    const { version, reason } = await foundAfter(
      'mount -t tmpfs tmpfs /sys/fs/cgroup; touch /sys/fs/cgroup/cgroup.controllers',
    );
    expect(version).toBeUndefined();
    expect(reason).toBe('no control groups are mounted at /sys/fs/cgroup');
  });

  it('are found where they are', async () => {
    const { version, reason } = await foundAfter('true');
    expect([version, reason]).toEqual([expect.any(Number), undefined]);
  });
});
