// What hostile code meets in a container of the docker runtime: each attempt is made by a real app, and fails.

import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hostStack } from '../../node/staging/stack.ts';
import { type DockerHarness, dockerHarness } from './docker-harness.ts';
import { type Address, get, Opened, SERVER, type ShellAnswer, shell, specOf } from './runtime.contract.ts';

/** Connects, reads what is there, and says so; `refused` whatever the reason. */
const PEEK = `
import socket, sys
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2); s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print('got', s.recv(20))
except OSError as error:
    print('refused')
`;

let harness: DockerHarness;
let node: Opened;
let at: Address;
let neighbour: Address;
let service: Server;

async function start(): Promise<Address> {
  const digest = await harness.droplet({ 'app/server.js': SERVER, 'app/peek.py': PEEK });
  const spec = specOf(digest, { droplet: { digest, sizeBytes: 0, stack: hostStack() } });
  node.runtime.start(spec);
  return node.ready(spec.id);
}

const attempt = (command: string): Promise<ShellAnswer> => shell(at, command);

beforeAll(async () => {
  harness = await dockerHarness();
  await writeFile(join(harness.dataDir, 'secret'), 'the cluster key', { mode: 0o644 });
  node = new Opened(await harness.open());
  [at, neighbour] = await Promise.all([start(), start()]);
  service = createServer((socket) => socket.end('a service of the machine'));
  await new Promise<void>((resolve) => service.listen(0, '0.0.0.0', resolve));
});
afterAll(async () => {
  service.close();
  await node.runtime.close({ keepInstances: false });
  await harness.checkNothingLeft();
  await harness.dispose();
});

describe('an app in a container', () => {
  it.each([
    ['the data directory', () => `cat ${harness.dataDir}/secret`],
    ["other instances' files", () => `ls ${harness.dataDir}/instances`],
    ["the engine's socket", () => 'ls /var/run/docker.sock /run/docker.sock'],
    ["the machine's password file", () => 'cat /etc/shadow'],
    ["the machine's devices", () => 'ls /dev/vda /dev/sda /dev/mem /dev/kmsg'],
    ["the machine's root through a process of its", () => `cat /proc/1/root${harness.dataDir}/secret`],
    ["root's home", () => 'ls /root'],
  ])('cannot see %s', async (_, command) => {
    const { status, err } = await attempt(command());
    expect(status).not.toBe(0);
    expect(err).toMatch(/No such file|Permission denied/);
  });

  it.each([
    ['its root', 'touch /x'],
    ['/etc', 'touch /etc/x'],
    ['/usr', 'touch /usr/x'],
    ['the Node it was given', 'touch /opt/peer/node/bin/x'],
    ['kernel settings', 'echo x >/proc/sys/kernel/hostname'],
    ['the trigger of the kernel', 'echo b >/proc/sysrq-trigger'],
    ['control groups', 'mkdir /sys/fs/cgroup/memory/x /sys/fs/cgroup/x'],
  ])('cannot write to %s', async (_, command) => {
    const { status, err } = await attempt(command);
    expect(status).not.toBe(0);
    expect(err).toMatch(/Read-only|Permission denied|cannot create|No such file/);
  });

  it.each([
    ['mount', 'mount -t tmpfs none /tmp'],
    ['make namespaces with powers', 'unshare -Ur true'],
    ['change its user', 'setpriv --reuid=0 true'],
    ['make a device', 'mknod /tmp/disk b 8 0'],
    ['open a raw socket', 'python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"'],
    ['open a packet socket', 'python3 -c "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)"'],
    ['change the clock', 'date -s "2001-01-01"'],
    [
      'use keyrings',
      'python3 -c "import ctypes,sys; l=ctypes.CDLL(None); sys.exit(0 if l.syscall(250,0,-3,1)>=0 else 1)"',
    ],
    ['change its limits', 'ulimit -n 1000000'],
    ['put its address elsewhere', 'ip addr add 10.9.9.9/24 dev eth0 || ifconfig eth0 10.9.9.9'],
  ])('cannot %s', async (_, command) => {
    expect((await attempt(command)).status).not.toBe(0);
  });

  it('has no powers, only its own processes, and a user that no other instance has', async () => {
    const { out } = await attempt(
      'grep -E "^(CapEff|CapBnd|NoNewPrivs|Seccomp):" /proc/self/status; ls /proc | grep -c "^[0-9]"; whoami; id -u',
    );
    const [effective, bound, noNew, seccomp, processes, user, uid] = out.trim().split('\n');
    expect([effective, bound, noNew, seccomp, user]).toEqual([
      'CapEff:\t0000000000000000',
      'CapBnd:\t0000000000000000',
      'NoNewPrivs:\t1',
      'Seccomp:\t2',
      'vcap',
    ]);
    expect(Number(processes)).toBeLessThan(10);
    expect((await shell(neighbour, 'id -u')).out.trim()).not.toBe(uid);
  });

  it('reaches no service of the machine, by whichever of its addresses', async () => {
    const { port } = service.address() as { port: number };
    const own = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
    const addresses = own
      .filter(({ family, internal }) => family === 'IPv4' && !internal)
      .map(({ address }) => address);
    const gateway = (
      await attempt(`python3 -c "
import socket, struct
print([socket.inet_ntoa(struct.pack('<L', int(l.split()[2], 16))) for l in open('/proc/net/route') if l.split()[1] == '00000000'][0])"`)
    ).out.trim();
    expect(addresses).toContain(gateway);
    for (const address of addresses) {
      const { out } = await attempt(`python3 ~/peek.py ${address} ${port}`);
      expect(`${address}: ${out.trim()}`).toBe(`${address}: refused`);
    }
  });

  it('reaches no other app', async () => {
    expect(await get(neighbour, '/')).toBe('hello');
    expect((await attempt(`python3 ~/peek.py ${neighbour.host} ${neighbour.port}`)).out.trim()).toBe('refused');
    // Itself it reaches: what refuses is the way between them.
    const { out } = await attempt(
      `python3 -m http.server 9999 >/dev/null 2>&1 & for i in $(seq 50); do python3 ~/peek.py ${at.host} 9999 | grep got && break; sleep 0.1; done; kill $!`,
    );
    expect(out).toMatch(/^got/);
  });

  it('goes on when it would end the first process', async () => {
    await attempt('kill -9 1');
    expect(await get(at, '/')).toBe('hello');
  });

  it('may write to its home, /tmp and /dev/shm', async () => {
    const { status, err } = await attempt(
      'for f in ~/a /app/b $TMPDIR/c /tmp/d /var/tmp/e /dev/shm/f; do echo x >$f || exit 1; done; test "$(cat ~/b)" = x',
    );
    expect([status, err]).toEqual([0, '']);
  });

  it('may open /dev/stdout and /dev/stderr anew', async () => {
    const digest = await harness.droplet({});
    const spec = specOf(digest, {
      droplet: { digest, sizeBytes: 0, stack: hostStack() },
      command: 'echo one >/dev/stdout; echo two >>/dev/stderr',
    });
    node.runtime.start(spec);
    await node.exitReason(spec.id);
    expect((await node.lines(spec)).sort()).toEqual(['one', 'two']);
  });
});
