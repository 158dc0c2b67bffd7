// Moves, recoveries and upgrades of services, and nodes that would strand data, from the command line.

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TestCli } from './peer.ts';

let cli: TestCli;
let here: string;
let there: string;
beforeEach(async () => {
  cli = await TestCli.start();
  for (const name of ['alpha', 'beta']) cli.node.engines.set(name, ['redis 7.0', 'redis 7.2']);
  cli.node.changed();
  ({ node: here } = await cli.json(['service', 'create', 'redis', 'cache', '--version', '7.0']));
  there = here === 'alpha' ? 'beta' : 'alpha';
});
afterEach(() => cli.stop());

const text = async (...args: string[]): Promise<string> => {
  const ran = await cli.run(args);
  expect(ran.stderr).not.toMatch(/^peer: /m);
  expect(ran.status).toBe(0);
  return ran.stdout;
};
const wrong = async (...args: string[]) => {
  const { status, stderr } = await cli.run(args);
  return { status, said: stderr.split('\n').find((line) => line.startsWith('peer: ')) };
};

describe('peer service', () => {
  it('moves, and says where it runs', async () => {
    expect(await wrong('service', 'move', 'cache')).toEqual({
      status: 2,
      said: 'peer: --to NODE is missing: peer service move cache --to NODE',
    });
    expect(await text('service', 'move', 'cache', '--to', there)).toBe(`cache has moved; it runs on ${there}\n`);
    expect(await cli.json(['service', 'move', 'cache', '--to', here])).toMatchObject({ node: here, ready: true });
  });

  it('recovers from what is held elsewhere, and says how old that is', async () => {
    await text('service', 'backup', 'cache');
    for (const yes of [['--yes'], []]) {
      const { said } = await wrong('service', 'recover', 'cache', ...yes);
      expect(said).toContain(`${here}, which has the data of cache, is alive`);
    }
    cli.node.setStatus(here, 'dead');
    expect((await wrong('service', 'recover', 'cache')).said).toMatch(/its newest proven backup, \d+s old/);
    expect(await text('service', 'recover', 'cache', '--yes')).toMatch(
      /^cache is recovered as it was \d+s ago, from backup backup-1: what came later is lost; it runs on (alpha|beta)\n$/,
    );
  });

  it('upgrades, and then asks for a decision', async () => {
    const one = 'one of --version V, --confirm and --revert is needed';
    expect(await wrong('service', 'upgrade', 'cache')).toMatchObject({ status: 2, said: expect.stringContaining(one) });
    expect(await wrong('service', 'upgrade', 'cache', '--confirm', '--revert')).toMatchObject({ status: 2 });
    expect(await text('service', 'upgrade', 'cache', '--version', '7.2')).toBe(
      `cache is 7.2; it runs on ${here}; what was 7.0 is kept on ${here} until peer service upgrade cache --confirm, or --revert\n`,
    );
    expect(await text('service', 'status', 'cache')).toMatch(/upgraded +from 7\.0, which is kept on/);
    expect(await text('service', 'upgrade', 'cache', '--revert', '--yes')).toMatch(
      /^cache is 7\.0 as it was before; what came since is kept as an orphan; it runs on/,
    );
    await text('service', 'upgrade', 'cache', '--version', '7.2');
    expect(await text('service', 'upgrade', 'cache', '--confirm')).toBe('cache is 7.2, and what was before is gone\n');
  });
});

describe('peer nodes', () => {
  it('shows what a node would strand, and drains it when that is moved or left', async () => {
    expect(await text('nodes', 'data', here)).toMatch(
      /^DATA OF +KIND +NEWEST COPY\ncache +redis 7\.0, ready +no proven backup\n$/,
    );
    expect(await text('nodes', 'data', there)).toBe(`${there} has no data of services or volumes\n`);
    expect((await wrong('nodes', 'drain', here)).said).toBe(
      `peer: ${here} has the data of cache (no proven backup): peer nodes drain ${here} --with-data moves it first, --strand leaves it there`,
    );
    expect(await wrong('nodes', 'drain', here, '--with-data', '--strand')).toMatchObject({ status: 2 });
    expect(await wrong('nodes', 'undrain', here, '--strand')).toMatchObject({ status: 2 });
    expect(await cli.json(['nodes', 'drain', here, '--with-data'])).toMatchObject({
      draining: true,
      moved: [{ what: 'cache', node: there, ready: true }],
    });
    expect(await text('nodes', 'drain', there, '--strand')).toContain(`${there} is draining`);
  });

  it('removes one that has data when that is meant, and says what closes with it', async () => {
    const other = there === cli.node.self.name ? here : there;
    await cli.json(['nodes', 'undrain', here]);
    await cli.json(['nodes', 'undrain', there]);
    const { node } = await cli.json(['service', 'status', 'cache']);
    if (node !== other) await cli.json(['service', 'move', 'cache', '--to', other]);
    await cli.json(['service', 'export', 'cache', '127.0.0.1:6390', '--node', other]);
    const { status, stderr } = await cli.run(['nodes', 'remove', other]);
    expect(status).toBe(1);
    expect(stderr.split('\n').filter(Boolean)).toEqual([
      `cache is open to others at 127.0.0.1:6390 of ${other}, which closes when it goes: peer service export cache --stop, then HOST:PORT --node NODE, opens it elsewhere, with new credentials`,
      `peer: ${other} has the data of cache (no proven backup): peer nodes drain ${other} --with-data moves it first, --strand removes the node all the same`,
    ]);
    expect(await text('nodes', 'data', other)).toMatch(/^DATA OF(.*\n)+cache is open to others at 127/);
    expect(await wrong('nodes', 'drain', other, '--yes')).toMatchObject({ status: 2 });
    cli.node.setStatus(other, 'dead');
    expect((await wrong('nodes', 'remove', other)).said).toMatch(
      /: peer service recover and peer volume recover bring back .* elsewhere, --strand removes the node all the same$/,
    );
    expect(await text('nodes', 'remove', other, '--yes')).toContain(`${other} is removed`);
  });
});
