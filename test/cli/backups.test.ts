// Backups of services from the command line, through scripts/peer.

import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TestCli } from './peer.ts';

let cli: TestCli;
beforeEach(async () => {
  cli = await TestCli.start();
  await ok(['service', 'create', 'redis', 'cache', '--plan', 'medium', '--keep', '3']);
  cli.node.backups.data.set(idOf('cache'), 'first');
});
afterEach(() => cli.stop());

const idOf = (name: string) => [...cli.node.view().services.values()].find((one) => one.name === name)!.id;
const dataOf = (name: string) => cli.node.backups.data.get(idOf(name));

async function ok(args: string[], input?: string) {
  const ran = await cli.run(args, input === undefined ? {} : { input });
  expect(ran.stderr).not.toMatch(/^peer: /m);
  expect(ran.status).toBe(0);
  return ran;
}

describe('peer service backup', () => {
  it('takes one, and says what happens', async () => {
    const { stdout, stderr } = await ok(['service', 'backup', 'cache']);
    expect(stderr).toContain('taking a backup of cache');
    expect(stdout).toBe('backup backup-1 of cache, 12B, proven: 3 tables\n');
    expect(await cli.json(['service', 'backup', 'cache'])).toMatchObject({ id: 'backup-2', heldBy: ['alpha', 'beta'] });
    expect((await ok(['service', 'status', 'cache'])).stdout).toMatch(
      /backups +every 1d, 3 kept, newest proven \d+s old/,
    );
  });

  it('fails when nothing runs', async () => {
    await ok(['service', 'stop', 'cache']);
    expect(await cli.run(['service', 'backup', 'cache'])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('cache does not run: see peer service status cache'),
    });
  });
});

describe('peer service backups', () => {
  it('lists those of a service, or all, also when the service is gone', async () => {
    expect((await ok(['service', 'backups', 'cache'])).stdout).toBe('no backups yet: peer service backup cache\n');
    await ok(['service', 'backup', 'cache']);
    cli.node.backups.proof = { state: 'skipped', atMs: 0, text: 'not tried: no memory is free' };
    await ok(['service', 'backup', 'cache']);
    const { stdout } = await ok(['service', 'backups', 'cache']);
    expect(stdout).toMatch(/^BACKUP +KIND +AGE +SIZE +PROVEN +HELD BY\n/);
    expect(stdout).toMatch(/backup-2 +redis 7\.0 +\d+s +12B +not tried: no memory is free +alpha, beta\n/);
    expect(stdout).toMatch(/backup-1 +redis 7\.0 +\d+s +12B +yes: 3 tables +alpha, beta\n/);
    expect((await ok(['service', 'delete', 'cache', '--yes'])).stdout).toBe(
      'cache is deleted; its backups are kept for 14 days: peer service backups cache\n',
    );
    expect(await cli.json(['service', 'backups', 'cache'])).toHaveLength(2);
    expect((await ok(['service', 'backups'])).stdout).toMatch(/backup-1 +cache /);
  });
});

describe('peer service restore', () => {
  it('asks, and puts one in the place of what is there', async () => {
    await ok(['service', 'backup', 'cache']);
    cli.node.backups.data.set(idOf('cache'), 'second');
    const unasked = await cli.run(['service', 'restore', 'cache', 'newest']);
    expect(unasked).toMatchObject({ status: 2, stderr: expect.stringContaining('say that it is meant with --yes') });
    expect(dataOf('cache')).toBe('second');
    expect((await ok(['service', 'restore', 'cache', 'newest', '--yes'])).stdout).toBe('cache holds backup backup-1\n');
    expect(dataOf('cache')).toBe('first');
  });

  it('makes a service of the same kind and plan for it, of one that is gone too', async () => {
    await ok(['service', 'backup', 'cache']);
    await ok(['service', 'restore', 'cache', 'backup-1', '--as', 'copy']);
    expect(dataOf('copy')).toBe('first');
    expect(cli.node.view().services.get(idOf('copy'))).toMatchObject({ kind: 'redis', plan: 'medium', backupsKept: 3 });
    await ok(['service', 'delete', 'cache', '--yes']);
    expect(await cli.json(['service', 'restore', 'cache', 'newest', '--as', 'cache'])).toMatchObject({
      id: 'backup-1',
      restoredInto: 'cache',
    });
    expect(dataOf('cache')).toBe('first');
  });

  it.each([
    [['restore', 'cache', 'newest', '--as', 'copy'], 1, 'cache has no backup newest: see peer service backups cache'],
    [['restore', 'cache', 'backup-9', '--yes'], 1, 'no node that answers holds a backup backup-9'],
    [['restore', 'cache'], 2, 'give either BACKUP or --at TIME: peer service restore cache newest'],
    [['backup', 'cache', '--as', 'copy'], 2, '--as is no option of peer service backup NAME'],
    [['backups', 'cache', 'more'], 2, '"more" is one argument too many: peer service backups [NAME]'],
    [['upload', 'cache', '/not/there'], 2, 'cannot read /not/there: ENOENT: no such file or directory'],
  ])('%j is refused', async (args, status, message) => {
    expect(await cli.run(['service', ...args])).toMatchObject({ status, stderr: expect.stringContaining(message) });
  });
});

describe('a backup as a file', () => {
  it('is written whole, for nobody else to read, and never over another', async () => {
    await ok(['service', 'backup', 'cache']);
    const file = join(cli.home, 'cache.rdb');
    expect(await cli.json(['service', 'download', 'cache', 'newest', file])).toEqual({
      service: 'cache',
      file,
      sizeBytes: 12,
    });
    expect(readFileSync(file, 'utf8')).toBe('BACKUP first');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(await cli.run(['service', 'download', 'cache', 'newest', file])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('is there already'),
    });
    expect((await ok(['service', 'download', 'cache', 'backup-1', '-'])).stdout).toBe('BACKUP first');
  });

  it('is not there at all when it could not be brought', async () => {
    await ok(['service', 'backup', 'cache']);
    cli.node.backups.fails = Object.assign(new Error('no node delivers it'), { code: 'unavailable' });
    const file = join(cli.home, 'cache.rdb');
    expect((await cli.run(['service', 'download', 'cache', 'newest', file])).status).toBe(1);
    expect([existsSync(file), existsSync(`${file}.part`)]).toEqual([false, false]);
  });

  it('is taken in from a file and from stdin; another kind of file is refused', async () => {
    const file = join(cli.home, 'cache.rdb');
    writeFileSync(file, 'BACKUP second');
    expect((await ok(['service', 'upload', 'cache', file])).stdout).toBe(
      'backup backup-1 of cache: peer service restore cache backup-1\n',
    );
    await ok(['service', 'upload', 'cache', '-'], 'BACKUP third');
    await ok(['service', 'restore', 'cache', 'backup-2', '--yes']);
    expect(dataOf('cache')).toBe('third');
    writeFileSync(file, 'PGDMP');
    expect(await cli.run(['service', 'upload', 'cache', file])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('this is no backup, or it is empty'),
    });
  });
});
