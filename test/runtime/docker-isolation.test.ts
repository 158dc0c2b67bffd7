// What keeps a container of the docker runtime from others, and what it may do for all that. What hostile code meets
// in it is in e2e/hostile.test.ts.

import { createServer, type Server } from 'node:net';
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
const services: Server[] = [];

async function start(): Promise<Address> {
  const digest = await harness.droplet({ 'app/server.js': SERVER, 'app/peek.py': PEEK });
  const spec = specOf(digest, { droplet: { digest, sizeBytes: 0, stack: hostStack() } });
  node.runtime.start(spec);
  return node.ready(spec.id);
}

/** A server of this machine; its port. */
async function serve(): Promise<number> {
  const service = createServer((socket) => socket.on('error', () => {}).end('a service of the machine'));
  await new Promise<void>((resolve) => service.listen(0, '0.0.0.0', resolve));
  services.push(service);
  return (service.address() as { port: number }).port;
}

const attempt = (command: string): Promise<ShellAnswer> => shell(at, command);
const peek = async (host: string, port: number): Promise<string> =>
  (await attempt(`python3 ~/peek.py ${host} ${port}`)).out.trim();

beforeAll(async () => {
  harness = await dockerHarness({ runtime: { policy: { allowed: ['198.18.0.0/15'] } } });
  node = new Opened(await harness.open());
  // Of one app, on one network.
  [at, neighbour] = await Promise.all([start(), start()]);
});
afterAll(async () => {
  for (const service of services) service.close();
  await node.runtime.close({ keepInstances: false });
  await harness.checkNothingLeft();
  await harness.dispose();
});

describe('an app in a container', () => {
  it('reaches no other instance, not even of its own app', async () => {
    expect(await get(neighbour, '/')).toBe('hello');
    expect(await peek(neighbour.host!, neighbour.port)).toBe('refused');
    // Itself it reaches: what refuses is the way between them.
    const { out } = await attempt(
      `python3 -m http.server 9999 >/dev/null 2>&1 & for i in $(seq 50); do python3 ~/peek.py ${at.host} 9999 | grep got && break; sleep 0.1; done; kill $!`,
    );
    expect(out).toMatch(/^got/);
  });

  it("reaches the machine's open ports, and those of the node itself not even where its address is allowed", async () => {
    const [open, closed, other] = [await serve(), await serve(), await serve()];
    await node.runtime.setMachinePorts!({ open: [open], closed: [closed] });
    const gateway = at.host!.replace(/\d+$/, (last) => String((Number(last) & 0xc0) + 1));
    expect(await peek(gateway, open)).toMatch(/^got/);
    expect(await peek(gateway, other)).toMatch(/^got/);
    expect(await peek(gateway, closed)).toBe('refused');
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
