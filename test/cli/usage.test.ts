import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { COMMANDS, nameOf, usageOf } from '../../cli/commands.ts';
import { helpText } from '../../cli/help.ts';
import { loadCommand } from '../../cli/loaders.ts';
import { parse } from '../../cli/parse.ts';
import { closest, editDistance } from '../../cli/suggest.ts';
import { PEER, runPeer } from './peer.ts';

const home = mkdtempSync(join(tmpdir(), 'peer-usage-'));
afterAll(() => rmSync(home, { recursive: true }));
const { PEER_API: _, PEER_TOKEN: __, ...inherited } = process.env;
const env = { ...inherited, HOME: home, XDG_CONFIG_HOME: join(home, 'config') };

const parsed = (...argv: string[]) => {
  const result = parse(argv);
  if (result.kind !== 'run') throw new Error('it printed help');
  return { command: nameOf(result.command), args: result.args, options: result.options };
};

describe('parsing', () => {
  it('keeps arguments and values as they were written', () => {
    expect(
      parsed('push', '007', '--name', '1e3', '--env', 'A=0x10', '--env=B=', '--command', '5', '--memory=1G'),
    ).toEqual({
      command: 'push',
      args: ['007'],
      options: { name: '1e3', env: ['A=0x10', 'B='], command: '5', memory: '1G' },
    });
    expect(parsed('scale', 'hello', '3', 'worker=2').args).toEqual(['hello', '3', 'worker=2']);
    expect(parsed('push', '--command', '').options).toEqual({ command: '' });
    expect(parsed('start', '--join', '-', '--detach').options).toEqual({ join: '-', detach: true });
    expect(parsed('run', 'hello', '--', 'cat', '-').args).toEqual(['hello', 'cat', '-']);
  });

  it('knows options before and after the command, and arguments behind --', () => {
    expect(parsed('--json', '--api', 'http://a', 'env', 'set', 'hello', '--', '-X=1')).toEqual({
      command: 'env',
      args: ['set', 'hello', '-X=1'],
      options: { json: true, api: 'http://a' },
    });
    expect(parsed('logs', 'hello', '-f').options).toMatchObject({ f: true, follow: true });
  });

  it('tells --no-route from no route given', () => {
    expect(parsed('push').options).toEqual({});
    expect(parsed('push', '--no-route', '--no-start').options).toEqual({ route: false, start: false });
    expect(parsed('push', '--route', 'a.b', '--route', 'c.d').options).toEqual({ route: ['a.b', 'c.d'] });
    expect(() => parsed('push', '--route', 'a.b', '--no-route')).toThrow('exclude each other');
  });

  it('says of a short option what holds of the long one', () => {
    expect(parsed('push', '-f', 'a.yml').options).toMatchObject({ manifest: 'a.yml' });
    expect(parsed('push', '--no-manifest').options).toEqual({ manifest: false, f: false });
    expect(() => parsed('push', '-f')).toThrow(/^-(-manifest|-f) needs a value/);
    expect(() => parsed('push', '--route')).toThrow('--route needs a value');
    expect(() => parsed('push', '-f', 'a.yml', '--no-manifest')).toThrow('exclude each other');
  });

  const wrong: [argv: string[], message: string][] = [
    [['pussh'], 'there is no command pussh: did you mean peer push?'],
    [['xyzzy'], 'there is no command xyzzy: see peer --help'],
    [['push', '--isntances', '2'], 'peer push has no option --isntances: did you mean --instances?'],
    [['apps', '-x'], 'peer apps has no option -x: see peer apps --help'],
    [['push', '--name'], '--name needs a value; one that begins with a dash is written --name=VALUE'],
    [['push', '--name', 'a', '--name', 'b'], '--name was given 2 times: give it once'],
    [['scale'], 'APP is missing: peer scale APP [COUNTS…]'],
    [['map', 'hello'], 'ROUTE is missing: peer map APP ROUTE'],
    [['app', 'a', 'b'], '"b" is one argument too many: peer app APP'],
    [['--json'], 'there is no command in: peer --json; see peer --help'],
    [['help', 'pussh'], 'there is no command pussh: did you mean peer push?'],
    [['help', 'push', 'app'], '"app" is one argument too many: peer help [COMMAND]'],
  ];
  it.each(wrong)('refuses %j: %s', (argv, message) => {
    expect(() => parsed(...argv)).toThrow(expect.objectContaining({ message, exitStatus: 2 }));
  });
});

