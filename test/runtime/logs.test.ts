// The log store: order, rotation, the end of a long log, followers, and what happens when there is too much.

import { appendFile, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AppId, asAppId } from '../../crdt/ids.ts';
import { RPC_REPLY_BYTES_MAX } from '../../node/gossip/limits.ts';
import { LOG_LINE_BYTES_MAX } from '../../node/lib/lines.ts';
import type { LogLine } from '../../node/ports/logs.ts';
import { FOLLOW_LINES_MAX } from '../../node/runtime/logs/follow.ts';
import { createLogStore, LOG_FILES_KEPT, type PacedLogStore } from '../../node/runtime/logs/store.ts';
import { run } from '../../scripts/local-cluster.ts';
import { silent, type TestNode, testNode } from './harness.ts';

const app = asAppId('3f0c5a52-0000-4000-8000-000000000001');
const other = asAppId('3f0c5a52-0000-4000-8000-000000000002');

describe('log store', () => {
  let node: TestNode;
  let logs: PacedLogStore;

  beforeEach(async () => {
    node = await testNode();
    logs = createLogStore({ ...node, log: silent, fileBytesMax: 20_000 });
  });
  afterEach(async () => {
    await logs.close();
    await node.dispose();
  });

  function say(text: string, to: AppId = app): void {
    logs.append({ app: to, source: 'APP', process: 'web', index: 1, stream: 'out', text });
  }
  async function texts(lines: number, of: AppId = app): Promise<string[]> {
    return (await logs.tail(of, lines)).map((line) => line.text);
  }

  it('returns the last lines, oldest first, with all that is known of them', async () => {
    for (const text of ['one', 'two', 'three']) say(text);
    say('elsewhere', other);
    expect(await texts(2)).toEqual(['two', 'three']);
    expect((await logs.tail(app, 1))[0]).toEqual({
      atMs: expect.closeTo(Date.now(), -4),
      app,
      node: node.nodeId,
      source: 'APP',
      process: 'web',
      index: 1,
      stream: 'out',
      text: 'three',
    });
    expect(await texts(10, other)).toEqual(['elsewhere']);
    expect(await texts(10, asAppId('never-seen'))).toEqual([]);
  });

  it('answers no more long lines than a reply to another node may hold, the last ones', async () => {
    const filler = 'x'.repeat(LOG_LINE_BYTES_MAX - 10);
    for (let line = 0; line < 400; line++) say(`${line} ${filler}`);
    const last = await logs.tail(app, 400);
    expect(last.at(-1)!.text).toBe(`399 ${filler}`);
    expect(last.length).toBeGreaterThan(200);
    expect(JSON.stringify({ kind: 'value', value: last }).length).toBeLessThan(RPC_REPLY_BYTES_MAX * 0.6);
  });

  it('keeps a bounded number of bounded files, and finds lines across them', async () => {
    for (let round = 0; round < 30; round++) {
      for (let line = 0; line < 20; line++) say(`line ${round * 20 + line}`);
      await texts(1);
    }
    const folder = join(node.dataDir, 'logs', app);
    const files = await readdir(folder);
    expect(files).toHaveLength(LOG_FILES_KEPT);
    for (const file of files) expect((await stat(join(folder, file))).size).toBeLessThanOrEqual(20_000);
    const last = await texts(200);
    expect(last).toEqual(Array.from({ length: 200 }, (_, index) => `line ${400 + index}`));
  });

  it('survives a new store on the same folder, and half a line in the file', async () => {
    say('before');
    await logs.close();
    await appendFile(join(node.dataDir, 'logs', app, 'current'), '{"atMs":1,"tex\n');
    logs = createLogStore({ ...node, log: silent });
    say('after');
    expect(await texts(10)).toEqual(['before', 'after']);
  });

  it('cuts a line that is too long, between characters', async () => {
    say(`x${'é'.repeat(LOG_LINE_BYTES_MAX)}`);
    const [text] = await texts(1);
    expect(Buffer.byteLength(text!)).toBe(LOG_LINE_BYTES_MAX - 1);
    expect(text).not.toContain('\ufffd');
  });

  it('tells followers of lines from then on, until they stop', async () => {
    say('early');
    const seen: string[] = [];
    const stop = logs.follow(app, (line) => seen.push(line.text));
    logs.follow(app, () => {
      throw new Error('a broken reader');
    });
    say('now');
    say('not mine', other);
    stop();
    say('late');
    expect(seen).toEqual(['now']);
  });

  it('leaves out the oldest lines for a reader that is too slow, and says how many', async () => {
    const seen: LogLine[] = [];
    const first = Promise.withResolvers<void>();
    logs.follow(app, (line) => {
      seen.push(line);
      return seen.length === 1 ? first.promise : undefined;
    });
    for (let line = 0; line <= FOLLOW_LINES_MAX + 5; line++) say(`line ${line}`);
    expect(seen).toHaveLength(1);
    first.resolve();
    await expect.poll(() => seen.length).toBe(FOLLOW_LINES_MAX + 2);
    expect(seen[1]!.text).toBe('5 lines left out: the reader is too slow');
    expect(seen[2]!.text).toBe('line 6');
    expect(seen.at(-1)!.text).toBe(`line ${FOLLOW_LINES_MAX + 5}`);
  });

  it('drops lines when too many wait for the disk, and says how many', async () => {
    const text = 'x'.repeat(10_000);
    for (let line = 0; line < 2_000; line++) say(text);
    expect(logs.full()).toBeInstanceOf(Promise);
    await logs.full();
    expect((await texts(1))[0]).toMatch(/^\d+ lines lost: the disk is too slow$/);
    expect(logs.full()).toBeUndefined();
  });

  it('deletes the lines of an app, and starts afresh', async () => {
    say('old');
    await logs.tail(app, 1);
    expect(await logs.apps()).toEqual([app]);
    await logs.remove(app);
    expect(await logs.apps()).toEqual([]);
    expect(await texts(10)).toEqual([]);
    say('new');
    expect(await texts(10)).toEqual(['new']);
  });

  it('refuses to read of an app id that is not one, and keeps nothing of it', async () => {
    for (const id of ['../../etc', 'x:y', '']) {
      say('x', asAppId(id));
      await expect(logs.tail(asAppId(id), 1)).rejects.toThrow('not an app id');
    }
    expect(await logs.apps()).toEqual([]);
  });
});

describe('a log store on a full disk', () => {
  it('loses what does not fit, says so once, and goes on with whole lines when there is room', async () => {
    const node = await testNode();
    const small = join(node.dataDir, 'logs');
    await mkdir(small);
    const warnings: string[] = [];
    const log = { ...silent, warn: (event: string) => void warnings.push(event) };
    expect(await run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'peer-test', small])).toMatchObject({ code: 0 });
    const logs = createLogStore({ ...node, log });
    const say = (text: string) => logs.append({ app, source: 'APP', stream: 'out', text });
    const texts = async () => (await logs.tail(app, 10)).map(({ text }) => text);
    try {
      say('before');
      expect(await texts()).toEqual(['before']);
      await expect(writeFile(join(small, 'filler'), Buffer.alloc(1024 * 1024))).rejects.toThrow('ENOSPC');
      for (let round = 0; round < 3; round++) {
        for (let line = 0; line < 40; line++) say(`lost ${'x'.repeat(200)}`);
        expect(await texts()).toEqual(['before']);
      }
      expect(warnings).toEqual(['logs.write_failed']);
      await rm(join(small, 'filler'));
      say('after');
      expect(await texts()).toEqual(['before', 'after']);
    } finally {
      await logs.close();
      await run(['umount', small]);
      await node.dispose();
    }
  });
});
