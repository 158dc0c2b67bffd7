// What users' code can do to a node: run, be limited, be killed alone, and be gone. The same attempts are made by a running
// instance and by a buildpack's compile.

import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { InstanceShape } from '../../node/api/shapes.ts';
import { JUDGED_CALLS } from '../../node/runtime/seccomp.ts';
import { LocalCluster, type LocalNode, ROOT, run, waitFor } from '../../scripts/local-cluster.ts';
import { isRunning, processTable } from '../../scripts/processes.ts';
import { postToApp } from './requests.ts';

const HOSTILE = 'hostile.localhost';
const NEIGHBOUR = 'neighbour.localhost';
const SECRET = 'the-neighbours-secret';
/** In the command line of every process that is meant to outlive its app. */
const LEFTOVER = 'peer-hostile-leftover';
/** Longest answer of a neighbour while somebody else misbehaves; a machine of its own would need milliseconds. */
const ANSWER_MS_MAX = 5_000;
/** Until another instance has taken the place of one that ended. */
const BACK_DEADLINE_MS = 25_000;

let cluster: LocalCluster;
let node: LocalNode;
const app = (name: string): string => join(ROOT, 'test', 'apps', name);

beforeAll(async () => {
  cluster = await LocalCluster.start(1);
  node = cluster.nodes[0]!;
  const pushes = [
    ['push', app('hello-node'), '--name', 'neighbour', '--env', `SECRET=${SECRET}`],
    ['push', app('hostile'), '--memory', '256M', '--disk', '64M'],
  ];
  for (const push of pushes) await cluster.json(node, push);
});
afterAll(() => cluster?.stop());

/** Runs a shell script inside the hostile instance. */
async function attack(script: string): Promise<{ code: number | string; output: string }> {
  const { status, body } = await postToApp(node, HOSTILE, '/run', script);
  expect(status, body).toBe(200);
  return JSON.parse(body);
}

const instanceOf = async (name: string): Promise<InstanceShape | undefined> =>
  (await cluster.read<{ instances: InstanceShape[] }>(node, `/v1/apps/${name}`)).instances[0];

const neighbourAnswers = async (): Promise<boolean> =>
  (await cluster.get(node, NEIGHBOUR, '/', ANSWER_MS_MAX)).status === 200;

async function nodeIsWell(neighbour: InstanceShape): Promise<void> {
  expect(await neighbourAnswers()).toBe(true);
  expect(await instanceOf('neighbour')).toMatchObject({ id: neighbour.id, state: 'ready', restarts: 0 });
  expect(await isRunning(node.pid)).toBe(true);
}

const hostileIsBack = (before: InstanceShape): Promise<void> =>
  waitFor('another hostile instance to be ready', BACK_DEADLINE_MS, async () => {
    const now = await instanceOf('hostile');
    return now !== undefined && now.id !== before.id && now.state === 'ready';
  });

const DENIED =
  /No such file or directory|Permission denied|Operation not permitted|No such process|Read-only file system/;
const FORBIDDEN = /Permission denied|Operation not permitted|must be superuser|Authentication failure|Critical error/i;
/** A script that makes one call of the C library. */
const syscall = (call: string): string =>
  `/usr/bin/python3 -c 'import ctypes, os, sys; c = ctypes.CDLL(None, use_errno=True); sys.exit(0 if ${call} == 0 else os.strerror(ctypes.get_errno()))'`;

const socketOf = (family: number, type: number, protocol: number): string =>
  syscall(`max(0, -c.socket(${family}, ${type}, ${protocol}))`);

/** A script that makes one system call, by its name. */
const rawCall = (name: string, args: string): string => {
  const [, x64, arm64] = JUDGED_CALLS.find((call) => call[0] === name)!;
  return syscall(`max(0, -c.syscall(${process.arch === 'x64' ? x64 : arm64}, ${args}))`);
};

/** What must not work: a script that would end with status 0, and what it says when it is refused. */
type Attempt = [what: string, script: (at: Place) => string, refusal: RegExp];
type Place = { dataDir: string; files: string[]; daemonPid: number; neighbourPid: number };

