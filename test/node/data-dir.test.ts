// The data directory: whose it is.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DataDir } from '../../node/daemon/data-dir.ts';
import { run } from '../../scripts/local-cluster.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peer-data-dir-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

const statOf = async (pid: number): Promise<string[]> => {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
};

/** What a daemon with that pid would have left. */
const leaveLock = async (pid: number): Promise<void> => {
  await writeFile(join(folder, 'lock'), `${pid} ${(await statOf(pid))[19]}\n`);
};

describe('the lock of a data directory', () => {
  it('keeps a second daemon out, and goes with release', async () => {
    const first = await DataDir.lock(folder);
    await expect(DataDir.lock(folder)).rejects.toMatchObject({ code: 'in_use' });
    await first.release();
    await (await DataDir.lock(folder)).release();
  });

  it('is taken over from a process that has gone', async () => {
    await writeFile(join(folder, 'lock'), '999999999 1\n');
    await (await DataDir.lock(folder)).release();
  });

  it('is taken over from a pid that another process has now', async () => {
    await writeFile(join(folder, 'lock'), `${process.pid} 1\n`);
    await (await DataDir.lock(folder)).release();
  });

  it('is taken over from a killed process that nobody has collected', async () => {
    // It ends after the `exec`, which leaves it with a parent that never waits for it.
    const parent = spawn('sh', ['-c', 'sleep 1 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [output] = (await once(parent.stdout, 'data')) as [Buffer];
      const pid = Number(output.toString());
      await vi.waitFor(async () => expect((await statOf(pid))[0]).toBe('Z'), { timeout: 30_000 });
      await leaveLock(pid);
      await (await DataDir.lock(folder)).release();
    } finally {
      parent.kill('SIGKILL');
    }
  });

  it('is waited for while a killed daemon still ends', async () => {
    const daemon = spawn('sleep', ['60']);
    await leaveLock(daemon.pid!);
    const taken = DataDir.lock(folder);
    daemon.kill('SIGKILL');
    await (await taken).release();
  });
});

describe('a data directory on a full disk', () => {
  afterEach(() => run(['umount', '-q', folder]));

  it('is said to be full, and the files that were there stay', async () => {
    expect(await run(['mount', '-t', 'tmpfs', '-o', 'size=64k,nr_inodes=8', 'peer-test', folder])).toMatchObject({
      code: 0,
    });
    const dir = await DataDir.lock(folder);
    expect(await dir.nextStart()).toBe(1);
    await expect(writeFile(join(folder, 'filler'), Buffer.alloc(1024 * 1024))).rejects.toThrow('ENOSPC');
    await expect(dir.nextStart()).rejects.toMatchObject({
      code: 'disk_full',
      message: `the disk that holds ${folder} is full: free some space, then start the node again`,
    });
    expect(await readFile(join(folder, 'incarnation'), 'utf8')).toBe('1\n');
    await rm(join(folder, 'filler'));
    expect(await dir.nextStart()).toBe(2);
    await dir.release();
  });
});

describe('the count of starts', () => {
  const startOf = async (): Promise<number> => {
    const dir = await DataDir.lock(folder);
    const start = await dir.nextStart();
    await dir.release();
    return start;
  };

  it('rises with every start, and beyond what was learnt from others', async () => {
    expect([await startOf(), await startOf()]).toEqual([1, 2]);
    const dir = await DataDir.lock(folder);
    expect(await dir.nextStart()).toBe(3);
    await Promise.all([dir.rememberStart(17), dir.rememberStart(9)]);
    await dir.release();
    expect(await startOf()).toBe(18);
  });

  it.each(['', 'x', '-4', '1e99', '99999999999999999999', '9007199254740991'])(
    'begins anew where %j stands in its place',
    async (damage) => {
      await writeFile(join(folder, 'incarnation'), damage);
      expect(await startOf()).toBe(1);
    },
  );
});

describe('a data directory that others can read', () => {
  it('is made private with its secrets, and says what was open', async () => {
    await mkdir(join(folder, 'desired'), { mode: 0o755 });
    const files = ['cluster.json', 'identity.key', join('desired', 'desired.log')];
    for (const file of files) await writeFile(join(folder, file), '{}', { mode: 0o644 });
    await writeFile(join(folder, 'incarnation'), '1', { mode: 0o600 });
    await symlink('/etc/hostname', join(folder, 'link'));
    await chmod(folder, 0o755);
    const dir = await DataDir.lock(folder);
    expect(dir.opened.toSorted()).toEqual(['.', 'cluster.json', 'desired', 'desired/desired.log', 'identity.key']);
    for (const file of ['', 'desired', ...files]) expect((await stat(join(folder, file))).mode & 0o077).toBe(0);
    expect((await stat('/etc/hostname')).mode & 0o044).toBe(0o044);
    await dir.release();
    const again = await DataDir.lock(folder);
    expect(again.opened).toEqual([]);
    await again.release();
  });

  it('is refused when it, or a secret in it, belongs to someone else', async () => {
    const other = 65_534;
    await writeFile(join(folder, 'cluster.json'), '{}');
    for (const path of [join(folder, 'cluster.json'), folder]) {
      await chown(path, other, other);
      await expect(DataDir.lock(folder)).rejects.toMatchObject({
        code: 'unusable',
        message: expect.stringMatching(/belongs to the user id 65534, not to 0; give it to who runs the daemon/),
      });
      // Nothing is left of the try.
      expect(await readdir(folder)).toEqual(['cluster.json']);
      await chown(path, 0, 0);
    }
  });
});
