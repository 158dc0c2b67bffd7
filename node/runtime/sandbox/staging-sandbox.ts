// The Sandbox port: commands of staging, run to their end as the node's staging user. Never runs instances.

import { spawnChild } from '../../lib/spawn-child.ts';
import type { Sandbox } from '../../ports/sandbox.ts';
import { RuntimeError } from '../errors.ts';
import type { Isolation } from './confinement.ts';
import { runAttached } from './run.ts';

export function createSandbox(isolation: Isolation): Sandbox {
  const uid = isolation.users.stagingUid;
  return {
    async run(run) {
      const network = run.network === 'none' ? 'none' : await isolation.networks?.take('build');
      try {
        if (network !== undefined && network !== 'none') {
          await isolation.networks?.openBuildHosts(network, run.reach ?? []);
        }
        return await runAttached(isolation, { ...run, uid, network });
      } finally {
        // Nothing runs in it any more, and nobody waits for it: whoever takes the next one may.
        if (network !== undefined && network !== 'none') void isolation.networks?.release(network);
      }
    },
    ownUser: isolation.ownUsers,
    async giveTo(...paths) {
      if (isolation.ownUsers) await changeOwner(paths, uid);
    },
  };
}

/** Not followed: a link inside could point at anything on the machine. */
function changeOwner(paths: string[], uid: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawnChild('chown', ['-RhP', '--', `${uid}:${uid}`, ...paths], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let problem = '';
    child.stderr.on('data', (chunk: Buffer) => {
      problem = `${problem}${chunk}`.slice(0, 1000);
    });
    child.once('error', (error) =>
      reject(new RuntimeError('spawn_failed', `could not start chown: ${error.message}`, { cause: error })),
    );
    child.once('close', (code) => {
      if (code === 0) resolve();
      else
        reject(
          new RuntimeError(
            'sandbox_unusable',
            `could not give ${paths.join(', ')} to the staging user: ${problem.trim()}`,
          ),
        );
    });
  });
}
