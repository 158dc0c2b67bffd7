// What nodes have fetched of blobs from one another, as their logs say.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LocalCluster } from '../../local-cluster.ts';

/** Bytes that all nodes of the cluster have received so far. */
export async function fetchedBytes(cluster: LocalCluster): Promise<number> {
  let bytes = 0;
  for (const { dataDir } of cluster.nodes) {
    const log = await readFile(join(dataDir, 'daemon.log'), 'utf8');
    for (const [, received] of log.matchAll(/ blob\.fetched .*receivedBytes=(\d+)/g)) bytes += Number(received);
  }
  return bytes;
}
