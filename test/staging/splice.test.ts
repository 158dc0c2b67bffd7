// Putting a folder of the last droplet into the tar of the next one: the bytes are those of a tar with the folder in
// it.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asDigest } from '../../crdt/ids.ts';
import type { BlobRange } from '../../node/ports/blobs.ts';
import { createSplice, type Splice } from '../../node/staging/splice.ts';

const digest = asDigest(`sha256:${'0'.repeat(64)}`);
const NAME = './app/pkgs/';
const LONG = 'n'.repeat(120);

describe('splice', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'peer-splice-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));

  const files = (content: Record<string, string>): void => {
    for (const [name, text] of Object.entries(content)) {
      mkdirSync(dirname(join(dir, name)), { recursive: true });
      writeFileSync(join(dir, name), text);
    }
  };
  const tar = (...options: string[]): Buffer =>
    execFileSync('tar', ['--sort=name', '--mtime=@0', '--format=gnu', ...options, '-C', dir, '-c', '.'], {
      maxBuffer: 1 << 26,
    });
  const without = (): Buffer => tar('--anchored', `--exclude=${NAME}*`);
  /** In parts of these sizes, over and over. */
  const feed = (splice: Splice, bytes: Buffer, sizes: number[]): (Buffer | BlobRange)[] => {
    const parts: (Buffer | BlobRange)[] = [];
    for (let at = 0, turn = 0; at < bytes.length; turn++) {
      const size = sizes[turn % sizes.length]!;
      parts.push(...splice.parts(bytes.subarray(at, at + size)));
      at += size;
    }
    return parts;
  };
  const bytesOf = (parts: (Buffer | BlobRange)[], whole: Buffer): Buffer =>
    Buffer.concat(parts.map((part) => ('digest' in part ? whole.subarray(part.from, part.to) : part)));

  it.each<[string, Record<string, string>]>([
    ['files before and after it', { 'app/a': '1', 'app/pkgs/x/y': 'yy', 'app/pkgs/z': 'z'.repeat(2000), 'app/q': '2' }],
    ['nothing after it', { 'app/pkgs/x': 'x' }],
    ['nothing in it', { 'app/pkgs/x': '', 'app/z': 'z' }],
    ['a name right after it that begins as it does', { 'app/pkgs/x': 'x', 'app/pkgs-more/x': 'y' }],
    ['long names in it and after it', { [`app/pkgs/${LONG}/${LONG}`]: 'x', [`app/q${LONG}`]: 'y' }],
    ['a long name as its first and last', { [`app/pkgs/${LONG}`]: 'x'.repeat(511) }],
    ['a tar in a file of the app', { 'app/a.tar': './app/pkgs/\0'.padEnd(2048, '\0'), 'app/pkgs/x': 'x' }],
  ])('finds the folder, and puts it back, with %s', (_what, content) => {
    files(content);
    const whole = tar();
    const finding = createSplice(NAME, undefined);
    expect(bytesOf(feed(finding, whole, [whole.length]), whole).equals(whole)).toBe(true);
    const range = finding.range()!;
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 5 }), (sizes) => {
        const finder = createSplice(NAME, undefined);
        feed(finder, whole, sizes);
        expect(finder.range()).toEqual(range);
        const splice = createSplice(NAME, { digest, ...range });
        const parts = feed(splice, without(), sizes);
        const end = splice.end();
        expect(end).toBeDefined();
        expect(bytesOf([...parts, end!], whole).equals(whole)).toBe(true);
        expect(splice.range()).toEqual(range);
      }),
      { numRuns: 10 },
    );
  });

  it.each<[string, () => Buffer]>([
    ['the folder is not in the tar', () => tar('--anchored', '--exclude=./app/pkgs')],
    ['the tar is cut short', () => without().subarray(0, 512)],
    ['it is no tar', () => Buffer.alloc(10_240, 'no tar at all ')],
  ])('says so when %s', (_what, bytes) => {
    files({ 'app/a': '1', 'app/pkgs/x': 'x' });
    const splice = createSplice(NAME, { digest, from: 0, to: 1024 });
    feed(splice, bytes(), [1000]);
    expect(splice.end()).toBeUndefined();
  });
});
