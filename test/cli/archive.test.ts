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

const pathsOf = async (of: string): Promise<string[]> =>
  (await listFolder(of)).entries.map((entry) => entry.toString('latin1'));

describe('the folder that is pushed', () => {
  it('is everything but version control, packages and the ignore file', async () => {
    for (const path of ['app.js', 'lib/a.js', '.git/HEAD', 'node_modules/x/index.js', '.env', '.peerignore'])
      write(path, '');
    mkdirSync(join(folder, 'empty'));
    expect(await pathsOf(folder)).toEqual(['.env', 'app.js', 'empty/', 'lib/', 'lib/a.js']);
  });

  it('leaves out what .peerignore says, in the syntax of .gitignore', async () => {
    for (const path of ['app.js', 'debug.log', 'logs/a.log', 'logs/keep.log', 'docs/readme.md']) write(path);
    write('.peerignore', '# comment\n*.log\n!logs/keep.log\n/docs\n');
    expect(await pathsOf(folder)).toEqual(['app.js', 'logs/', 'logs/keep.log']);
  });

  it('brings packages back when .peerignore says so', async () => {
    write('node_modules/x/index.js');
    write('.peerignore', '!node_modules\n');
    expect(await pathsOf(folder)).toEqual(['node_modules/', 'node_modules/x/', 'node_modules/x/index.js']);
  });

  it('tells letters apart, as git does on Linux', async () => {
    for (const path of ['Build/a', 'build/b', 'public/icons/c', 'public/Icon?/d']) write(path);
    write('.peerignore', 'Icon?\nbuild/\n');
    expect(await pathsOf(folder)).toEqual(['Build/', 'Build/a', 'public/', 'public/icons/', 'public/icons/c']);
  });

  it('leaves out what the ignore file of a deeper folder says there, which is asked first', async () => {
    const below = ['a.tmp', 'b.tmp', 'deep/a.tmp', 'deep/c.js', 'deep/deep/c.js', 'node_modules/x/a.js'];
    for (const path of ['a.tmp', 'deep/c.js', ...below.map((path) => `[lib]/${path}`)]) write(path);
    write('.peerignore', '*.tmp\n');
    write('[lib]/.peerignore', '!a.tmp\n/deep/c.js\n!node_modules/\n');
    expect(await pathsOf(folder)).toEqual([
      ...['[lib]/', '[lib]/a.tmp', '[lib]/deep/', '[lib]/deep/a.tmp', '[lib]/deep/deep/', '[lib]/deep/deep/c.js'],
      ...['[lib]/node_modules/', '[lib]/node_modules/x/', '[lib]/node_modules/x/a.js', 'deep/', 'deep/c.js'],
    ]);
  });

  it.each<[string, Buffer]>([
    ['a byte order mark', Buffer.from('\ufeffb.txt\r\n')],
    ['UTF-16', Buffer.from('\ufeffb.txt\r\n', 'utf16le')],
    ['no newline at the end', Buffer.from('# geh\xf6rt nicht dazu\nb.txt', 'latin1')],
  ])('reads an ignore file with %s', async (_name, bytes) => {
    write('a.txt');
    write('b.txt');
    writeFileSync(join(folder, '.peerignore'), bytes);
    expect(await pathsOf(folder)).toEqual(['a.txt']);
  });

  it('holds files whose names are no UTF-8', async () => {
    writeFileSync(Buffer.concat([Buffer.from(join(folder, '/')), Buffer.from('gr\xfc\xdfe', 'latin1')]), 'x');
    expect(await pathsOf(folder)).toEqual(['gr\xfc\xdfe']);
    const { stream } = await packFolder(folder);
    expect((await buffer(stream)).includes(Buffer.from('./gr\xfc\xdfe\0', 'latin1'))).toBe(true);
  });

  it('tells what was left out, a folder as one', async () => {
    for (const path of ['a.js', 'node_modules/x/a.js', 'node_modules/y/a.js', 'b.log']) write(path);
    write('.peerignore', '*.log\n');
    expect((await listFolder(folder)).leftOut).toEqual({ first: ['.peerignore', 'b.log', 'node_modules/'], count: 3 });
  });

  it('takes .cfignore when there is no .peerignore', async () => {
    write('a.txt');
    write('b.txt');
    write('.cfignore', 'b.txt');
    expect(await pathsOf(folder)).toEqual(['a.txt']);
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
      expect(await pathsOf(target)).toEqual(await pathsOf(folder));
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
