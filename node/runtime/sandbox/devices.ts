// Whether the devices that every sandbox shows are what their names say: bubblewrap binds the machine's own, and of
// one that was replaced by a file it only says that it cannot be bound, or shows the file. Looks, and mends nothing.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RuntimeError } from '../errors.ts';

/**
 * What `--dev` of bubblewrap binds, with the numbers that Linux has for each.
 * @see https://www.kernel.org/doc/Documentation/admin-guide/devices.txt
 */
const DEVICES = [
  { name: 'null', major: 1, minor: 3 },
  { name: 'zero', major: 1, minor: 5 },
  { name: 'full', major: 1, minor: 7 },
  { name: 'random', major: 1, minor: 8 },
  { name: 'urandom', major: 1, minor: 9 },
  { name: 'tty', major: 5, minor: 0 },
] as const;

type Device = (typeof DEVICES)[number];

/** Everyone may read and write them: apps run as users of their own. */
const MODE = 0o666;

const DEVICES_FOLDER = '/dev';

export type DamagedDevice = {
  path: string;
  /** One clause that fits after "/dev/null ". */
  problem: string;
  /** The command that mends it, for root. */
  cure: string;
};

/** @param folder of the devices; another one than the machine's for tests. */
export async function damagedDevices(folder: string = DEVICES_FOLDER): Promise<DamagedDevice[]> {
  const looked = await Promise.all(DEVICES.map((device) => lookAt(join(folder, device.name), device)));
  return looked.filter((damaged) => damaged !== undefined);
}

/** Fails with RuntimeError `device_damaged`, which names the device and the command that mends it. */
export async function checkDevices(folder?: string): Promise<void> {
  const damaged = await damagedDevices(folder);
  if (damaged.length === 0) return;
  const problems = damaged.map(({ path, problem }) => `${path} ${problem}`).join(', ');
  const cures = damaged.map(({ cure }) => cure).join(' && ');
  throw new RuntimeError('device_damaged', `${problems}, so no app can be isolated: as root, ${cures}`);
}

async function lookAt(path: string, { major, minor }: Device): Promise<DamagedDevice | undefined> {
  const made = `mknod -m 666 ${path} c ${major} ${minor}`;
  const anew = `rm -rf ${path} && ${made}`;
  try {
    const found = await stat(path);
    if (!found.isCharacterDevice()) return { path, problem: `is ${kindOf(found)}, not a device`, cure: anew };
    const [has, wants] = [deviceNumbers(found.rdev), `${major}:${minor}`];
    if (has !== wants) return { path, problem: `is the device ${has}, not ${wants}`, cure: anew };
    if ((found.mode & MODE) === MODE) return undefined;
    return { path, problem: 'is closed to the users of apps', cure: `chmod 666 ${path}` };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return { path, problem: 'is missing', cure: made };
    return { path, problem: `cannot be looked at (${code})`, cure: anew };
  }
}

function kindOf(found: Awaited<ReturnType<typeof stat>>): string {
  if (found.isFile()) return 'a regular file';
  return found.isDirectory() ? 'a folder' : 'something else';
}

/** As makedev(3) of glibc puts them together. */
function deviceNumbers(rdev: number): string {
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return `${major}:${minor}`;
}
