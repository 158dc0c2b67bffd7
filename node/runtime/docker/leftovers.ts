// Remembers in which engines a node has had containers, and clears those that it uses no longer: a node that starts
// with another runtime, or another engine, does not adopt what it left there.

import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { NodeId } from '../../../crdt/ids.ts';
import type { Log } from '../../lib/log.ts';
import { type Engine, findEngine } from './engine.ts';
import { NODE_LABEL } from './labels.ts';
import { AppNetworks } from './networks.ts';
import { lowerPolicy } from './policy.ts';

/** Sockets, as JSON. A node has one engine, and rarely had another. */
const FILE = 'engines.json';
const ENGINES_MAX = 8;
const REMOVALS_AT_ONCE = 8;
const NOT_FOUND = 404;

export type NodePlace = { dataDir: string; nodeId: NodeId; log: Log };

/** Before the first container is made. */
export async function rememberEngine({ dataDir }: NodePlace, { socketPath }: Engine): Promise<void> {
  const others = (await remembered(dataDir)).filter((path) => path !== socketPath);
  await remember(dataDir, [...others, socketPath].slice(-ENGINES_MAX));
}

/**
 * Removes the node's containers and networks from the engines that were remembered, all but the one in use. What
 * cannot be removed now is logged, and tried again at the next start. Costs nothing where there never was an engine.
 */
export async function clearEngines(place: NodePlace, used: Engine | undefined): Promise<void> {
  const paths = await remembered(place.dataDir);
  const left: string[] = [];
  for (const socketPath of paths) {
    if (socketPath === used?.socketPath) left.push(socketPath);
    else if (!(await clear(place, socketPath))) left.push(socketPath);
  }
  if (paths.length === left.length) return;
  if (used === undefined) await lowerPolicy(place.nodeId);
  await remember(place.dataDir, left);
}

/** Whether nothing of the node is left in it. */
async function clear({ nodeId, log }: NodePlace, socketPath: string): Promise<boolean> {
  try {
    const { docker } = await findEngine({ DOCKER_HOST: `unix://${socketPath}` });
    const filters = JSON.stringify({ label: [`${NODE_LABEL}=${nodeId}`] });
    const containers = await docker.listContainers({ all: true, filters });
    for (let start = 0; start < containers.length; start += REMOVALS_AT_ONCE) {
      const some = containers.slice(start, start + REMOVALS_AT_ONCE);
      await Promise.all(
        some.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true }).catch(unlessGone)),
      );
    }
    await new AppNetworks(docker, nodeId).sweep();
    if (containers.length > 0) log.info('runtime.containers_removed', { socket: socketPath, count: containers.length });
    return true;
  } catch (error) {
    log.warn('runtime.containers_left', {
      socket: socketPath,
      reason: (error as Error).message,
      message:
        'containers of this node may run on in an engine that it uses no longer: it looks again at its next start',
    });
    return false;
  }
}

function unlessGone(error: { statusCode?: number }): void {
  if (error.statusCode !== NOT_FOUND) throw error;
}

async function remembered(dataDir: string): Promise<string[]> {
  try {
    const paths: unknown = JSON.parse(await readFile(join(dataDir, FILE), 'utf8'));
    return Array.isArray(paths) ? paths.filter((path) => typeof path === 'string') : [];
  } catch {
    return [];
  }
}

async function remember(dataDir: string, paths: readonly string[]): Promise<void> {
  const file = join(dataDir, FILE);
  if (paths.length === 0) await rm(file, { force: true });
  else await writeFileAtomic(file, JSON.stringify(paths), { mode: 0o600 });
}
