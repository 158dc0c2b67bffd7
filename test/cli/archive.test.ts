import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { listFolder, packFolder } from '../../cli/archive.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'peer-archive-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const write = (path: string, text = 'x') => {
  mkdirSync(join(folder, path, '..'), { recursive: true });
  writeFileSync(join(folder, path), text);
};

describe('the folder that is pushed', () => {
  it('is everything but version control, packages and the ignore file', async () => {
    for (const path of ['app.js', 'lib/a.js', '.git/HEAD', 'node_modules/x/index.js', '.env', '.peerignore'])
      write(path, '');
    mkdirSync(join(folder, 'empty'));
    expect(await listFolder(folder)).toEqual(['.env', 'app.js', 'empty/', 'lib/', 'lib/a.js']);
  });

  it('leaves out what .peerignore says, in the syntax of .gitignore', async () => {
    for (const path of ['app.js', 'debug.log', 'logs/a.log', 'logs/keep.log', 'docs/readme.md']) write(path);
    write('.peerignore', '# comment\n*.log\n!logs/keep.log\n/docs\n');
    expect(await listFolder(folder)).toEqual(['app.js', 'logs/', 'logs/keep.log']);
  });

  it('brings packages back when .peerignore says so', async () => {
    write('node_modules/x/index.js');
    write('.peerignore', '!node_modules\n');
    expect(await listFolder(folder)).toEqual(['node_modules/', 'node_modules/x/', 'node_modules/x/index.js']);
  });

  it('takes .cfignore when there is no .peerignore', async () => {
    write('a.txt');
    write('b.txt');
    write('.cfignore', 'b.txt');
    expect(await listFolder(folder)).toEqual(['a.txt']);
  });

  it('fails before anything is sent when it is empty or no folder', async () => {
    await expect(packFolder(folder)).rejects.toMatchObject({ code: 'empty_folder' });
    await expect(packFolder(join(folder, 'missing'))).rejects.toMatchObject({ code: 'no_folder' });
    write('file');
    await expect(packFolder(join(folder, 'file'))).rejects.toMatchObject({ code: 'no_folder' });
  });
});

describe('the archive', () => {
  it('holds files as they are: names, modes and links', async () => {
    const names = ['-dash', 'with space', 'grüße.txt', 'new\nline', "quo'te"];
    for (const name of names) write(name, `content of ${name}`);
    write('bin/run', '#!/bin/sh\n');
    chmodSync(join(folder, 'bin/run'), 0o755);
    symlinkSync('bin/run', join(folder, 'link'));
    spawnSync('mkfifo', [join(folder, 'pipe')]);
    const { files, stream } = await packFolder(folder);
    expect(files).toBe(7);
    const target = mkdtempSync(join(tmpdir(), 'peer-unpacked-'));
    try {
      const unpacked = spawnSync('tar', ['-xf', '-', '-C', target], { input: await buffer(stream) });
      expect(unpacked.status).toBe(0);
      for (const name of names) expect(readFileSync(join(target, name), 'utf8')).toBe(`content of ${name}`);
      expect(spawnSync(join(target, 'link')).status).toBe(0);
      expect(await listFolder(target)).toEqual(await listFolder(folder));
    } finally {
      rmSync(target, { recursive: true });
    }
  });

  it('fails, and does not end, when a file cannot be packed', async () => {
    write('here');
    const { stream } = await packFolder(folder);
    rmSync(folder, { recursive: true });
    await expect(buffer(stream)).rejects.toMatchObject({ code: 'tar' });
  });
});
