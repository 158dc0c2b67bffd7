// What every CommandRunner guarantees: commands in instances, and tasks. Runs against each runtime.

import { randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, type it, vi } from 'vitest';
import { asInstanceId, type Digest } from '../../crdt/ids.ts';
import type { InstanceSpec } from '../../node/core/types.ts';
import type { Attended, AttendedCommand, CommandRunner, TaskSpec } from '../../node/ports/commands.ts';
import type { LogStore } from '../../node/ports/logs.ts';
import type { Runtime, UsageMeter } from '../../node/ports/runtime.ts';
import {
  type Address,
  chosenTests,
  get,
  Opened,
  type RuntimeHarness,
  SERVER,
  shell,
  specOf,
} from './runtime.contract.ts';

export type CommandsHarness = Omit<RuntimeHarness, 'open'> & {
  open(): Promise<{ runtime: Runtime & CommandRunner & UsageMeter; logs: LogStore }>;
};

const WAIT = { timeout: 20_000, interval: 20 };
const MIB = 1024 * 1024;

type Ended = { out: string; err: string; code: number; reason?: string };

export function describeCommands(
  name: string,
  makeHarness: () => Promise<CommandsHarness>,
  { only }: { only?: readonly string[] } = {},
): void {
  describe(name, () => describeAll(makeHarness, chosenTests(only)));
}

