// Staging in a cluster: what an app's next staging finds on another node, and what is left when the node that stages
// is killed in the middle of it. The tests share two nodes and follow one another.

import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LocalCluster, type LocalNode, ROOT, waitFor } from '../../scripts/local-cluster.ts';
import { processTable } from '../../scripts/processes.ts';

const STATIC = join(ROOT, 'test', 'apps', 'hello-static');
const MARKER = 'peer-killed-compile';

let cluster: LocalCluster;
const node = (index: number): LocalNode => cluster.nodes[index]!;

beforeAll(async () => {
  cluster = await LocalCluster.start(2);
});
afterAll(() => cluster?.stop());

async function buildpackOf(name: string, compile: string): Promise<string> {
  const folder = join(cluster.folder, name);
  await mkdir(join(folder, 'bin'), { recursive: true });
  const scripts = { compile, release: `echo 'default_process_types: { web: "exec sleep 1000" }'` };
  for (const [script, body] of Object.entries(scripts)) {
    const path = join(folder, 'bin', script);
    await writeFile(path, `#!/bin/bash\n${body}\n`);
    await chmod(path, 0o755);
  }
  return folder;
}

const buildProcesses = async (): Promise<number> =>
  (await processTable()).filter(({ command }) => command.startsWith(MARKER)).length;

describe('the build cache', () => {
  it('follows the app to whichever node stages it next, and back', async () => {
    const buildpack = await buildpackOf('counts', 'echo one >>"$2/count"; echo "stagings: $(grep -c one "$2/count")"');
    const push = async (on: LocalNode): Promise<string> => {
      const ran = await cluster.peer(on, ['push', STATIC, '--name', 'counted', '--no-start', '--buildpack', buildpack]);
      expect(ran).toMatchObject({ code: 0 });
      return ran.stderr;
    };
    expect(await push(node(0))).toContain('stagings: 1');
    const second = await push(node(1));
    expect(second).toContain('Build cache brought from the node that staged last');
    expect(second).toContain('stagings: 2');
    expect(await push(node(0))).toContain('stagings: 3');
    const again = await push(node(0));
    expect(again).toContain('stagings: 4');
    expect(again).not.toContain('brought');
  });
});

describe('a node that is killed while it stages', () => {
  it('fails the push with a clear line, and leaves nothing behind', async () => {
    const buildpack = await buildpackOf('hangs', `exec -a ${MARKER} sleep 1000000`);
    const pushing = cluster.peer(node(0), ['push', STATIC, '--name', 'killed', '--buildpack', buildpack]);
    await waitFor('the compile to run', 30_000, async () => (await buildProcesses()) > 0);
    cluster.killDaemon(node(0));

    const ran = await pushing;
    expect(ran.code).toBe(1);
    expect(ran.stderr.trim().split('\n').at(-1)).toMatch(/connection to the node was lost|ended the connection/);
    await waitFor('the build to end with the daemon', 10_000, async () => (await buildProcesses()) === 0);
    expect((await cluster.read<{ name: string }[]>(node(1), '/v1/apps')).map(({ name }) => name)).not.toContain(
      'killed',
    );
  });

  it('does not keep the app from being pushed through another', async () => {
    const ran = await cluster.peer(node(1), ['push', STATIC, '--name', 'killed']);
    expect(ran).toMatchObject({ code: 0 });
    await waitFor('the app to be served', 10_000, async () => {
      return (await cluster.get(node(1), 'killed.localhost')).status === 200;
    });
  });

  it('clears what was half staged when it is back', async () => {
    expect(await readdir(join(node(0).dataDir, 'staging'))).toHaveLength(1);
    await cluster.restartNode(node(0));
    expect(await readdir(join(node(0).dataDir, 'staging'))).toEqual([]);
  });
});
