// The disk twin keeps the promises of the real disk: the same operations leave the same bytes, and what a power cut
// tears is only ever the end of the append under way.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { realDisk } from '../../crdt/disk.ts';
import { encodeFrame, readFrames } from '../../crdt/frames.ts';
import { SimDisk } from './disk.ts';
import { Prng } from './prng.ts';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'peer-disk-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const operation = fc.oneof(
  fc.record({ kind: fc.constant('write' as const), bytes: fc.uint8Array({ maxLength: 64 }) }),
  fc.record({ kind: fc.constant('append' as const), bytes: fc.uint8Array({ maxLength: 64 }) }),
  fc.record({ kind: fc.constant('truncate' as const), length: fc.nat(64) }),
);

describe('the disk twin', () => {
  it('holds the same bytes as the real disk after the same operations', async () => {
    let file = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 8 }), async (operations) => {
        const path = join(dir, String(file++));
        const twin = new SimDisk();
        await realDisk.writeSynced(path, new Uint8Array(0));
        twin.writeSynced(path, new Uint8Array(0));
        for (const one of operations) {
          const length = twin.read(path)!.length;
          if (one.kind === 'write') {
            await realDisk.writeSynced(path, one.bytes);
            twin.writeSynced(path, one.bytes);
            continue;
          }
          const log = await realDisk.openLog(path);
          if (one.kind === 'append') {
            await log.append(one.bytes, length);
            twin.beginAppend(path, one.bytes, length);
            twin.endAppend();
          } else {
            // The store only ever cuts a file back.
            await log.truncate(Math.min(one.length, length));
            twin.truncate(path, Math.min(one.length, length));
          }
          await log.close();
        }
        expect(twin.read(path)).toEqual(await realDisk.read(path));
      }),
      { numRuns: 50 },
    );
  });

  it('has no file that was never written, as the real one', async () => {
    expect(new SimDisk().read('nothing')).toBeUndefined();
    expect(await realDisk.read(join(dir, 'nothing'))).toBeUndefined();
  });

  it('loses at most the append under way when the power goes, and the real reader finds what was there before', () => {
    const rng = new Prng('torn');
    for (let round = 0; round < 200; round++) {
      const disk = new SimDisk();
      const whole = encodeFrame([Buffer.from('acknowledged')]);
      const torn = encodeFrame([Buffer.from('not acknowledged yet')]);
      disk.writeSynced('log', new Uint8Array(0));
      disk.beginAppend('log', whole, 0);
      disk.endAppend();
      disk.beginAppend('log', torn, whole.length);
      const share = rng.share() * 1.1;
      disk.crash(share);
      const { changes } = readFrames(disk.read('log')!, 0);
      expect(changes.map(String)).toEqual(share < 1 ? ['acknowledged'] : ['acknowledged', 'not acknowledged yet']);
    }
  });

  it('keeps nothing of an append that does not fit, once it is cut back', () => {
    const disk = new SimDisk();
    disk.writeSynced('log', Buffer.from('before'));
    disk.full = true;
    disk.beginAppend('log', Buffer.from('after'), 6);
    expect(() => disk.endAppend()).toThrow('no space left');
    disk.truncate('log', 6);
    expect(String(disk.read('log'))).toBe('before');
  });
});

describe('the source of chance', () => {
  it('gives the same numbers for the same seed, and others for another stream', () => {
    const draw = (rng: Prng): number[] => Array.from({ length: 20 }, () => rng.u32());
    expect(draw(new Prng('7'))).toEqual(draw(new Prng('7')));
    expect(draw(new Prng('7'))).not.toEqual(draw(new Prng('8')));
    expect(draw(new Prng('7').fork('a'))).not.toEqual(draw(new Prng('7').fork('b')));
  });

  it('is spread evenly', () => {
    const rng = new Prng('spread');
    const counts = Array.from({ length: 10 }, () => 0);
    for (let i = 0; i < 20_000; i++) counts[rng.between(0, 9)]!++;
    for (const count of counts) expect(Math.abs(count - 2_000)).toBeLessThan(250);
  });
});