function describeAll(makeHarness: () => Promise<CommandsHarness>, test: typeof it): void {
  let harness: CommandsHarness;
  let runner: Runtime & CommandRunner & UsageMeter;
  let node: Opened;
  let droplet: Digest;
  let spec: InstanceSpec;
  let at: Address;

  beforeAll(async () => {
    harness = await makeHarness();
    const opened = await harness.open();
    runner = opened.runtime;
    node = new Opened(opened);
    droplet = await harness.droplet({
      'app/server.js': SERVER,
      'app/note.txt': 'from the droplet',
      'profile.d/pack.sh': 'export FROM_PACK=yes',
      'layers/pack/tools/note.txt': 'from a layer',
    });
    spec = instance();
    node.runtime.start(spec);
    at = await node.ready(spec.id);
  });
  afterAll(async () => {
    await runner.close({ keepInstances: false });
    await harness.checkNothingLeft();
    await harness.dispose();
  });

  const instance = (changes: Partial<InstanceSpec> = {}): InstanceSpec => {
    const base = specOf(droplet, { env: { TOKEN: 'hush-hush' }, ...changes });
    return { ...base, droplet: { ...base.droplet, stack: harness.stack } };
  };
  const task = (changes: Partial<TaskSpec> = {}): TaskSpec => {
    const { app, release, droplet, env, memoryBytes, diskBytes, uris } = spec;
    const id = asInstanceId(`task-${randomUUID()}`);
    return { id, name: 'migrate', app, release, droplet, env, memoryBytes, diskBytes, uris, ...changes };
  };
  const outcome = async (command: Attended, input = ''): Promise<Ended> => {
    command.stdin.end(input);
    const [out, err, exit] = await Promise.all([text(command.stdout), text(command.stderr), command.exited]);
    return { out, err, ...exit };
  };
  const inside = async (argv: string[], input?: string): Promise<Ended> =>
    outcome(await runner.exec(spec.id, { argv }), input);
  /** Everything written so far, and a wait for some of it. */
  const watch = (command: Attended): ((wanted: string | RegExp) => Promise<void>) => {
    let seen = '';
    command.stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
    });
    return async (wanted) => {
      await vi.waitFor(() => expect(seen).toMatch(wanted), WAIT);
      seen = '';
    };
  };

  describe('a command in an instance', () => {
    test("sees the instance's files, environment, processes and port", async () => {
      const script =
        'cat note.txt; echo; echo $TOKEN $FROM_PACK $CF_INSTANCE_INDEX; pwd; cat /proc/[0-9]*/cmdline | tr "\\0" " "';
      const { out, code } = await inside(['bash', '-c', script]);
      expect(code).toBe(0);
      expect(out).toMatch(/^from the droplet\nhush-hush yes 0\n\/home\/vcap\/app\n/);
      expect(out).toContain('node server.js');
      await shell(at, 'echo left >/tmp/by-the-app');
      expect((await inside(['cat', '/tmp/by-the-app'])).out).toBe('left\n');
    });

    test('keeps its output and its errors apart, and ends with its status', async () => {
      expect(await inside(['sh', '-c', 'echo out; echo err >&2; exit 7'])).toEqual({
        out: 'out\n',
        err: 'err\n',
        code: 7,
      });
      expect((await inside(['sh', '-c', 'kill -9 $$'])).code).toBe(137);
      expect((await inside(['/no/such/program'])).code).toBe(127);
    });

    test('reads what it is sent, to the end', async () => {
      const input = 'x'.repeat(3 * MIB);
      expect((await inside(['wc', '-c'], input)).out.trim()).toBe(String(input.length));
      // One that reads nothing ends all the same.
      expect((await inside(['true'], input)).code).toBe(0);
    });

    test('has no more rights than the app', async () => {
      const rights = 'id -u; grep -E "^(Cap|NoNewPrivs|Seccomp):?" /proc/self/status; cat /proc/self/limits';
      const app = await shell(at, rights);
      expect((await inside(['bash', '-c', rights])).out).toBe(app.out);
      expect((await inside(['touch', '/usr/x'])).code).not.toBe(0);
    });

    test('holds the command back while nobody reads', async () => {
      const command = await runner.exec(spec.id, {
        argv: ['bash', '-c', 'yes | head -c 64000000; echo done >~/all-written'],
      });
      await vi.waitFor(() => expect(command.stdout.readableLength).toBeGreaterThan(0), WAIT);
      expect((await shell(at, 'cat ~/all-written')).status).not.toBe(0);
      expect(command.stdout.readableLength).toBeLessThan(MIB);
      command.end('enough');
      expect(await command.exited).toMatchObject({ reason: 'enough' });
      command.stdout.destroy();
    });

    test('takes along all that it started when it is ended', async () => {
      const command = await runner.exec(spec.id, {
        argv: ['bash', '-c', 'sleep 54321 & setsid sleep 54321 & echo ready; wait'],
      });
      await watch(command)('ready');
      command.end('cancelled');
      const { code, reason } = await command.exited;
      expect([code, reason]).toEqual([137, 'cancelled']);
      const left = 'for p in /proc/[0-9]*; do tr "\\0" " " <$p/cmdline; echo; done | grep -c "^sleep 54321"';
      await vi.waitFor(async () => expect((await shell(at, left)).out.trim()).toBe('0'), WAIT);
      expect(await get(at, '/')).toBe('hello');
    });

    test('has a terminal of the size that is asked for, and learns of another', async () => {
      const command = await runner.exec(spec.id, { argv: [], terminal: { columns: 91, rows: 33 } });
      const shows = watch(command);
      command.stdin.write('tty; stty size\n');
      await shows(/\/dev\/pts\/\d+\s+33 91/);
      command.resize({ columns: 120, rows: 40 });
      command.stdin.write('until stty size | grep "^40 120$"; do sleep 0.05; done\n');
      await shows(/[^"^]40 120\s/);
      command.stdin.write('sed -u "s/^/got: /"\n');
      command.stdin.write('typed\n');
      await shows('got: typed');
      // Ctrl-C ends what runs in the shell, not the shell.
      command.stdin.write('\u0003');
      await shows(/\^C.*[$#] /s);
      command.stdin.write('exit 9\n');
      expect(await command.exited).toEqual({ code: 9 });
    });

    test('is refused where there is no such instance', async () => {
      await expect(runner.exec(asInstanceId('i-nobody'), { argv: ['true'] })).rejects.toMatchObject({
        code: 'not_running',
      });
    });

    test('ends with its instance', async () => {
      const short = instance();
      node.runtime.start(short);
      await node.ready(short.id);
      const command = await runner.exec(short.id, { argv: ['sleep', '1000'] });
      node.runtime.stop(short.id, 'no longer wanted');
      expect((await command.exited).code).not.toBe(0);
      expect(await node.exitReason(short.id)).toBe('no longer wanted');
    });
  });

  describe('a task', () => {
    const run = async (argv: string[], changes: Partial<TaskSpec> = {}, command: Partial<AttendedCommand> = {}) =>
      runner.runTask(task(changes), { argv, ...command });

    test("has the app's droplet and environment, and a sandbox of its own", async () => {
      const script =
        'cat note.txt; echo; echo $TOKEN $FROM_PACK; echo $DYNO; ls /tmp; cat /proc/[0-9]*/cmdline | tr "\\0" " "; exit 3';
      const { out, code } = await outcome(await run(['bash', '-c', script]));
      expect(code).toBe(3);
      // Heroku's name of a one-off run.
      expect(out).toMatch(/^from the droplet\nhush-hush yes\nrun\.\d{4}\n/);
      expect(out).not.toContain('by-the-app');
      expect(out).not.toContain('node server.js');
    });

    test("finds the droplet's parts where a command in an instance does", async () => {
      const argv = ['cat', '/app/note.txt', '/layers/pack/tools/note.txt'];
      const expected = { out: 'from the dropletfrom a layer', err: '', code: 0 };
      expect(await inside(argv)).toEqual(expected);
      expect(await outcome(await run(argv))).toEqual(expected);
    });

    test('reads what it is sent, and has a terminal if that is asked for', async () => {
      expect((await outcome(await run(['wc', '-c']), 'four')).out.trim()).toBe('4');
      const command = await run(['bash', '-c', 'stty size; tty'], {}, { terminal: { columns: 77, rows: 22 } });
      await watch(command)(/22 77\s+\/dev\/pts/);
      expect((await command.exited).code).toBe(0);
    });

    test('ends when it is told to, with all that it started', async () => {
      const command = await run(['bash', '-c', 'setsid sleep 1000 & echo ready; wait']);
      await watch(command)('ready');
      command.end('cancelled');
      expect(await command.exited).toMatchObject({ reason: 'cancelled' });
    });

    test('is ended when it takes more memory than the app may', async () => {
      const eat = 'a=[]; for(;;) a.push(Buffer.alloc(8<<20, 1))';
      const { reason } = await outcome(await run(['node', '-e', eat], { memoryBytes: 96 * MIB }));
      const perhaps = harness.tellsOutOfMemory === false ? 'killed by signal KILL, perhaps ' : '';
      expect(reason).toBe(`${perhaps}out of memory (its limit is 96 MiB)`);
    });

    test('is not started without its droplet', async () => {
      const missing = { ...spec.droplet, digest: `sha256:${'0'.repeat(64)}` as Digest };
      await expect(run(['true'], { droplet: missing })).rejects.toMatchObject({ code: 'droplet_missing' });
    });
  });

  test('ends commands and tasks when it is closed', async () => {
    const second = await makeHarness();
    const opened = await second.open();
    const digest = await second.droplet({ 'app/server.js': SERVER });
    const command = await opened.runtime.runTask(task({ droplet: { digest, sizeBytes: 0, stack: second.stack } }), {
      argv: ['sleep', '1000'],
    });
    await opened.runtime.close({ keepInstances: true });
    expect(await command.exited).toMatchObject({ reason: 'the node is stopping' });
    await second.checkNothingLeft();
    await second.dispose();
  });
}
