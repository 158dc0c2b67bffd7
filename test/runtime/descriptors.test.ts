// A daemon that has no file descriptors left: what cannot be started says so, and the daemon lives on.

import { describe, expect, it } from 'vitest';
import { ROOT, run } from '../../scripts/local-cluster.ts';

const LIMIT = 64;
/** Takes every descriptor there is, then starts a program in each of the ways that the runtime has. */
const PROBE = `
  import { openSync } from 'node:fs';
  import { runCommand } from '${ROOT}/node/lib/program.ts';
  import { diskUseBytes } from '${ROOT}/node/lib/disk-use.ts';
  import { InstanceFolder } from '${ROOT}/node/runtime/instance-folder.ts';
  import { removeTree, treeBytes } from '${ROOT}/node/staging/workspace.ts';
  import { resourceBehind } from '${ROOT}/node/core/pressure.ts';
  const folder = new InstanceFolder('/nonexistent', 'one');
  try { for (;;) openSync('/etc/hostname'); } catch {}
  const told = [];
  for (const start of [() => runCommand(['true']), () => folder.makePipe('droplet')]) {
    await start().then(() => told.push('started'), (error) => told.push(resourceBehind(error)));
  }
  told.push(await diskUseBytes('/tmp'), await treeBytes('/tmp'), await removeTree('/nonexistent'));
  // What a start that failed says late, it says in the next turn.
  await new Promise((resolve) => setImmediate(resolve));
  // Node still holds the timers of the time limits of what was never started.
  process.stdout.write(JSON.stringify(told), () => process.exit(0));
`;

describe('without file descriptors', () => {
  it('no program is started, which is the fault of the node, and nothing ends for it', async () => {
    const limited = ['prlimit', `--nofile=${LIMIT}:${LIMIT}`, process.execPath, '--input-type=module', '-e', PROBE];
    const ran = await run(limited, { cwd: ROOT });
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    expect(JSON.parse(ran.stdout)).toEqual(['descriptors', 'descriptors', null, 0, null]);
  });
});
