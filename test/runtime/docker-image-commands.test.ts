// Tasks and commands in images as they are: one that has a shell, and one that has nothing but a single program.

import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { asAppId, asInstanceId } from '../../crdt/ids.ts';
import type { InstanceSpec } from '../../node/core/types.ts';
import type { Attended, AttendedCommand, CommandRunner, TaskSpec } from '../../node/ports/commands.ts';
import type { Runtime, UsageMeter } from '../../node/ports/runtime.ts';
import type { StagedDroplet } from '../../node/ports/staging.ts';
import { candidates } from '../../node/runtime/docker/image-programs.ts';
import { stackTag } from '../../node/runtime/docker/labels.ts';
import { hostStack } from '../../node/staging/stack.ts';
import { type DockerHarness, dockerHarness } from './docker-harness.ts';
import { folderOf } from './folder-tar.ts';
import { processHarness } from './harness.ts';
import { Opened, specOf } from './runtime.contract.ts';

const WAIT = { timeout: 20_000, interval: 20 };
/** The image has no user of that number, no home and no bash's start-up files for it. */
const WITH_SHELL = `
FROM ${stackTag(hostStack())}
ENV COLOUR=green
WORKDIR /srv
COPY note.txt .
USER 4321
CMD ["sleep", "1000"]
`;
const BARE = `
FROM scratch
WORKDIR /here
COPY box /bin/box
ENV COLOUR=red
CMD ["box", "wait"]
`;
/** Everything that the image without a shell can do. Nothing of it is linked to anything. */
const BOX = `
package main
import ("fmt"; "io"; "os"; "os/exec"; "strconv"; "syscall"; "time")
func main() {
  switch os.Args[1] {
  case "say": fmt.Println(os.Args[2:]); fmt.Fprintln(os.Stderr, "to err")
  case "count": n, _ := io.Copy(io.Discard, os.Stdin); fmt.Println(n)
  case "exit": code, _ := strconv.Atoi(os.Args[2]); os.Exit(code)
  case "where": dir, _ := os.Getwd(); fmt.Println(dir, os.Getuid(), os.Getenv("COLOUR"), os.Getenv("TOKEN"))
  case "leave":
    child := exec.Command("/bin/box", "wait")
    child.Env = []string{"LEFT=" + os.Args[2]}
    child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
    if err := child.Start(); err != nil { panic(err) }
    fmt.Println("left"); time.Sleep(time.Hour)
  case "wait": time.Sleep(time.Hour)
  }
}`;

let harness: DockerHarness;
let runner: Runtime & CommandRunner & UsageMeter;
let node: Opened;
const built: string[] = [];
let withShell: InstanceSpec;
let bare: InstanceSpec;

async function build(files: Record<string, string>, program?: string): Promise<StagedDroplet> {
  const staged = await runner.images!.build({
    app: asAppId(randomUUID()),
    source: folderOf(files, program === undefined ? {} : { box: program }),
    onLine: () => {},
    signal: new AbortController().signal,
  });
  built.push(staged.image!.id);
  return staged;
}

async function compiled(source: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'peer-box-'));
  await writeFile(join(folder, 'box.go'), source);
  const env = { ...process.env, CGO_ENABLED: '0', GOCACHE: join(tmpdir(), 'peer-box-cache'), GO111MODULE: 'off' };
  execFileSync('go', ['build', '-ldflags', '-s -w', '-o', 'box', 'box.go'], { cwd: folder, env });
  return join(folder, 'box');
}

const instance = (staged: StagedDroplet): InstanceSpec => ({
  ...specOf(staged.digest),
  droplet: { digest: staged.digest, sizeBytes: staged.sizeBytes, stack: staged.stack },
  image: { ...staged.image!, ownCommand: true },
  command: '',
  env: { TOKEN: 'hush-hush' },
  health: { kind: 'process', path: '/', timeoutMs: 5_000 },
});

const task = (of: InstanceSpec): TaskSpec => {
  const { app, release, droplet, image, env, memoryBytes, diskBytes, uris } = of;
  const id = asInstanceId(`task-${randomUUID()}`);
  return { id, name: 'migrate', app, release, droplet, image: image!, env, memoryBytes, diskBytes, uris };
};

type Ended = { out: string; err: string; code: number; reason?: string };
const outcome = async (command: Attended, input = ''): Promise<Ended> => {
  command.stdin.end(input);
  const [out, err, exit] = await Promise.all([text(command.stdout), text(command.stderr), command.exited]);
  return { out, err, ...exit };
};
/** The two ways to run something, which promise the same here. */
const WAYS = [
  ['a command', (of: InstanceSpec, command: AttendedCommand) => runner.exec(of.id, command)],
  ['a task', (of: InstanceSpec, command: AttendedCommand) => runner.runTask(task(of), command)],
] as const;

beforeAll(async () => {
  harness = await dockerHarness();
  const opened = await harness.open();
  runner = opened.runtime;
  node = new Opened(opened);
  const box = await compiled(BOX);
  withShell = instance(await build({ Dockerfile: WITH_SHELL, 'note.txt': 'from the image' }));
  bare = instance(await build({ Dockerfile: BARE }, box));
  await rm(join(box, '..'), { recursive: true });
  for (const spec of [withShell, bare]) runner.start(spec);
  for (const spec of [withShell, bare]) await node.ready(spec.id);
}, 120_000);
afterAll(async () => {
  await runner.close({ keepInstances: false });
  await harness.checkNothingLeft();
  for (const id of new Set(built)) {
    await harness.engine.docker
      .getImage(id)
      .remove({ force: true })
      .catch(() => {});
  }
  await harness.dispose();
});