const ATTEMPTS: Attempt[] = [
  ['list the data directory', ({ dataDir }) => `ls ${dataDir}`, DENIED],
  [
    "read any of the node's files",
    ({ dataDir, files }) => `for f in ${files.join(' ')}; do cat ${dataDir}/$f && exit 0; done; exit 1`,
    DENIED,
  ],
  ["reach the node's files through other processes", ({ dataDir }) => `ls /proc/*/root${dataDir}`, DENIED],
  ["see where other apps' files are", ({ dataDir }) => `ls ${dataDir}/instances ${dataDir}/staging-cache`, DENIED],
  ["read root's home", () => 'ls /root', DENIED],
  ['read the password hashes', () => 'cat /etc/shadow', DENIED],
  ["read the machine's memory", () => 'cat /dev/mem /dev/kmem /proc/kcore', DENIED],
  ['read the environment of the process it descends from', () => 'cat /proc/1/environ', DENIED],
  ['read the memory of the process it descends from', () => 'head -c1 /proc/1/mem', DENIED],
  ['signal the first process', () => 'kill -9 1', FORBIDDEN],
  ['signal the daemon', ({ daemonPid }) => `kill -9 ${daemonPid}`, DENIED],
  ['signal another app', ({ neighbourPid }) => `kill -9 ${neighbourPid}`, DENIED],
  ['trace another process', () => syscall('c.ptrace(16, 1, 0, 0)'), DENIED],
  ['write to system folders', () => 'touch /usr/x || touch /etc/x || touch /bin/x || touch /opt/x || touch /x', DENIED],
  ['change an account', () => 'echo evil::0:0::/:/bin/sh >>/etc/passwd', DENIED],
  ["change the node's own Node", () => 'touch /opt/peer/node/bin/x || rm -f /opt/peer/node/bin/node', DENIED],
  [
    'write kernel settings',
    () =>
      'for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do test -w $f && exit 0; done; echo Permission denied; exit 1',
    DENIED,
  ],
  ['mount a file system', () => 'mount -t tmpfs none /tmp', FORBIDDEN],
  [
    'make what is read-only writable in namespaces of its own',
    () => 'unshare --user --map-root-user --mount bash -c "mount -o remount,rw,bind /usr && touch /usr/x"',
    /Permission denied|Operation not permitted|denied/i,
  ],
  ['change its root folder', () => syscall('c.chroot(b"/tmp")'), FORBIDDEN],
  ['make a device', () => 'mknod /tmp/disk b 8 0', FORBIDDEN],
  ['become root', () => syscall('c.setuid(0)'), FORBIDDEN],
  ['become root through a set-user-id program', () => 'echo | su -c true', FORBIDDEN],
  ['set the clock', () => 'date -s "2001-01-01"', FORBIDDEN],
  ['rename the machine', () => syscall('c.sethostname(b"evil", 4)'), FORBIDDEN],
  ['raise its priority', () => syscall('c.nice(-5)'), FORBIDDEN],
  [
    'leave its control group',
    () => 'echo $$ >/sys/fs/cgroup/cgroup.procs || echo $$ >/sys/fs/cgroup/memory/cgroup.procs',
    DENIED,
  ],
  ['raise its limits', () => 'ulimit -Hu 100000', FORBIDDEN],
  ["use the kernel's keys", () => rawCall('keyctl', '0, -3, 0'), FORBIDDEN],
  ['load a program into the kernel', () => rawCall('bpf', '0, 0, 0'), FORBIDDEN],
  ['make a namespace of users', () => rawCall('unshare', '0x10000000'), FORBIDDEN],
  ['join the namespace of another', () => rawCall('setns', '0, 0'), FORBIDDEN],
  ['open a file by its number on the disk', () => rawCall('open_by_handle_at', '-100, 0, 0'), FORBIDDEN],
  ['read the memory of another process', () => rawCall('process_vm_readv', '1, 0, 0, 0, 0, 0'), FORBIDDEN],
  ['watch the processor', () => rawCall('perf_event_open', '0, 0, -1, -1, 0'), FORBIDDEN],
  ['catch page faults', () => rawCall('userfaultfd', '0'), FORBIDDEN],
  ['load a module', () => rawCall('finit_module', '0, b"", 0'), FORBIDDEN],
  ['queue calls past the filter', () => rawCall('io_uring_setup', '1, 0'), /Function not implemented/],
  ['speak to the hypervisor', () => socketOf(40, 1, 0), /Address family not supported/],
  ["use the kernel's cryptography", () => socketOf(38, 5, 0), /Address family not supported/],
  ['make packets by itself', () => socketOf(2, 3, 255), FORBIDDEN],
  ['listen to the wire', () => socketOf(17, 3, 0x0300), /Address family not supported/],
  ['change the firewall', () => socketOf(16, 3, 12), /Address family not supported/],
  ['type into a terminal', () => syscall('max(0, -c.ioctl(0, 0x5412, b"x"))'), FORBIDDEN],
  [
    "reach a container engine's socket",
    () => 'ls /run/docker.sock /var/run/docker.sock /run/podman/podman.sock /run/containerd',
    DENIED,
  ],
  ["follow the daemon's root", ({ daemonPid }) => `ls /proc/${daemonPid}/root /proc/1/root/root`, DENIED],
  ['read the disks', () => 'head -c1 /dev/vda /dev/sda /dev/loop0 /dev/nvme0n1', DENIED],
  ['attach a disk of its own', () => 'head -c1 /dev/loop-control /dev/fuse /dev/net/tun', DENIED],
];

