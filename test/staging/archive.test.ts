// What an uploaded archive may hold: a table of entries, then archives as bytes.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { Header } from 'tar';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ArchiveEntry, createArchiveCheck } from '../../node/staging/archive.ts';
import { receiveUpload } from '../../node/staging/upload.ts';
import { rawTar, upload } from './harness.ts';

const MIB = 1024 * 1024;
const limits = { unpackedBytesMax: 4 * MIB, entriesMax: 100, uploadBytesMax: 2 * MIB };

const file = (path: string, sizeBytes = 1): ArchiveEntry => ({ type: 'File', path, sizeBytes });
const folder = (path: string): ArchiveEntry => ({ type: 'Directory', path, sizeBytes: 0 });
const symlink = (path: string, linkpath: string): ArchiveEntry => ({
  type: 'SymbolicLink',
  path,
  linkpath,
  sizeBytes: 0,
});
const hardlink = (path: string, linkpath: string): ArchiveEntry => ({ type: 'Link', path, linkpath, sizeBytes: 0 });
const special = (type: string): ArchiveEntry => ({ type, path: 'x', sizeBytes: 0 });

describe('archive entries', () => {
  it.each<[string, ArchiveEntry[]]>([
    ['files and folders', [folder('./'), folder('a/'), file('./a/b'), file('a//c')]],
    [
      'UTF-8 names and odd ones',
      [file('caf\u00e9/\u65e5\u672c.txt'), file('..a'), file('a..'), file('...'), file('back\\slash')],
    ],
    ['a link to a sibling', [file('a'), symlink('b', 'a')]],
    ['a link that climbs within the folder', [symlink('node_modules/.bin/x', '../x/cli.js')]],
    ['a link to the folder itself', [symlink('a/self', '..')]],
    ['a link that leads nowhere', [symlink('a', 'missing/file')]],
    ['a hard link to a file', [file('a'), hardlink('b', 'a')]],
    ['a file where a link of another name is', [symlink('ab', 'x'), file('a/b')]],
  ])('allows %s', (_name, entries) => {
    const check = createArchiveCheck(limits);
    for (const entry of entries) check.entry(entry);
  });

  it.each<[string, ArchiveEntry[]]>([
    ['an absolute path', [file('/etc/passwd')]],
    ['a path that climbs out', [file('../x')]],
    ['a path that climbs out further on', [file('a/b/../../../x')]],
    ['a path that climbs and returns', [file('a/../b')]],
    ['a path with NUL', [file('a\0b')]],
    ['a path longer than the system takes', [file('a/'.repeat(2000))]],
    ['a link to an absolute path', [symlink('a', '/etc/passwd')]],
    ['a link that climbs out', [symlink('a/b', '../../x')]],
    ['a link that climbs out after going in', [symlink('a', 'b/../../x')]],
    ['a link with an empty target', [symlink('a', '')]],
    ['a file through a link', [symlink('a', 'b'), file('a/x')]],
    ['a file deep below a link', [symlink('a/b', 'c'), file('a/b/c/d')]],
    ['two links that add up to a way out', [symlink('a/b', '..'), symlink('a/b/c', '..')]],
    ['a link that climbs through another link', [symlink('a/b', '..'), symlink('c', 'a/b/../x')]],
    ['a hard link to an absolute path', [hardlink('a', '/etc/passwd')]],
    ['a hard link that climbs out', [hardlink('a', '../x')]],
    ['a hard link to a link', [symlink('a/b', '../x'), hardlink('c', 'a/b')]],
    ['a hard link through a link', [symlink('a', 'b'), hardlink('c', 'a/x')]],
    ['the folder itself as a link', [symlink('.', 'x')]],
    ['a device', [special('CharacterDevice')]],
    ['a block device', [special('BlockDevice')]],
    ['a FIFO', [special('FIFO')]],
    ['a sparse file', [special('SparseFile')]],
    ['a type that is not known', [special('Unsupported')]],
  ])('refuses %s', (_name, entries) => {
    const check = createArchiveCheck(limits);
    const last = entries.at(-1)!;
    for (const entry of entries.slice(0, -1)) check.entry(entry);
    expect(() => check.entry(last)).toThrow(expect.objectContaining({ code: 'bad_archive' }));
  });

  it.each<[string, () => Iterable<ArchiveEntry>]>([
    ['bytes', () => [file('a', 2 * MIB), file('b', 2 * MIB), file('c', 1)]],
    ['entries', () => Array.from({ length: 101 }, (_, i) => file(`${i}`))],
    ['folders that paths imply', () => Array.from({ length: 11 }, (_, i) => file(`${i}/a/b/c/d/e/f/g/h/i/j`))],
  ])('bounds %s', (_name, entries) => {
    const check = createArchiveCheck(limits);
    expect(() => {
      for (const entry of entries()) check.entry(entry);
    }).toThrow(expect.objectContaining({ code: 'too_large' }));
  });

  it('never allows a set of links and files that leads outside, whatever their names', () => {
    const name = fc.constantFrom('a', 'b', 'c', '.', '..', '');
    const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
    const entry = fc.oneof(
      path.map((at) => file(at)),
      fc.tuple(path, path).map(([at, target]) => symlink(at, target)),
      fc.tuple(path, path).map(([at, target]) => hardlink(at, target)),
    );
    fc.assert(
      fc.property(fc.array(entry, { maxLength: 8 }), (entries) => {
        const check = createArchiveCheck(limits);
        const tree = createTree();
        for (const candidate of entries) {
          try {
            check.entry(candidate);
          } catch {
            continue;
          }
          tree.add(candidate);
        }
        for (const link of tree.links.keys()) expect(tree.resolve(link)).not.toBe('outside');
      }),
      { numRuns: 3000 },
    );
  });
});

