import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { COMMANDS, nameOf } from '../../cli/commands.ts';
import { completionScript } from '../../cli/completions.ts';
import { isLocalDaemon, lastLogLine, logBytes, readyNode } from '../../cli/daemon.ts';
import { readEvents } from '../../cli/event-reader.ts';

const folder = mkdtempSync(join(tmpdir(), 'peer-daemon-'));
afterAll(() => rmSync(folder, { recursive: true }));

async function* bytes(...texts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield typeof text === 'string' ? new TextEncoder().encode(text) : text;
}
const collect = async (source: AsyncIterable<unknown>) => {
  const all: unknown[] = [];
  for await (const one of source) all.push(one);
  return all;
};

describe('reading an event stream', () => {
  it('does not depend on how it was cut into pieces', async () => {
    const text = ': still here\n\nevent: line\ndata: {"text":"grüße"}\n\nevent: end\ndata: {}\n\n';
    const expected = [{ type: 'line', text: 'grüße' }, { type: 'end' }];
    expect(await collect(readEvents(bytes(text)))).toEqual(expected);
    const single = [...new TextEncoder().encode(text)].map((byte) => new Uint8Array([byte]));
    expect(await collect(readEvents(bytes(...single)))).toEqual(expected);
  });

  it('is bounded', async () => {
    const endless = Array.from({ length: 6 }, () => 'x'.repeat(1024 * 1024));
    await expect(collect(readEvents(bytes(...endless)))).rejects.toMatchObject({ code: 'bad_answer' });
  });
});

describe('completion scripts', () => {
  it.each(['bash', 'zsh', 'fish'] as const)('for %s know every command and its options', (shell) => {
    const script = completionScript(shell);
    for (const command of COMMANDS) expect(script).toContain(nameOf(command));
    expect(script).toMatch(/(--|-l )instances/);
    expect(script).toContain('undrain');
  });

  /** Beside what is under test, a `peer` that says for each list what it was asked. */
  const complete = (...words: string[]) =>
    new Promise<string[]>((resolve) => {
      const shell = spawn('bash', ['-s', '--', ...words], { stdio: ['pipe', 'pipe', 'inherit'] });
      let stdout = '';
      shell.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
      });
      shell.on('close', () => resolve(stdout.split('\n').filter((word) => word !== '')));
      shell.stdin.end(
        `peer() { echo "an-$2 other-$2"; }\n${completionScript('bash')}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _peer; printf '%s\\n' "\${COMPREPLY[@]}"`,
      );
    });

  it('for bash complete commands, actions and options', async () => {
    expect(await complete('peer', 're')).toEqual(['restart', 'releases']);
    expect(await complete('peer', 'nodes', 'dr')).toEqual(['drain']);
    expect(await complete('peer', 'push', '--in')).toEqual(['--instances']);
    expect(await complete('peer', 'help', 'unm')).toEqual(['unmap']);
  });

  it.each([
    [
      ['app', ''],
      ['an-apps', 'other-apps'],
    ],
    [['scale', '--memory', '64M', 'an'], ['an-apps']],
    [['scale', '--json', 'an'], ['an-apps']],
    [['scale', '--memory', '=', '64M', 'an'], ['an-apps']],
    [['scale', 'hello', ''], []],
    [['logs', '-f', 'an'], ['an-apps']],
    [['push', '-f', 'x.yml', 'an'], []],
    [['env', 'set', 'an'], ['an-apps']],
    [['env', 'an'], ['an-apps']],
    [['routes', 'share', 'www.example.org', 'an'], ['an-apps']],
    [['apps', 'share', 'an'], ['an-apps']],
    [['exec', 'an'], ['an-slots']],
    [['why', 'an'], ['an-slots']],
    [['nodes', 'drain', 'an'], ['an-nodes']],
    [['what-if', '--without', 'an'], ['an-nodes']],
    [['push', '--name', 'an'], ['an-apps']],
    [['push', 'an'], []],
    [['start', '--name', 'an'], []],
    [['users', 'remove', 'an'], []],
  ])('for bash ask the daemon for names where a command takes one: %j', async (words, offered) => {
    expect(await complete('peer', ...words)).toEqual(offered);
  });

  it('for zsh and fish ask it, too', () => {
    for (const shell of ['zsh', 'fish'] as const) {
      for (const list of ['apps', 'slots', 'nodes']) {
        expect(completionScript(shell)).toContain(`(peer completions ${list} 2>/dev/null)`);
      }
    }
  });
});

describe('the daemon', () => {
  const daemon = (script: string) => spawn(process.execPath, ['-e', script, folder], { stdio: 'ignore' });

  it('is ready when node.json names its process', async () => {
    writeFileSync(join(folder, 'node.json'), '{"pid":1,"name":"an earlier one"}');
    const child = daemon(
      `require('fs').writeFileSync(process.argv[1] + '/node.json', JSON.stringify({pid: process.pid, name: 'new'})); setInterval(() => {}, 1000)`,
    );
    try {
      expect(await readyNode(child, folder, 20_000)).toEqual({ pid: child.pid, name: 'new' });
      expect(await isLocalDaemon(child.pid!, folder)).toBe(false);
    } finally {
      child.kill();
    }
  });

  it('that ends before is noticed', async () => {
    expect(await readyNode(daemon('process.exit(1)'), folder, 20_000)).toBe('ended');
  });

  it('that takes too long is noticed', async () => {
    const child = daemon('setInterval(() => {}, 1000)');
    expect(await readyNode(child, folder, 100)).toBe('timeout');
    child.kill();
  });

  it('leaves its last words in the log', async () => {
    writeFileSync(join(folder, 'daemon.log'), 'from an earlier start\n');
    const start = await logBytes(folder);
    expect(await lastLogLine(folder, start)).toBeUndefined();
    writeFileSync(join(folder, 'daemon.log'), 'from an earlier start\nstarting\nthe port is taken\n\n');
    expect(await lastLogLine(folder, start)).toBe('the port is taken');
  });
});
