// The app that the benchmarks push: a Node server without dependencies that answers with its version, at /index with
// the index of its slot. Written to a folder of the caller's, so that a benchmark can change it between pushes.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LocalCluster, LocalNode } from '../local-cluster.ts';

export async function writeApp(folder: string, version: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(
    join(folder, 'package.json'),
    `${JSON.stringify({ name: 'bench-app', version: '1.0.0', scripts: { start: 'node server.js' } })}\n`,
  );
  await writeFile(
    join(folder, 'server.js'),
    `const answer = (url) => (url === '/index' ? process.env.INSTANCE_INDEX : ${JSON.stringify(version)});\n` +
      "require('node:http').createServer((req, res) => res.end(answer(req.url))).listen(process.env.PORT);\n",
  );
}

export type AppState = { instances: { id: string; node: string; state: string; index: number; release: string }[] };

/**
 * The app as a node sees it, read from its API directly: starting the command line would cost more than what is
 * measured.
 */
export async function readApp(cluster: LocalCluster, node: LocalNode, app: string): Promise<AppState> {
  const response = await fetch(`http://${node.api.replace(/^https?:\/\//, '')}/v1/apps/${app}`, {
    headers: { authorization: `Bearer ${node.token}` },
    signal: AbortSignal.timeout(5_000),
  });
  if (!response.ok)
    throw new Error(`${node.name}: GET app ${app}: ${response.status} ${await response.text()} (${cluster.folder})`);
  return (await response.json()) as AppState;
}

export const readyOn = (state: AppState, except?: string): number =>
  new Set(state.instances.filter((one) => one.state === 'ready' && one.node !== except).map((one) => one.index)).size;
