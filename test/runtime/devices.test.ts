// Devices that are not what their names say: named, with the command that mends them, before a sandbox is made of
// them.

import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkDevices, damagedDevices } from '../../node/runtime/sandbox/devices.ts';
import { closeIsolation, prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { runAttached } from '../../node/runtime/sandbox/run.ts';
import { silent, testNode } from './harness.ts';

const run = promisify(execFile);
const NUMBERS = { null: [1, 3], zero: [1, 5], full: [1, 7], random: [1, 8], urandom: [1, 9], tty: [5, 0] } as const;

let folder: string;
const at = (name: keyof typeof NUMBERS): string => join(folder, name);

async function make(path: string, [major, minor]: readonly [number, number]): Promise<void> {
  await rm(path, { force: true, recursive: true });
  await run('mknod', ['-m', '666', path, 'c', String(major), String(minor)]);
}

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'peer-devices-'));
  for (const [name, numbers] of Object.entries(NUMBERS)) await make(join(folder, name), numbers);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

describe('devices', () => {
  it('of this machine, and as they should be, are fine', async () => {
    expect(await damagedDevices()).toEqual([]);
    expect(await damagedDevices(folder)).toEqual([]);
  });

  it.each<[string, () => Promise<unknown>, string]>([
    [
      'is a regular file, not a device',
      async () => {
        await rm(at('null'));
        await writeFile(at('null'), 'x');
      },
      'rm -rf PATH && mknod -m 666 PATH c 1 3',
    ],
    [
      'is a folder, not a device',
      async () => {
        await rm(at('null'));
        await mkdir(at('null'));
      },
      'rm -rf PATH && mknod -m 666 PATH c 1 3',
    ],
    ['is missing', () => rm(at('null')), 'mknod -m 666 PATH c 1 3'],
    ['is the device 1:5, not 1:3', () => make(at('null'), NUMBERS.zero), 'rm -rf PATH && mknod -m 666 PATH c 1 3'],
    ['is closed to the users of apps', () => chmod(at('null'), 0o600), 'chmod 666 PATH'],
  ])('one that %s is named, with what mends it', async (problem, damage, cure) => {
    await damage();
    const path = at('null');
    expect(await damagedDevices(folder)).toEqual([{ path, problem, cure: cure.replaceAll('PATH', path) }]);
  });

  it('are all named in one line', async () => {
    await rm(at('null'));
    await rm(at('tty'));
    await expect(checkDevices(folder)).rejects.toMatchObject({
      code: 'device_damaged',
      message: `${at('null')} is missing, ${at('tty')} is missing, so no app can be isolated: as root, mknod -m 666 ${at('null')} c 1 3 && mknod -m 666 ${at('tty')} c 5 0`,
    });
  });
});

describe('a node on a machine with a damaged device', () => {
  it('refuses to start, and says so of what it is to run once it has', async () => {
    const node = await testNode();
    const options = { ...node, log: silent, devices: folder };
    try {
      const isolation = await prepareIsolation(options);
      await rm(at('null'));
      await writeFile(at('null'), '');
      await expect(prepareIsolation(options)).rejects.toMatchObject({ code: 'device_damaged' });
      const task = {
        name: 'build-1',
        argv: ['true'],
        cwd: '/',
        env: {},
        binds: [],
        uid: isolation.users.stagingUid,
        network: 'none' as const,
        memoryBytes: 64 * 1024 * 1024,
        pidsMax: 16,
        timeoutMs: 10_000,
        outputBytesMax: 1_000,
        onOutput: () => {},
      };
      await expect(runAttached(isolation, task)).rejects.toThrow('null is a regular file, not a device, so no app');
      await closeIsolation(isolation, { keepInstances: false });
    } finally {
      await node.dispose();
    }
  });
});