async function place(): Promise<Place> {
  const files = await readdir(node.dataDir);
  expect(files).toEqual(expect.arrayContaining(['identity.key', 'cluster.json', 'node.json']));
  return { dataDir: node.dataDir, files, daemonPid: node.pid, neighbourPid: await neighbourPid() };
}

/** By its environment, which nobody else has; as this machine counts. */
async function neighbourPid(): Promise<number> {
  for (const { pid } of await processTable()) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (environment.includes(`SECRET=${SECRET}`)) return pid;
  }
  throw new Error('the neighbour does not run');
}

describe('a running instance cannot', () => {
  it.each(ATTEMPTS)('%s', async (_what, script, refusal) => {
    const { code, output } = await attack(script(await place()));
    expect(output).toMatch(refusal);
    expect(code).not.toBe(0);
  });

  it('see any process but its own', async () => {
    const { output } = await attack('cat /proc/[0-9]*/cmdline | tr "\\0" "\\n"');
    expect(output).toContain('server.js');
    expect(output).not.toContain('main.ts');
    expect(output).not.toContain(SECRET);
    const pids = (await attack('ls -d /proc/[0-9]* | wc -l')).output;
    expect(Number(pids)).toBeLessThan(10);
  });

  it('hold any privilege', async () => {
    const { output } = await attack('cat /proc/self/status');
    expect(output).toMatch(/^NoNewPrivs:\t1$/m);
    for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb']) expect(output).toMatch(new RegExp(`^Cap${set}:\\t0+$`, 'm'));
    expect(output).toMatch(/^Uid:\t[1-9]\d+\t/m);
    expect(output).toMatch(/^Groups:\t\s*$/m);
  });

  it('have the user of another instance', async () => {
    const { output } = await attack('id -u');
    expect(await userOf(await neighbourPid())).not.toBe(output.trim());
    expect(await userOf(node.pid)).not.toBe(output.trim());
  });

  it.each([
    ['the API', () => node.api],
    ['the link', () => node.link],
    ["the other nodes' listener", () => node.listen],
  ])('reach %s', async (_what, address) => {
    const port = address().split(':').at(-1);
    const gateway = '$(ip route show default | cut -d" " -f3)';
    for (const host of ['127.0.0.1', gateway]) {
      const { code, output } = await attack(`timeout 5 bash -c 'echo >/dev/tcp/${host}/${port}'`);
      expect(output).toMatch(/Connection refused|No route to host|Network is unreachable|Permission denied/);
      expect(code).not.toBe(0);
    }
  });
});