describe.each(WAYS)('%s in an image with a shell', (_, run) => {
  it("has the image's folder, files, environment and user, and the app's variables", async () => {
    const script = 'cat note.txt; echo; pwd; echo $COLOUR $TOKEN; id -u; echo oh >&2; exit 6';
    expect(await outcome(await run(withShell, { argv: ['sh', '-c', script] }))).toEqual({
      out: 'from the image\n/srv\ngreen hush-hush\n4321\n',
      err: 'oh\n',
      code: 6,
    });
  });

  it('is a shell when nothing is named, with a terminal of the size that is asked for', async () => {
    const command = await run(withShell, { argv: [], terminal: { columns: 91, rows: 33 } });
    let seen = '';
    command.stdout.on('data', (chunk: Buffer) => {
      seen += chunk.toString();
    });
    // Engines set the size of an image's terminal a moment after its start.
    command.stdin.write('until stty size | grep "^33 91$"; do sleep 0.05; done; tty\n');
    await vi.waitFor(() => expect(seen).toMatch(/33 91\s+\/dev\/pts\/\d+/), WAIT);
    command.resize({ columns: 120, rows: 40 });
    command.stdin.write('until stty size | grep "^40 120$"; do sleep 0.05; done; exit 9\n');
    expect(await command.exited).toEqual({ code: 9 });
    expect(seen).toMatch(/[^"^]40 120\s/);
  });
});

describe.each(WAYS)('%s in an image without a shell', (_, run) => {
  it('is the program itself, with its words as they are', async () => {
    const words = ['say', 'two words', '$COLOUR', ''];
    expect(await outcome(await run(bare, { argv: ['box', ...words] }))).toEqual({
      out: '[two words $COLOUR ]\n',
      err: 'to err\n',
      code: 0,
    });
  });

  it('passes its exit status through, and what it is sent', async () => {
    expect((await outcome(await run(bare, { argv: ['/bin/box', 'exit', '42'] }))).code).toBe(42);
    // What a program itself ends with, whatever shells mean by it.
    expect(await outcome(await run(bare, { argv: ['box', 'exit', '127'] }))).toEqual({ out: '', err: '', code: 127 });
    const input = 'x'.repeat(3_000_000);
    expect((await outcome(await run(bare, { argv: ['box', 'count'] }), input)).out).toBe('3000000\n');
  });

  it("has the image's folder and environment, and is not root", async () => {
    const { out } = await outcome(await run(bare, { argv: ['box', 'where'] }));
    expect(out).toMatch(/^\/here [1-9]\d+ red hush-hush\n$/);
  });

  it.each([
    [
      'a program that is not there',
      ['no-such-program', 'x'],
      /no program no-such-program: name one that it has, by its/,
    ],
    [
      'a line for a shell',
      ['/bin/sh', '-c', 'ls | wc'],
      /no program \/bin\/sh: name one that it has, with its arguments/,
    ],
    ['a shell', [], /no program \/bin\/sh/],
  ])('says in one line that there is no such thing as %s', async (_, argv, line) => {
    const { out, err, code } = await outcome(await run(bare, { argv }));
    expect([out, code]).toEqual(['', 127]);
    expect(err.trim().split('\n').at(-1)).toMatch(/^peer: the image has /);
    expect(err).toMatch(line);
  });

  it('takes along all that it started when it is ended', async () => {
    const mark = randomUUID();
    const command = await run(bare, { argv: ['box', 'leave', mark] });
    await new Promise((resolve) => command.stdout.once('data', resolve));
    expect(await processesWith(mark)).toHaveLength(2);
    command.end('cancelled');
    expect(await command.exited).toEqual({ code: 137, reason: 'cancelled' });
    expect(await processesWith(mark)).toEqual([]);
  });
});

describe('where images cannot run', () => {
  it('a task of one is refused with the reason', async () => {
    const other = await processHarness();
    const { runtime: sandbox } = await other.open();
    await expect(sandbox.runTask(task(bare), { argv: ['box', 'say'] })).rejects.toMatchObject({
      code: 'engine_missing',
      message: 'this node runs no containers, and shop is an image',
    });
    await sandbox.close({ keepInstances: false });
    await other.checkNothingLeft();
    await other.dispose();
  });
});

describe("an image's program", () => {
  it.each([
    ['ls', { path: '/a:/b', workingDir: '' }, ['/a/ls', '/b/ls']],
    ['ls', { path: 'bin:', workingDir: '/w' }, ['/w/bin/ls', '/w/./ls']],
    ['/x/ls', { path: '/a', workingDir: '/w' }, ['/x/ls']],
    ['./ls', { path: '/a', workingDir: '/w' }, ['/w/./ls']],
  ])('%s is looked for, with %o, at %o', (program, where, found) => {
    expect(candidates(program, where)).toEqual(found);
  });
});

/** Command lines and environments of this machine's processes that hold the text. */
async function processesWith(mark: string): Promise<string[]> {
  const out = execFileSync('sh', [
    '-c',
    'grep -laz "$1" /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null || true',
    'sh',
    mark,
  ]);
  const paths = out
    .toString()
    .split('\n')
    .filter((path) => path !== '');
  // Not the search itself.
  const own = (await Promise.all(paths.map((path) => isBox(path)))) as boolean[];
  return [...new Set(paths.filter((_, index) => own[index]).map((path) => path.split('/')[2]!))];
}

async function isBox(path: string): Promise<boolean> {
  const { readFile } = await import('node:fs/promises');
  return (await readFile(join(path, '..', 'comm'), 'utf8').catch(() => '')).trim() === 'box';
}
