// Tasks and shells through real daemons: asked of one node, run on another.

import { spawn } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { UsedApp } from '../../cli/commands/app.ts';
import { LocalCluster, type LocalNode, ROOT, waitFor } from '../../scripts/local-cluster.ts';
import { appOf, lastWords } from './observe.ts';

const APP = 'shop';

describe('commands from any node', () => {
  let cluster: LocalCluster;
  /** The node that runs the only instance, and one that does not. */
  let there: LocalNode;
  let here: LocalNode;

  beforeAll(async () => {
    cluster = await LocalCluster.start(2);
    const folder = join(ROOT, 'test', 'apps', 'hello-node');
    await cluster.json(cluster.nodes[0]!, ['push', folder, '--name', APP, '--env', 'COLOUR=blue', '--memory', '64M']);
    const { instances } = await appOf(cluster, cluster.nodes[0]!, APP);
    there = cluster.nodes.find(({ name }) => name === instances[0]!.node)!;
    here = cluster.nodes.find((node) => node !== there)!;
    await waitFor('the other node to see the instance', 10_000, async () => {
      return (await appOf(cluster, here, APP)).instances[0]?.state === 'ready';
    });
  }, 120_000);
  beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
  afterAll(() => cluster?.stop());

  const leftovers = async (node: LocalNode): Promise<string[]> =>
    (await readdir(join(node.dataDir, 'instances')).catch((): string[] => [])).filter((name) =>
      name.startsWith('task-'),
    );

  it('exec runs in the instance on the other node, with its environment, and ends with its status', async () => {
    const script = 'echo $COLOUR $CF_INSTANCE_INDEX; cat /proc/[0-9]*/cmdline | tr "\\0" " "; echo wrong >&2; exit 4';
    const ran = await cluster.peer(here, ['exec', `${APP}/0`, '--', 'sh', '-c', script]);
    expect(ran.code).toBe(4);
    expect(ran.stdout).toMatch(/^blue 0\n.*node /s);
    expect(ran.stderr).toBe('wrong\n');
    const logs = await cluster.peer(here, ['logs', APP]);
    expect(logs.stdout).toMatch(/\[CELL\/web\/0\] OUT operator@\S+ runs a command in instance web.0/);
  });

  it('what the instance uses is told by every node', async () => {
    for (const node of cluster.nodes) {
      const [instance] = (await cluster.json<UsedApp>(node, ['app', APP])).instances;
      const { memoryBytes, cpu, diskBytes } = instance!.usage!;
      expect(memoryBytes).toBeGreaterThan(5_000_000);
      expect(memoryBytes).toBeLessThan(64 * 1024 * 1024);
      expect(cpu).toBeLessThan(1);
      expect(diskBytes).toBeLessThan(10_000_000);
    }
  });

  it('exec carries megabytes through the other node unchanged', async () => {
    const script = 'head -c 20000000 /dev/zero | tr "\\0" x';
    const ran = await cluster.peer(here, ['exec', `${APP}/0`, '--', 'sh', '-c', script]);
    expect(ran.code).toBe(0);
    expect(ran.stdout.length).toBe(20_000_000);
  });

  it("run starts a task with the app's code, passes its status through, and leaves nothing behind", async () => {
    for (const node of cluster.nodes) {
      const script = 'ls package.json; echo $COLOUR; exit 5';
      const ran = await cluster.peer(node, ['run', APP, '--name', `by-${node.name}`, '--', 'sh', '-c', script]);
      expect(ran).toMatchObject({ code: 5, stdout: 'package.json\nblue\n' });
      expect(await leftovers(node)).toEqual([]);
    }
    const logs = await cluster.peer(here, ['logs', APP]);
    for (const { name } of cluster.nodes) {
      expect(logs.stdout).toMatch(new RegExp(`\\[APP/TASK/by-${name}/0\\] OUT blue`));
      expect(logs.stdout).toContain(`Task by-${name} ended: exit status 5`);
    }
  });

  it('a command that is cancelled ends on the node that it runs on', async () => {
    const env = { ...process.env, PEER_API: `http://${here.api}`, PEER_TOKEN: here.token };
    const child = spawn(
      join(ROOT, 'scripts', 'peer'),
      ['exec', `${APP}/0`, '--', 'sh', '-c', 'echo begun; exec sleep 98765'],
      { env, stdio: ['ignore', 'pipe', 'inherit'] },
    );
    const ended = new Promise((resolve) => child.once('close', resolve));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    const list = ['exec', `${APP}/0`, '--', 'sh', '-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" " "'];
    await waitFor('the command on the other node to end', 10_000, async () => {
      return !(await cluster.peer(here, list)).stdout.includes('sleep 98765');
    });
  });

  it('the loss of the node that a command runs on ends it with one line', async () => {
    const env = { ...process.env, PEER_API: `http://${here.api}`, PEER_TOKEN: here.token };
    const child = spawn(
      join(ROOT, 'scripts', 'peer'),
      ['exec', `${APP}/0`, '--', 'sh', '-c', 'echo begun; sleep 1000'],
      {
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await cluster.killNode(there);
    expect(await ended).toBe(1);
    expect(said.trim().split('\n')).toHaveLength(1);
    expect(said).toMatch(/^peer: /);
  });
});