describe('help', () => {
  it.each([
    [[], undefined],
    [['help'], undefined],
    [['--help'], undefined],
    [['help', 'push'], 'push'],
    [['push', '--help'], 'push'],
    [['push', '.', '-h', '--memory', '1G'], 'push'],
  ])('is what %j asks for', (argv, name) => {
    const asked = parse(argv);
    expect(asked.kind).toBe('help');
    expect(asked.command && nameOf(asked.command)).toBe(name);
  });

  it('of the whole names every command, that of a command all its options once', () => {
    for (const command of COMMANDS) expect(helpText()).toContain(`\n  ${usageOf(command)}  `);
    const start = COMMANDS.find((command) => nameOf(command) === 'start')!;
    expect(helpText(start)).toMatch(/^peer start: .*\n\nUsage:\n {2}\$ peer start \[options\]\n\nOptions:\n/);
    expect(helpText(start).match(/--api/g)).toHaveLength(1);
    for (const { flags } of start.options) expect(helpText(start)).toContain(`\n  ${flags}  `);
  });
});

describe('commands', () => {
  it.each(COMMANDS.map(nameOf).filter((name) => name !== 'help'))('%s is done by a file', async (name) => {
    expect((await loadCommand(name)).run).toBeTypeOf('function');
  });
});

describe('suggestions', () => {
  it('count edits', () => {
    expect(editDistance('kitten', 'sitting')).toBe(3);
    expect(editDistance('drian', 'drain')).toBe(1);
    expect(editDistance('', 'abc')).toBe(3);
  });

  it('are the closest word, if one is close', () => {
    expect(closest('releses', ['routes', 'releases', 'rollback'])).toBe('releases');
    expect(closest('comp', ['map', 'completions'])).toBe('completions');
    expect(closest('zzz', ['map', 'unmap'])).toBeUndefined();
  });
});

describe('the launcher', () => {
  it('prints help for the whole and for each command', async () => {
    const help = await runPeer(['--help'], env);
    expect(help).toMatchObject({ status: 0, stderr: '' });
    for (const command of COMMANDS) expect(help.stdout).toContain(`\n  ${nameOf(command)}`);
    const start = await runPeer(['start', '--help'], env);
    expect(start.stdout).toContain('--api <HOST:PORT>');
    expect(start.stdout).not.toContain('--api <URL>');
    const bare = await runPeer([], env);
    expect(await runPeer(['help'], env)).toEqual(bare);
    expect(bare).toEqual(help);
    expect(JSON.parse((await runPeer(['help', 'start', '--json'], env)).stdout)).toEqual({
      help: start.stdout.trimEnd(),
    });
  });

  it('works through a symlink, from any folder', async () => {
    const link = join(home, 'peer-link');
    symlinkSync(PEER, link);
    const { spawnSync } = await import('node:child_process');
    const ran = spawnSync(link, ['version', '--json'], { cwd: '/', env, encoding: 'utf8' });
    expect(JSON.parse(ran.stdout)).toMatchObject({ version: expect.stringMatching(/^\d+\.\d+\.\d+/) });
  });

  it('says how to install what is missing', async () => {
    const { cpSync, mkdirSync } = await import('node:fs');
    const { spawnSync } = await import('node:child_process');
    mkdirSync(join(home, 'bare', 'scripts'), { recursive: true });
    cpSync(PEER, join(home, 'bare', 'scripts', 'peer'));
    const ran = spawnSync(join(home, 'bare', 'scripts', 'peer'), ['apps'], { env, encoding: 'utf8' });
    expect(ran).toMatchObject({ status: 1, stderr: expect.stringContaining("run 'npm ci' in") });
  });

  it('ends with 2 for wrong usage, with one line on stderr', async () => {
    expect(await runPeer(['pussh'], env)).toEqual({
      status: 2,
      stdout: '',
      stderr: 'peer: there is no command pussh: did you mean peer push?\n',
    });
    const json = await runPeer(['scale', '--json'], env);
    expect(json.status).toBe(2);
    expect(JSON.parse(json.stdout)).toEqual({
      error: { code: 'usage', message: 'APP is missing: peer scale APP [COUNTS…]' },
    });
  });

  it('ends with 2 for options of a start that the daemon refuses, in its words', async () => {
    const start = ['start', '--data-dir', join(home, 'never')];
    expect(await runPeer([...start, '--detach', '--label', 'zone-=attic', '--json'], env)).toMatchObject({
      status: 2,
      stdout: expect.stringMatching(/"message": "labels\.zone- must be 1 to 63 letters, .* at both ends"/),
    });
    const attached = await runPeer([...start, '--domain', 'no domain'], env);
    expect(attached).toMatchObject({ status: 2, stdout: '' });
    expect(attached.stderr).toMatch(/^peer: domain should be a domain in lower case.*\npeer: the daemon refuses its/);
  });

  it('ends with 1 when there is no node, and says how to start one', async () => {
    expect(await runPeer(['apps'], env)).toMatchObject({ status: 1, stderr: expect.stringContaining('peer start') });
    expect(await runPeer(['apps', '--api', 'http://127.0.0.1:1'], env)).toEqual({
      status: 1,
      stdout: '',
      stderr: 'peer: cannot reach the node at http://127.0.0.1:1: is it running? Start it with: peer start\n',
    });
  });
});
