import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decisionText, reasonText } from '../../cli/placement-text.ts';
import type { WhyShape } from '../../node/api/shapes.ts';
import { TestCli } from './peer.ts';

let cli: TestCli;
beforeAll(async () => {
  cli = await TestCli.start();
  const folder = join(cli.home, 'hello');
  mkdirSync(folder);
  writeFileSync(join(folder, 'index.html'), '<h1>hello</h1>');
  await cli.json(['push', folder, '--instances', '2', '--memory', '256M']);
});
afterAll(() => cli.stop());

describe('peer why', () => {
  it('says who fills a slot, why, and who would be next', async () => {
    const { stdout } = await cli.run(['why', 'hello/1'], { role: 'viewer' });
    expect(stdout.replace(/0\.\d{3}/g, '0.xxx')).toBe(
      [
        'slot       web/1 of hello',
        'goes to    beta, which runs it already and so keeps it',
        'runs on    beta (v1, ready for 0s)',
        'successors beta, alpha (of hello: they fetch its droplet ahead of time)',
        '',
        'If beta could not:',
        'RANK  NODE   SAME APP  SAME ZONE  FULLNESS  WEIGHT  FREE  AGAINST',
        '   1  alpha         1          0         2   0.xxx  768M',
        '',
      ].join('\n'),
    );
    expect(await cli.json(['why', 'hello/web/1'])).toMatchObject({ decision: 'kept', owner: 'beta', index: 1 });
  });

  it('says what stands against a node', async () => {
    await cli.json(['nodes', 'drain', 'beta']);
    const { stdout } = await cli.run(['why', 'hello/1']);
    await cli.json(['nodes', 'undrain', 'beta']);
    expect(stdout).toContain('goes to    alpha, the first in rank: no node that runs it may keep it\n');
    expect(stdout).toContain('runs on    beta (v1, ready for 0s, but may not stay)\n');
    expect(stdout).toMatch(/\n +beta +is draining\n$/);
  });

  it('says why a slot is not wanted, and what a slot looks like', async () => {
    expect((await cli.run(['why', 'hello/9'])).stdout).toBe(
      [
        'slot       web/9 of hello',
        'goes to    nobody: hello is scaled to fewer instances of web: peer scale hello web=N',
        'runs on    no node',
        '',
      ].join('\n'),
    );
    expect(await cli.run(['why', 'hello'])).toEqual({
      status: 2,
      stdout: '',
      stderr: 'peer: INDEX is missing: peer why hello/INDEX\n',
    });
    expect(await cli.run(['why', 'nothing/0'])).toMatchObject({
      status: 1,
      stderr: 'peer: there is no app nothing: see peer apps\n',
    });
  });
});

describe('peer what-if', () => {
  it('shows where instances would go, and the memory of each node', async () => {
    expect((await cli.run(['what-if', '--without', 'beta'], { role: 'viewer' })).stdout).toBe(
      [
        'without beta: 1 instance would move',
        '',
        'INSTANCE     FROM  TO     AGAINST',
        'hello/web/1  beta  alpha',
        '',
        'NODE   MEMORY NOW  THEN  OF',
        'alpha        256M  512M  1G',
        'beta         256M  gone  1G',
        '',
      ].join('\n'),
    );
    expect(await cli.json(['what-if', '--without', 'beta'])).toMatchObject({ moves: [{ to: 'alpha' }] });
  });

  it('takes several nodes, and says what has nowhere to go', async () => {
    const { stdout } = await cli.run(['what-if', '--without=alpha', '--without=beta']);
    expect(stdout).toContain('without alpha, beta: 2 instances would have no node\n');
    expect(stdout).toMatch(/hello\/web\/0 +alpha +no node +no node is left\n/);
  });

  it('wants a node, and one that there is', async () => {
    expect(await cli.run(['what-if'])).toMatchObject({
      status: 2,
      stderr: 'peer: NODE is missing: peer what-if --without NODE\n',
    });
    expect(await cli.run(['what-if', '--without', 'gamma'])).toMatchObject({
      status: 1,
      stderr: 'peer: there is no node gamma: see peer nodes\n',
    });
  });
});

describe('in words', () => {
  const why = (decision: WhyShape['decision'], fields: Partial<WhyShape> = {}): WhyShape => ({
    app: 'hello',
    process: 'web',
    index: 0,
    because: null,
    owner: 'one',
    from: 'two',
    holders: [],
    nodes: [],
    successors: [],
    data: null,
    decision,
    ...fields,
  });

  it.each([
    [why('upgradeNeedsRoom'), 'two has no room for the old and the new instance side by side'],
    [why('upgradeBlocked'), 'one, which keeps it: '],
    [why('balance'), 'it moves there from two, which has the most instances of hello'],
    [why('evening'), 'one, the emptiest node: it moves there from two, the fullest'],
    [why('unplaceable'), 'nobody: '],
    [why('unwanted', { because: 'stopped' }), 'hello is stopped: peer start-app hello'],
    [why('unwanted', { because: 'noRelease' }), 'hello has no release yet'],
    [why('unwanted', { because: 'noProcess' }), 'hello has no process web'],
    [why('unwanted', { because: 'noApp' }), 'there is no app hello'],
  ])('a decision is a line: %#', (explained, text) => {
    expect(decisionText(explained)).toContain(text);
  });

  it.each([
    [{ kind: 'notAlive', status: 'suspect' } as const, 'is suspect'],
    [{ kind: 'leaving' } as const, 'is leaving'],
    [{ kind: 'noRuntime' } as const, 'has no runtime'],
    [{ kind: 'stack', wanted: 'debian12-x64', has: [] } as const, 'has no stack, not debian12-x64'],
    [{ kind: 'memory', wantedBytes: 256 * 1024 ** 2, freeBytes: -1 } as const, 'has 0B of memory left, not 256M'],
  ])('a reason is a few words: %j', (reason, text) => {
    expect(reasonText(reason as Parameters<typeof reasonText>[0])).toBe(text);
  });
});
