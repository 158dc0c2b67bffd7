// The disks of a chaos run, which are real: full means full, and what is put back is what was copied.

import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { removeFolder } from '../../scripts/local-cluster.ts';
import { NodeDisk } from './disks.ts';

describe('the disk of a node', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'peer-'));
  });

  afterEach(() => removeFolder(folder));

  it('has no room for another byte when it is full, for root either, and has it again when it is freed', async () => {
    const disk = await NodeDisk.create({ folder, name: 'node-1', isLimited: true });
    await mkdir(disk.dataDir);
    await disk.fill();
    await expect(writeFile(join(disk.dataDir, 'file'), 'x'.repeat(4_096))).rejects.toMatchObject({ code: 'ENOSPC' });
    await disk.free();
    await writeFile(join(disk.dataDir, 'file'), 'x'.repeat(4_096));
    expect((await readFile(join(disk.dataDir, 'file'))).length).toBe(4_096);
  });

  it('has after a copy was put back what it had when that was made, and nothing newer', async () => {
    const disk = await NodeDisk.create({ folder, name: 'node-1', isLimited: false });
    await mkdir(disk.dataDir);
    await writeFile(join(disk.dataDir, 'old'), 'as it was');
    await disk.takeCopy();
    await writeFile(join(disk.dataDir, 'old'), 'changed');
    await writeFile(join(disk.dataDir, 'new'), 'new');
    await disk.putBack();
    expect(await readFile(join(disk.dataDir, 'old'), 'utf8')).toBe('as it was');
    await expect(readFile(join(disk.dataDir, 'new'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('takes a copy back although it is full', async () => {
    const disk = await NodeDisk.create({ folder, name: 'node-1', isLimited: true });
    await mkdir(join(disk.dataDir, 'below'), { recursive: true });
    await writeFile(join(disk.dataDir, 'below', 'file'), 'x'.repeat(4_096));
    await disk.takeCopy();
    await disk.fill();
    await disk.putBack();
    expect((await readFile(join(disk.dataDir, 'below', 'file'))).length).toBe(4_096);
  });
});