const userOf = async (pid: number): Promise<string | undefined> =>
  /^Uid:\t(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];

describe('beyond its limits', () => {
  it('a fork bomb finds no more processes, and harms nobody else', async () => {
    const neighbour = (await instanceOf('neighbour'))!;
    await postToApp(node, HOSTILE, '/detach', 'perl -e "fork while 1"');
    await waitFor('the bomb to be stopped by its limit', 30_000, async () => (await processesOfHostile()) > 400);
    for (let look = 0; look < 5; look++) {
      expect(await neighbourAnswers()).toBe(true);
      expect(await processesOfHostile()).toBeLessThanOrEqual(512);
    }
    const before = (await instanceOf('hostile'))!;
    await cluster.json(node, ['restart', 'hostile/0'], { timeoutMs: 40_000 });
    await hostileIsBack(before);
    await nodeIsWell(neighbour);
  });

  it('a signal to everybody reaches only its own', async () => {
    const neighbour = (await instanceOf('neighbour'))!;
    const before = (await instanceOf('hostile'))!;
    await postToApp(node, HOSTILE, '/detach', 'kill -9 -1');
    await hostileIsBack(before);
    await nodeIsWell(neighbour);
  });

  it('memory ends the one that takes it, which is told why and started again', async () => {
    const neighbour = (await instanceOf('neighbour'))!;
    const before = (await instanceOf('hostile'))!;
    await postToApp(node, HOSTILE, '/memory');
    await waitFor('the end of the instance to be told', 20_000, async () => {
      const events = await cluster.json<{ message: string }[]>(node, ['events', 'hostile']);
      return events.some(({ message }) => /crashed.*out of memory \(limit 256 MiB\)/.test(message));
    });
    await hostileIsBack(before);
    const { stdout } = await cluster.peer(node, ['logs', 'hostile']);
    expect(stdout).toMatch(/\[CELL\/web\/0\] ERR Instance web\.0 ended: out of memory \(limit 256 MiB\)/);
    await nodeIsWell(neighbour);
  });

  it('one file cannot be larger than the disk limit', async () => {
    const { output } = await attack('dd if=/dev/zero of=big bs=1M count=100; stat -c %s big; rm big');
    expect(output).toContain(String(64 * 1024 * 1024));
  });

  it('many files fill its own disk, and nobody else notices', async () => {
    const neighbour = (await instanceOf('neighbour'))!;
    const { output } = await attack(
      'for i in 1 2 3; do dd if=/dev/zero of=filler-$i bs=1M count=30; done; rm filler-*',
    );
    expect(output).toContain('No space left on device');
    expect((await attack('echo fits again >small && cat small')).output).toBe('fits again\n');
    await nodeIsWell(neighbour);
  });

  it('files without content are counted too', async () => {
    const { code, output } = await attack(
      'mkdir many && cd many && seq 100000 | xargs touch; cd .. && rm -rf many; df -i . | tail -1',
    );
    expect(output).toContain('No space left on device');
    expect(code).toBe(0);
  });

  it('memory file systems count as memory', async () => {
    const { output } = await attack(
      'for i in 1 2 3; do dd if=/dev/zero of=/tmp/filler-$i bs=1M count=50; done; rm -f /tmp/filler-*',
    );
    expect(output).toMatch(/No space left on device|Killed/);
    await waitFor('it to answer', 20_000, async () => (await cluster.get(node, HOSTILE)).status === 200);
  });
});

