// The process runtime under a daemon that is not root: a user namespace instead of host users, and no control groups.

import { execFile } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const run = promisify(execFile);
const NOBODY = '65534';
/** Where another user finds this project, whatever folder it is in. */
const PROJECT = '/mnt';

/** The same program as an ordinary user; root gives itself up and shows the project where that user can reach it. */
function asOrdinaryUser(program: string): string[] {
  const project = join(import.meta.dirname, '../..');
  if (process.getuid?.() !== 0) return [process.execPath, join(project, program)];
  // The project brings its own Node.
  const node = realpathSync(process.execPath);
  const drop = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', '--bounding-set=-all'];
  const mounts = ['--dev-bind', '/', '/', '--bind', project, PROJECT];
  return ['bwrap', ...mounts, ...drop, node.replace(project, PROJECT), join(PROJECT, program)];
}

it('runs instances as an ordinary user', async () => {
  const [command, ...argv] = asOrdinaryUser('test/runtime/unprivileged-node.ts');
  const { stdout } = await run(command!, argv, { env: { ...process.env, TMPDIR: '/tmp', HOME: '/tmp' } });
  expect(JSON.parse(stdout)).toEqual({
    uid: process.getuid?.() === 0 ? Number(NOBODY) : process.getuid?.(),
    events: ['instanceLaunched', 'instanceReady', 'instanceExited'],
    reason: 'seen enough',
    lines: ['vcap', '1000', 'written', 'refused'],
  });
});
