// Programs of other people, from the npm registry and from Debian, that keep data: in volumes, in PostgreSQL and in
// MySQL. Each is pushed by its Compose file, is given something over HTTP, and has it still after whatever happens to it
// and to its nodes.

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LocalCluster, type LocalNode, waitFor } from '../../scripts/local-cluster.ts';
import { lastWords } from './observe.ts';
import { askApp } from './requests.ts';
import { type Ask, PROGRAMS, type Program } from './strangers-programs.ts';

/** What it depends on is downloaded, and a first start makes its tables. */
const PUSH_TIMEOUT_MS = 600_000;
const BACK_WITHIN_MS = 120_000;
const TIMEOUT_MS = 900_000;

let cluster: LocalCluster;
const node = (index: number): LocalNode => cluster.nodes[index]!;
const askOf =
  ({ name }: Program, through: LocalNode): Ask =>
  (path, options) =>
    askApp(through, `${name}.localhost`, path, options);

/** Through each node's router, once it answers again. */
async function expectAllKept(): Promise<void> {
  for (const program of PROGRAMS) {
    for (const through of cluster.nodes) {
      await waitFor(`${program.name} to have its data, through ${through.name}`, BACK_WITHIN_MS, async () => {
        expect(await program.kept(askOf(program, through))).toEqual(program.keeps);
        return true;
      });
    }
  }
}

beforeAll(async () => {
  cluster = await LocalCluster.start(2);
  await Promise.all(
    PROGRAMS.map(async ({ name, make, compose, changed }, at) => {
      const folder = join(cluster.folder, `source-${name}`);
      await mkdir(folder);
      await make(folder);
      const file = join(folder, 'compose.yaml');
      await writeFile(file, compose);
      const args = ['push', '--manifest', file, '--name', name];
      if (changed !== undefined) {
        const refused = await cluster.peer(node(at % 2), args);
        expect(refused).toMatchObject({ code: 1, stdout: '' });
        for (const clause of changed.says) expect(refused.stderr).toContain(clause);
        await writeFile(file, changed.compose);
      }
      await cluster.json(node(at % 2), args, { timeoutMs: PUSH_TIMEOUT_MS });
    }),
  );
}, TIMEOUT_MS);
beforeEach(({ onTestFailed }) => onTestFailed(async () => console.error(await lastWords(cluster))));
afterAll(() => cluster?.stop());

describe('programs that nobody here wrote', { timeout: TIMEOUT_MS }, () => {
  it.each(PROGRAMS)('$name takes what it is given', async (program) => {
    await program.give(askOf(program, node(0)));
    expect(await program.kept(askOf(program, node(1)))).toEqual(program.keeps);
  });

  it('have it after a restart', async () => {
    await Promise.all(PROGRAMS.map(({ name }) => cluster.json(node(0), ['restart', name], { timeoutMs: TIMEOUT_MS })));
    await expectAllKept();
  });

  it('have it while a daemon is away, and when it has come back', async () => {
    cluster.killDaemon(node(0));
    await cluster.restartNode(node(0));
    await expectAllKept();
  });

  it('have it when every node has lost its power', async () => {
    await cluster.killNode(...cluster.nodes);
    for (const one of cluster.nodes) await cluster.restartNode(one);
    await expectAllKept();
  });

  it('know the name servers still', async () => {
    for (const { name } of PROGRAMS) {
      const { stdout } = await cluster.peer(node(0), ['exec', `${name}/0`, '--', 'cat', '/etc/resolv.conf']);
      expect(stdout, name).toMatch(/^nameserver /m);
    }
  });
});
