// peer service connect and export through scripts/peer: what they open, and how it ends. The service behind it is one
// that answers with what it is sent; real engines and their clients are in test/e2e/services.test.ts.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TUNNELS_PER_SESSION_MAX } from '../../node/sessions/service-sessions.ts';
import { MemoryNode, type SessionTimes, tokenOf } from '../api/memory-node.ts';
import { PEER, TestCli } from './peer.ts';

const DEADLINE_MS = 20_000;

let cli: TestCli;
let echo: Server;
const children: ChildProcess[] = [];

async function start(sessionTimes: SessionTimes = {}): Promise<void> {
  const node = new MemoryNode({ sessionTimes });
  cli = await TestCli.start(node);
  const { port } = echo.address() as AddressInfo;
  node.onOpenService = async () => connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  await cli.json(['service', 'create', 'redis', 'queue', '--node', 'alpha']);
}

beforeEach(async () => {
  echo = createServer({ allowHalfOpen: true }, (socket) => socket.on('error', () => {}).pipe(socket));
  await once(echo.listen(0, '127.0.0.1'), 'listening');
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await cli.stop();
  echo.close();
});

type Tunnel = {
  child: ChildProcess;
  document: Record<string, unknown> & { port: number };
  /** Exit status and what was said. */
  ended: Promise<{ status: number | null; stderr: string }>;
};

async function openTunnel(role: 'developer' | 'admin' = 'developer'): Promise<Tunnel> {
  const env = { ...cli.env, PEER_API: cli.url, PEER_TOKEN: tokenOf(role) };
  const child = spawn(PEER, ['service', 'connect', 'queue', '--tunnel', '--json'], { env });
  children.push(child);
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = once(child, 'close').then(([status]) => ({ status: status as number | null, stderr }));
  const document = await vi.waitFor(() => JSON.parse(stdout), DEADLINE_MS);
  return { child, document, ended };
}

const dial = async ({ document: { port } }: Tunnel): Promise<Socket> => {
  const socket = connect({ port, host: '127.0.0.1' });
  socket.on('error', () => {}).resume();
  await once(socket, 'connect');
  return socket;
};

/** All that comes back of what is sent, up to the end. */
async function echoed(tunnel: Tunnel, content: Buffer): Promise<Buffer> {
  const { port } = tunnel.document;
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true }).end(content);
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk);
  return Buffer.concat(chunks);
}

describe('peer service connect --tunnel', () => {
  it('says where the service is and with which credentials, and carries every byte', async () => {
    await start();
    const tunnel = await openTunnel();
    const { port } = tunnel.document;
    expect(tunnel.document).toEqual({
      ...{ service: 'queue', kind: 'redis', node: 'alpha', host: '127.0.0.1', port },
      ...{ user: 'guest1', password: 'letters', database: 'queue' },
      uri: `redis://guest1:letters@127.0.0.1:${port}`,
    });
    expect([...cli.node.guests.values()]).toEqual(['the-developer']);
    const content = Buffer.alloc(3_000_000, 'lines of text\n');
    const both = await Promise.all([echoed(tunnel, content), echoed(tunnel, Buffer.from('short'))]);
    expect(both.map((one) => one.length)).toEqual([content.length, 5]);
    expect(both[0]!.equals(content)).toBe(true);
  });

  it.each(['SIGINT', 'SIGKILL'] as const)('ends its credentials and connections at %s', async (signal) => {
    await start();
    const tunnel = await openTunnel();
    const socket = await dial(tunnel);
    socket.write('x');
    await once(socket, 'data');
    tunnel.child.kill(signal);
    const { status, stderr } = await tunnel.ended;
    if (signal === 'SIGINT') expect([status, stderr]).toEqual([0, 'the tunnel and its credentials have ended\n']);
    await vi.waitFor(() => expect(cli.node.guests.size).toBe(0), DEADLINE_MS);
    await vi.waitFor(() => expect(socket.closed).toBe(true), DEADLINE_MS);
    const connections = () => new Promise((resolve) => echo.getConnections((_, count) => resolve(count)));
    await vi.waitFor(async () => expect(await connections()).toBe(0), DEADLINE_MS);
  });

  it('ends when nothing was sent for long, and when its user may not any more', async () => {
    await start({ beatMs: 50, idleMsMax: 1_500 });
    const idle = await (await openTunnel()).ended;
    expect(idle.status).toBe(1);
    expect(idle.stderr).toMatch(/^peer: the tunnel to queue has ended: nothing was sent for .* minutes\n$/);
    expect(cli.node.guests.size).toBe(0);
    await cli.stop();
    await start({ beatMs: 50 });
    const tunnel = await openTunnel();
    await cli.json(['users', 'remove', 'the-developer']);
    expect(await tunnel.ended).toEqual({
      status: 1,
      stderr: 'peer: the tunnel to queue has ended: you may not use the service any more\n',
    });
  });

  it('has a bound of connections, and says which one was refused', async () => {
    await start();
    const tunnel = await openTunnel();
    const url = `${cli.url}/v1/services/queue/tunnel`;
    // As the command itself does, but past its own bound.
    const sockets = await Promise.all(Array.from({ length: TUNNELS_PER_SESSION_MAX }, () => dial(tunnel)));
    for (const socket of sockets) socket.write('x');
    await Promise.all(sockets.map((socket) => once(socket, 'data')));
    const refused = await dial(tunnel);
    await once(refused, 'close');
    const options = (session: string) => Buffer.from(JSON.stringify({ session })).toString('base64url');
    const asked = (token: string, session: string) =>
      fetch(url, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'x-peer-session': options(session) },
      }).then((response) => response.text());
    expect(await asked(tokenOf('developer'), 'guessed')).toContain('session_ended');
    expect(await asked(tokenOf('viewer'), 'guessed')).toContain('forbidden');
  });

  it('says that a connection failed, and goes on', async () => {
    await start();
    const tunnel = await openTunnel();
    const reachable = cli.node.onOpenService;
    cli.node.onOpenService = async () => {
      throw Object.assign(new Error('The service queue accepts no connection.'), { code: 'unreachable' });
    };
    const socket = await dial(tunnel);
    await once(socket, 'close');
    cli.node.onOpenService = reachable;
    expect(String(await echoed(tunnel, Buffer.from('again')))).toBe('again');
    tunnel.child.kill('SIGINT');
    expect((await tunnel.ended).stderr).toContain('a connection failed: The service queue accepts no connection.\n');
  });
});