/** A file system reduced to its links: enough to say where a path leads. */
const createTree = () => {
  const links = new Map<string, string>();
  const parts = (path: string): string[] => path.split('/').filter((part) => part !== '' && part !== '.');
  const resolve = (path: string): string => {
    const pending = parts(path);
    let at: string[] = [];
    for (let hops = 0; pending.length > 0 && hops < 100; hops++) {
      const part = pending.shift()!;
      if (part === '..') {
        if (at.length === 0) return 'outside';
        at = at.slice(0, -1);
        continue;
      }
      const target = links.get([...at, part].join('/'));
      if (target === undefined) at = [...at, part];
      else if (target.startsWith('/')) return 'outside';
      else pending.unshift(...parts(target));
    }
    return at.join('/');
  };
  return {
    links,
    resolve,
    add(entry: ArchiveEntry): void {
      const at = parts(entry.path).join('/');
      if (entry.type === 'SymbolicLink') links.set(at, entry.linkpath!);
      else if (entry.type === 'Link') {
        const target = links.get(parts(entry.linkpath!).join('/'));
        if (target !== undefined) links.set(at, target);
        else links.delete(at);
      } else links.delete(at);
    },
  };
};

describe('upload', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'peer-upload-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const receive = (
    source: AsyncIterable<Uint8Array>,
    { signal = new AbortController().signal, compressed = true } = {},
  ): Promise<void> => receiveUpload(source, { path: join(dir, 'upload.tgz'), compressed, limits, signal });

  const entry = (
    path: string,
    type: 'File' | 'Link' | 'SymbolicLink' | 'FIFO' | 'CharacterDevice',
    body = Buffer.alloc(0),
    linkpath?: string,
  ): Buffer => {
    const header = Buffer.alloc(512);
    new Header({ path, type, linkpath, size: body.length, mode: 0o644, mtime: new Date(0), uid: 0, gid: 0 }).encode(
      header,
    );
    return Buffer.concat([header, body, Buffer.alloc((512 - (body.length % 512)) % 512)]);
  };
  const good = rawTar(entry('a.txt', 'File', Buffer.from('hello')));

  it('takes a good archive in chunks of any size', async () => {
    for (const size of [1, 7, 512, good.length]) {
      rmSync(join(dir, 'upload.tgz'), { force: true });
      const chunks = [];
      for (let at = 0; at < good.length; at += size) chunks.push(good.subarray(at, at + size));
      await receive(upload(...chunks));
    }
  });

  it.each<[string, () => Buffer, string]>([
    ['nothing', () => Buffer.alloc(0), 'bad_archive'],
    ['text', () => Buffer.from('this is no archive'), 'bad_archive'],
    ['a zip', () => Buffer.from('504b0304140000000800', 'hex'), 'bad_archive'],
    ['a tar without compression', () => Buffer.concat([entry('a', 'File'), Buffer.alloc(1024)]), 'bad_archive'],
    ['compressed noise', () => gzipSync(Buffer.alloc(4096, 'x')), 'bad_archive'],
    ['a tar compressed twice', () => gzipSync(Buffer.concat([good, Buffer.alloc(1024)])), 'bad_archive'],
    ['a compressed stream that is cut off', () => good.subarray(0, good.length - 12), 'bad_archive'],
    [
      'a damaged compressed stream',
      () => Buffer.concat([good.subarray(0, 30), Buffer.from([0xff, 0xff]), good.subarray(32)]),
      'bad_archive',
    ],
    [
      'a tar that is cut off within a file',
      () => gzipSync(entry('a', 'File', Buffer.alloc(4096)).subarray(0, 2048)),
      'bad_archive',
    ],
    [
      'a damaged header',
      () => rawTar(Buffer.concat([Buffer.from('X'), entry('a', 'File').subarray(1)])),
      'bad_archive',
    ],
    ['a file outside', () => rawTar(entry('../../etc/cron.d/x', 'File', Buffer.from('x'))), 'bad_archive'],
    ['a link outside', () => rawTar(entry('x', 'SymbolicLink', undefined, '/root/.ssh')), 'bad_archive'],
    ['a FIFO', () => rawTar(entry('x', 'FIFO')), 'bad_archive'],
    ['a device', () => rawTar(entry('x', 'CharacterDevice')), 'bad_archive'],
    ['no entries', () => rawTar(), 'empty_folder'],
    ['a bomb', () => gzipSync(Buffer.concat([entry('a', 'File', Buffer.alloc(64 * MIB))])), 'too_large'],
    ['a bomb of endless zeroes after its end', () => rawTar(entry('a', 'File'), Buffer.alloc(64 * MIB)), 'bad_archive'],
    ['more bytes than allowed', () => Buffer.concat([good, Buffer.alloc(3 * MIB)]), 'too_large'],
  ])('refuses %s', async (_name, bytes, code) => {
    await expect(receive(upload(bytes()))).rejects.toMatchObject({
      code,
      message: expect.stringMatching(/^[^\n]{20,300}$/),
    });
  });

  it('takes a good archive that is not compressed', async () => {
    await receive(upload(gunzipSync(good)), { compressed: false });
  });

  it.each<[string, () => Buffer, string]>([
    ['nothing', () => Buffer.alloc(0), 'bad_archive'],
    ['text', () => Buffer.alloc(4096, 'this is no archive'), 'bad_archive'],
    ['a compressed one', () => Buffer.concat([good, Buffer.alloc(1024)]), 'bad_archive'],
    [
      'one that is cut off within a file',
      () => entry('a', 'File', Buffer.alloc(4096)).subarray(0, 2048),
      'bad_archive',
    ],
    ['a file outside', () => gunzipSync(rawTar(entry('../x', 'File', Buffer.from('x')))), 'bad_archive'],
    ['a link outside', () => gunzipSync(rawTar(entry('x', 'SymbolicLink', undefined, '/root/.ssh'))), 'bad_archive'],
    ['a device', () => gunzipSync(rawTar(entry('x', 'CharacterDevice'))), 'bad_archive'],
    ['no entries', () => Buffer.alloc(1024), 'empty_folder'],
    ['more than is allowed', () => entry('a', 'File', Buffer.alloc(64 * MIB)), 'too_large'],
  ])('refuses %s among those that are not compressed', async (_name, bytes, code) => {
    await expect(receive(upload(bytes()), { compressed: false })).rejects.toMatchObject({ code });
  });

  it('says that the upload is incomplete when the client goes away', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield good.subarray(0, 20);
      throw Object.assign(new Error('aborted'), { code: 'ECONNRESET' });
    }
    await expect(receive(broken())).rejects.toMatchObject({
      code: 'bad_archive',
      message: expect.stringContaining('incomplete'),
    });
  });

  it('stops at the signal, also while the client sends nothing, and lets go of the source', async () => {
    const stop = new AbortController();
    let released = false;
    const silent: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise(() => stop.abort()),
        return: async () => {
          released = true;
          return { done: true, value: undefined };
        },
      }),
    };
    await expect(receive(silent, { signal: stop.signal })).rejects.toMatchObject({ code: 'aborted' });
    expect(released).toBe(true);
  });
});