describe('an app that is deleted', () => {
  it('leaves no process, however it clings to life, and no file', async () => {
    const neighbour = (await instanceOf('neighbour'))!;
    await cluster.json(node, ['push', app('hostile'), '--name', 'stubborn', '--env', 'IGNORE_TERM=1']);
    await postToApp(node, 'stubborn.localhost', '/detach', leaveBehind('setsid'));
    await postToApp(node, 'stubborn.localhost', '/detach', `(setsid ${leaveBehind('setsid')} &) &`);
    await waitFor('both to have been left behind', 5_000, async () => (await leftovers()).length === 2);
    const { id } = await cluster.read<{ id: string }>(node, '/v1/apps/stubborn');
    const instance = (await instanceOf('stubborn'))!.id;
    const traces = await tracesOf([id, instance]);
    expect(traces).toEqual(['control group', 'instances', 'logs', 'staging-cache']);

    await cluster.json(node, ['delete', 'stubborn']);
    await waitFor('every process and file of it to be gone', 15_000, async () => {
      return (await leftovers()).length === 0 && (await tracesOf([id, instance])).length === 0;
    });
    expect((await cluster.get(node, 'stubborn.localhost')).status).toBe(404);
    await nodeIsWell(neighbour);
  });
});

/** A script that becomes a process which ignores every polite signal. */
const leaveBehind = (session: string): string =>
  `${session} bash -c 'trap "" TERM INT HUP; exec -a ${LEFTOVER} sleep 1000000'`;

const leftovers = async (): Promise<number[]> =>
  (await processTable()).filter((one) => one.command.startsWith(LEFTOVER)).map((one) => one.pid);

/** Where the data directory, and the machine's control groups, hold something named after one of these ids. */
async function tracesOf(ids: readonly string[]): Promise<string[]> {
  const names = ids.flatMap((id) => ['-o', '-name', id]).slice(1);
  const { stdout } = await run(['find', node.dataDir, '/sys/fs/cgroup', '-type', 'd', '(', ...names, ')', '-prune']);
  const found = stdout.split('\n').filter((line) => line !== '');
  const places = found.map((path) => (path.startsWith('/sys') ? 'control group' : basename(dirname(path))));
  return [...new Set(places)].sort();
}

describe('a compile', () => {
  it('cannot do what an instance cannot, and nothing of it stays', async () => {
    const at = await place();
    const buildpack = join(cluster.folder, 'hostile-buildpack');
    await mkdir(join(buildpack, 'bin'), { recursive: true });
    for (const [index, [, script]] of ATTEMPTS.entries()) await writeFile(join(buildpack, `${index}.sh`), script(at));
    await writeFile(join(buildpack, 'bin', 'compile'), COMPILE, { mode: 0o755 });

    const pushed = await cluster.peer(node, ['push', app('hello-static'), '--name', 'built', '--buildpack', buildpack]);
    expect(pushed).toMatchObject({ code: 1, stdout: '' });
    expect(pushed.stderr).toMatch(/compile failed \(exit status 1\)/);
    for (const [index, [what, , refusal]] of ATTEMPTS.entries()) {
      const [, code, output] = new RegExp(`^ *attempt ${index}: (\\d+) (.*)$`, 'm').exec(pushed.stderr) ?? [];
      expect(`${what}: ${output}`).toMatch(refusal);
      expect(Number(code)).toBeGreaterThan(0);
    }
    expect(pushed.stderr).toContain('left 1 behind');
    expect(await leftovers()).toEqual([]);
    expect(await readdir(join(node.dataDir, 'staging'))).toEqual([]);
    await expect(cluster.read(node, '/v1/apps/built')).rejects.toThrow('404');
  });
});

const COMPILE = `#!/bin/bash
for script in *.sh; do
  said=$(bash $script 2>&1 </dev/null)
  echo "attempt \${script%.sh}: $? $(echo "$said" | tr '\\n' ' ')"
done
${leaveBehind('setsid')} &
until grep -qs '^[p]eer-hostile-leftover' /proc/[0-9]*/cmdline; do :; done
echo "left 1 behind"
exit 1
`;

/** Processes of the instance's user, which it has to itself. */
async function processesOfHostile(): Promise<number> {
  const record = await hostileRecord();
  const users = await Promise.all((await processTable()).map(({ pid }) => userOf(pid).catch(() => undefined)));
  return users.filter((uid) => uid === String(record.uid)).length;
}

async function hostileRecord(): Promise<{ uid: number }> {
  const { id } = (await instanceOf('hostile'))!;
  return JSON.parse(await readFile(join(node.dataDir, 'instances', id, 'instance.json'), 'utf8'));
}