describe('peer service export', () => {
  it('opens, shows once with which credentials, writes what to trust, and closes', async () => {
    await start();
    const file = join(cli.home, 'queue.pem');
    const where = ['service', 'export', 'queue', '192.168.1.5:6380'];
    const opened = await cli.run([...where, '--certificate', file], { role: 'developer' });
    expect(opened.stdout).toMatch(/^queue is open to whoever reaches 192.168.1.5:6380 on alpha, with TLS/);
    expect(opened.stdout).toMatch(/^url +rediss:\/\/exported:[A-Za-z0-9]{32}@192.168.1.5:6380$/m);
    expect(await readFile(file, 'utf8')).toBe('PEM\n');
    expect((await cli.run(['service', 'status', 'queue'])).stdout).toContain(
      `export       192.168.1.5:6380 on alpha, with TLS (key ${'ab'.repeat(32)})`,
    );
    expect(await cli.run(where)).toMatchObject({ status: 1, stderr: expect.stringContaining('exported at') });
    const again = join(cli.home, 'again.pem');
    expect(await cli.json(['service', 'export', 'queue', '--certificate', again])).toMatchObject({ file: again });
    expect((await cli.run(['service', 'export', 'queue', '--stop'])).stdout).toMatch(/^queue is closed/);
    expect((await cli.json(['service', 'status', 'queue'])).export).toBeNull();
  });

  it('refuses what cannot be in one line, with nothing opened and no file made', async () => {
    await start();
    const file = join(cli.home, 'there.pem');
    await writeFile(file, 'mine');
    const table: [string[], number, RegExp][] = [
      [['queue'], 2, /HOST:PORT is missing/],
      [['queue', '192.168.1.5'], 2, /should be HOST:PORT/],
      [['queue', '192.168.1.5:0'], 2, /say which/],
      [['queue', '192.168.1.5:22'], 2, /1024 to 65535/],
      [['queue', 'localhost:6380'], 2, /must be an IP address of the node/],
      [['queue', '192.168.1.5:6380', '--stop'], 2, /--stop goes alone/],
      [['queue', '--stop'], 1, /queue is not exported/],
      [['queue', '--certificate', join(cli.home, 'new.pem')], 1, /queue is not exported/],
      [['queue', '192.168.1.5:6380', '--certificate', file], 1, /it is there already/],
      [['none', '192.168.1.5:6380', '--certificate', join(cli.home, 'new.pem')], 1, /no service none/],
    ];
    for (const [args, status, reason] of table) {
      const ran = await cli.run(['service', 'export', ...args], { role: 'developer' });
      expect([ran.status, ran.stderr.trim().split('\n').length, args.join(' ')]).toEqual([status, 1, args.join(' ')]);
      expect(ran.stderr).toMatch(reason);
    }
    expect(await readFile(file, 'utf8')).toBe('mine');
    await expect(readFile(join(cli.home, 'new.pem'))).rejects.toThrow('ENOENT');
    expect((await cli.json(['service', 'status', 'queue'])).export).toBeNull();
  });
});

describe('peer service connect', () => {
  it('refuses what cannot be in one line, with nobody let in', async () => {
    await start();
    await cli.run(['service', 'provide', 'mail', '--credentials', '-'], { input: '{"uri":"smtp://x"}' });
    const { port } = echo.address() as AddressInfo;
    const table: [string[], number, RegExp][] = [
      [['queue', '--json'], 2, /--json goes with --tunnel/],
      [['queue', '--tunnel', 'five'], 2, /--tunnel five: should be a whole number from 0 to 65535/],
      [['queue', '--tunnel', '1', '2'], 2, /"2" is one argument too many/],
      [['queue', '--tunnel', String(port)], 1, new RegExp(`port ${port} of this machine is in use`)],
      [['mail', '--tunnel'], 1, /mail was provided: it runs elsewhere/],
      [['none'], 1, /there is no service none/],
    ];
    for (const [args, status, reason] of table) {
      const ran = await cli.run(['service', 'connect', ...args], { role: 'developer' });
      expect([ran.status, ran.stderr.trim().split('\n').length, args.join(' ')]).toEqual([status, 1, args.join(' ')]);
      expect(`${ran.stdout}${ran.stderr}`).toMatch(reason);
    }
    const viewer = await cli.run(['service', 'connect', 'queue', '--tunnel'], { role: 'viewer' });
    expect(viewer).toMatchObject({ status: 1, stderr: expect.stringContaining('needs the role developer') });
    expect(cli.node.guests.size).toBe(0);
  });
});
