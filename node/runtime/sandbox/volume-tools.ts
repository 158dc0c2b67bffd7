// Runs the machine's own tools on the files of volumes: confined like a staging run, as the user that owns the files,
// with nothing in sight but what they are to read and write. What is in a volume can so lead them nowhere.

import type { VolumeTools } from '../../ports/volumes.ts';
import type { Isolation } from './confinement.ts';
import { runAttached } from './run.ts';

/** Sorting and packing; what they read and write is the page cache's. */
const MEMORY_BYTES = 512 * 1024 * 1024;
const PIDS_MAX = 32;
const ENVIRONMENT = { PATH: '/usr/bin:/bin', LC_ALL: 'C' };
/** As large as any file is: the volume's own size bounds it. */
const FILE_BYTES_MAX = 2 ** 50;

export function createVolumeTools(isolation: Isolation): VolumeTools {
  return {
    run: ({ uid, ...run }) =>
      runAttached(isolation, {
        ...run,
        uid: uid ?? isolation.users.stagingUid,
        network: 'none',
        cwd: '/',
        env: ENVIRONMENT,
        memoryBytes: MEMORY_BYTES,
        pidsMax: PIDS_MAX,
        fileBytesMax: FILE_BYTES_MAX,
      }),
  };
}
