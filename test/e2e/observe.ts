// What the tests see of a cluster from outside: apps through the API, processes of this machine, and their
// expectations in words. Reads only; asks the API and not the command line where it asks often.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import type { AppShape, InstanceShape, NodeShape, ReleaseShape } from '../../node/api/shapes.ts';
import { type LocalCluster, type LocalNode, waitFor } from '../../scripts/local-cluster.ts';
import { isRunning, processTable } from '../../scripts/processes.ts';

/** Long enough for a machine that also does other things; what is awaited usually takes a second or two. */
export const SETTLE_DEADLINE_MS = 30_000;

export const appOf = (cluster: LocalCluster, node: LocalNode, app: string): Promise<AppShape> =>
  cluster.read<AppShape>(node, `/v1/apps/${app}`);

export const envOf = async (cluster: LocalCluster, node: LocalNode, app: string): Promise<Record<string, string>> =>
  (await cluster.read<{ env: Record<string, string> }>(node, `/v1/apps/${app}/env`)).env;

export const releasesOf = (cluster: LocalCluster, node: LocalNode, app: string): Promise<ReleaseShape[]> =>
  cluster.read<ReleaseShape[]>(node, `/v1/apps/${app}/releases`);

export const nodesOf = (cluster: LocalCluster, node: LocalNode): Promise<NodeShape[]> =>
  cluster.read<NodeShape[]>(node, '/v1/nodes');

/** `web/0 ready`, one for each instance, in the order of slots: two copies of a slot show as two lines. */
export const linesOf = (instances: readonly InstanceShape[]): string[] =>
  instances.map((one) => `${one.process}/${one.index} ${one.state}`);

/** What linesOf shows of an app whose every slot is filled once. */
export const filledOnce = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `web/${index} ready`);

/** Waits until every given node sees each slot filled once, by a ready instance. */
export async function waitForFilledOnce(
  cluster: LocalCluster,
  nodes: readonly LocalNode[],
  app: string,
  count: number,
  deadlineMs = SETTLE_DEADLINE_MS,
): Promise<void> {
  const wanted = filledOnce(count).join(', ');
  for (const node of nodes) {
    let seen = '';
    await waitFor(`${app} to be ${wanted} as ${node.name} sees it`, deadlineMs, async () => {
      seen = linesOf((await appOf(cluster, node, app)).instances).join(', ');
      return seen === wanted;
    }).catch((error: Error) => {
      throw new Error(`${error.message}; it is ${seen}`, { cause: error.cause });
    });
  }
}

/** Expects a GET through the node's router to answer 200, and returns the body. */
export async function open(cluster: LocalCluster, node: LocalNode, route: string, path = '/'): Promise<string> {
  const response = await cluster.get(node, route, path);
  expect(`${node.name} ${route}${path}: ${response.status} ${response.status === 200 ? '' : response.body}`).toBe(
    `${node.name} ${route}${path}: 200 `,
  );
  return response.body;
}

/**
 * What instances of the node, or one of them, are made of: every one's shell, its sandbox, the app itself, in this
 * order.
 */
export async function instanceProcesses(cluster: LocalCluster, node: LocalNode, instance = ''): Promise<number[]> {
  const own = new Set(await cluster.processesOf(node));
  const chosen = new Set<number>();
  const folder = join(node.dataDir, 'instances', instance);
  for (const { pid, parent, command } of (await processTable()).sort((a, b) => a.pid - b.pid)) {
    if (own.has(pid) && (command.includes(folder) || chosen.has(parent))) chosen.add(pid);
  }
  return [...chosen];
}

export async function areGone(pids: readonly number[]): Promise<boolean> {
  const running = await Promise.all(pids.map(isRunning));
  return !running.includes(true);
}

/** What every daemon said last, for a test that failed. */
export async function lastWords(cluster: LocalCluster): Promise<string> {
  const tails = cluster.nodes.map(async (node) => {
    const text = await readFile(join(node.dataDir, 'daemon.log'), 'utf8').catch((error: Error) => error.message);
    return [`--- ${node.name}`, ...text.trimEnd().split('\n').slice(-LAST_LINES)].join('\n');
  });
  return (await Promise.all(tails)).join('\n');
}

const LAST_LINES = 40;
