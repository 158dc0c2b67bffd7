// The disks of instances: how they are made, on literals; that they hold is tested through the runtime.

import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { attachDisk, detachDisk, diskCommands } from '../../node/runtime/sandbox/disk.ts';

const MIB = 1024 * 1024;

describe('the disk of an instance', () => {
  let folder: string;
  let home: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'peer-disk-'));
    home = join(folder, 'home');
    mkdirSync(home);
  });
  afterEach(async () => {
    await detachDisk({ folder, home });
    rmSync(folder, { recursive: true });
  });

  it('is made without what makes a file system outlive a crash, and mounted without privileges', () => {
    const [make, mount] = diskCommands({ folder: '/i', home: '/i/home', bytes: 100 * MIB, owner: 1234 });
    expect(make!.join(' ')).toBe(
      'mkfs.ext4 -q -F -O ^has_journal,^resize_inode,uninit_bg -m 0 -i 8192 -E lazy_itable_init=1,nodiscard,root_owner=1234:1234 /i/disk.img 108544k',
    );
    expect(mount).toEqual(['mount', '-o', 'loop,nosuid,nodev,noatime,discard', '/i/disk.img', '/i/home']);
  });

  it.each([8, 64, 1024])('of %i MiB has that much to give, and takes little of the machine', async (mib) => {
    await attachDisk({ folder, home, bytes: mib * MIB, owner: 1234 });
    const { bavail, bsize } = statfsSync(home);
    expect((bavail * bsize) / (mib * MIB)).toBeGreaterThan(0.97);
    expect((bavail * bsize) / (mib * MIB)).toBeLessThan(1.15);
    expect(statSync(home).uid).toBe(1234);
    expect(readdirSync(home)).toEqual([]);
    expect(statSync(join(folder, 'disk.img')).blocks * 512).toBeLessThan(2 * MIB);
  });

  it('is full when it is full, for its owner too, and leaves no device behind', async () => {
    await attachDisk({ folder, home, bytes: 8 * MIB, owner: 1234 });
    const file = join(home, 'big');
    writeFileSync(file, '');
    chownSync(file, 1234, 1234);
    expect(() => writeFileSync(file, Buffer.alloc(12 * MIB))).toThrow('ENOSPC');
    await detachDisk({ folder, home });
    expect(readdirSync(home)).toEqual([]);
    // A sandbox that starts just now has a copy of the mount for a moment, and the device stays until that has gone.
    await expect.poll(() => execFileSync('losetup', ['-a']).toString(), { timeout: 10_000 }).not.toContain(folder);
  });
});
