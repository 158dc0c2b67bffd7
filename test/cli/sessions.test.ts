import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { MemoryNode, tokenOf } from '../api/memory-node.ts';
import { PEER, TestCli } from './peer.ts';

const WAIT = { timeout: 20_000, interval: 20 };

let cli: TestCli;
beforeAll(async () => {
  cli = await TestCli.start(new MemoryNode());
  const folder = join(cli.home, 'hello');
  mkdirSync(folder);
  writeFileSync(join(folder, 'index.html'), 'hello');
  await cli.json(['push', folder, '--instances', '2', '--env', 'GREETING=hi there']);
});
afterAll(() => cli.stop());

const environment = () => ({ ...cli.env, PEER_API: cli.url, PEER_TOKEN: tokenOf('developer') });

describe('peer run', () => {
  it('passes output, errors and the exit status through, and what is piped in', async () => {
    const script = 'cat; echo "$GREETING"; echo oops >&2; exit 5';
    const ran = await cli.run(['run', 'hello', '--', 'sh', '-c', script], { role: 'developer', input: 'piped\n' });
    expect(ran).toEqual({ status: 5, stdout: 'piped\nhi there\n', stderr: 'oops\n' });
  });

  it('takes one word with signs of a shell as a line for it', async () => {
    expect(await cli.run(['run', 'hello', '--', 'echo a | tr a b; exit 3'])).toMatchObject({
      status: 3,
      stdout: 'b\n',
    });
  });

  it('carries much in both directions unchanged', async () => {
    const input = 'line of text\n'.repeat(400_000);
    const ran = await cli.run(['run', 'hello', '--', 'cat'], { input });
    expect(ran.status).toBe(0);
    expect(ran.stdout === input).toBe(true);
    cli.node.logged.length = 0;
  });

  it('prints one document with --json, and the output on stderr', async () => {
    const ran = await cli.run(['run', 'hello', '--name', 'migrate', '--json', '--', 'sh', '-c', 'echo done; exit 2']);
    expect(ran).toMatchObject({ status: 2, stderr: 'done\n' });
    expect(JSON.parse(ran.stdout)).toEqual({
      app: 'hello',
      task: 'migrate',
      node: 'alpha',
      exitStatus: 2,
      reason: null,
    });
  });

  it('is logged under the name of the task, and in the events', async () => {
    await cli.run(['run', 'hello', '--name', 'seed', '--', 'sh', '-c', 'echo sown; exit 1']);
    const logs = (await cli.run(['logs', 'hello'])).stdout;
    expect(logs).toMatch(/\[CELL\/TASK\/seed\/0\] OUT Task seed of release v1 was started by the-admin\n/);
    expect(logs).toMatch(/\[APP\/TASK\/seed\/0\] OUT sown\n/);
    expect(logs).toMatch(/\[CELL\/TASK\/seed\/0\] ERR Task seed ended: exit status 1\n/);
    expect((await cli.run(['events', 'hello'])).stdout).toContain('the task seed of hello ended: exit status 1');
  });

  it('ends with Ctrl-C, says so everywhere, and leaves nothing behind', async () => {
    const child = spawn(PEER, ['run', 'hello', '--name', 'long', '--', 'sh', '-c', 'echo begun; sleep 1000 & wait'], {
      env: environment(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    expect(cli.node.runner.running.size).toBe(1);
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(said).toContain('the task was cancelled, and nothing of it is left');
    await vi.waitFor(() => expect(cli.node.runner.running.size).toBe(0), WAIT);
    await vi.waitFor(async () => {
      expect((await cli.run(['logs', 'hello'])).stdout).toContain('Task long ended: cancelled: ');
    }, WAIT);
  });

  it('refuses what cannot run, with one line', async () => {
    expect(await cli.run(['run', 'hello'])).toMatchObject({
      status: 2,
      stderr: 'peer: what should run? peer run hello -- COMMAND\n',
    });
    expect(await cli.run(['run', 'nothing', '--', 'true'])).toMatchObject({
      status: 1,
      stderr: 'peer: there is no app nothing: see peer apps\n',
    });
    expect(await cli.run(['run', 'hello', '--', 'true'], { role: 'viewer' })).toMatchObject({
      status: 1,
      stderr: 'peer: this needs the role developer, and the-viewer is a viewer: ask an admin\n',
    });
  });

  it('says what a node would need that could run it', async () => {
    cli.node.stagedStack = 'oci-amd64';
    cli.node.stagedImage = { id: `sha256:${'1'.repeat(64)}`, ref: 'shop:1' };
    await cli.json(['push', join(cli.home, 'hello'), '--name', 'pictures']);
    expect(await cli.run(['run', 'pictures', '--', 'true'])).toMatchObject({
      status: 1,
      stderr:
        'peer: no node can run a task of pictures: it needs an engine for its image (runtime docker, stack oci-amd64) and 256M of free memory; see peer nodes\n',
    });
  });
});

describe('peer exec', () => {
  it('runs in the instance that is named, on whichever node it is', async () => {
    const instances = (await cli.json(['app', 'hello'])).instances as { id: string; index: number }[];
    for (const { id, index } of instances) {
      const ran = await cli.run(['exec', `hello/${index}`, '--', 'sh', '-c', 'echo $WHERE']);
      expect(ran).toEqual({ status: 0, stdout: `${id}\n`, stderr: '' });
    }
    expect((await cli.run(['logs', 'hello'])).stdout).toMatch(
      /\[CELL\/web\/1\] OUT the-admin runs a command in instance web.1/,
    );
  });

  it('refuses an instance that is not there, and an app without a number', async () => {
    expect(await cli.run(['exec', 'hello/7', '--', 'true'])).toMatchObject({
      status: 1,
      stderr: 'peer: hello has no running instance web/7: see peer app hello\n',
    });
    expect(await cli.run(['exec', 'hello', '--', 'true'])).toEqual({
      ...{ status: 2, stdout: '' },
      stderr: 'peer: hello has 2 instances, so say which: hello/0, hello/1\n',
    });
    expect(await cli.run(['exec', 'hello/0', '--', 'true'], { role: 'viewer' })).toMatchObject({ status: 1 });
  });

  it("runs in an app's only one without a number, and says so when there is none", async () => {
    await cli.json(['push', join(cli.home, 'hello'), '--name', 'lone']);
    const ran = await cli.run(['exec', 'lone', '--', 'sh', '-c', 'echo here']);
    expect(ran).toEqual({ status: 0, stdout: 'here\n', stderr: '' });
    await cli.json(['stop-app', 'lone']);
    expect(await cli.run(['exec', 'lone', '--', 'true'])).toMatchObject({
      status: 1,
      stderr: 'peer: lone has no instance that runs: see peer app lone\n',
    });
  });

  it('has a terminal when the command line has one: its size, Ctrl-C, and its exit status', async () => {
    // script(1) gives the command line a terminal.
    const line = `stty rows 31 columns 97; ${PEER} exec hello/0; echo "ended with $?"; stty -a | grep -o -- '-icanon\\|icanon'`;
    const child = spawn('script', ['--quiet', '--flush', '--command', line, '/dev/null'], {
      env: { ...environment(), SHELL: '/bin/sh' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let seen = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
    });
    const ended = new Promise((resolve) => child.once('close', resolve));
    const type = async (text: string, answer: RegExp): Promise<void> => {
      await vi.waitFor(() => {
        expect(seen).toMatch(answer);
      }, WAIT);
      child.stdin.write(text);
    };
    await type('stty size; echo "in $WHERE"\n', /[$#] /);
    await type('sleep 1000\n', /31 97\s+in /);
    await type('\u0003', /sleep 1000/);
    await type('exit 6\n', /\^C/);
    await ended;
    expect(seen).toContain('ended with 6');
    // The terminal is as it was.
    expect(seen).toMatch(/(?<!-)icanon/);
  });
});
