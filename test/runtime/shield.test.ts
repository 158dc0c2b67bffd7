// The shield against other hosts, on a real second host: a network namespace joined by a cable of its own.

import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { asNodeId } from '../../crdt/ids.ts';
import { raiseShield, shieldRules } from '../../node/runtime/network/shield.ts';
import { uidBlock } from '../../node/runtime/sandbox/users.ts';

const node = asNodeId('12D3KooWShieldTestNode');
const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const one of undo.splice(0).reverse()) await one();
});

const ip = (...args: string[]) => execFileSync('ip', args, { stdio: 'pipe' });

/** A second host, `far`, that reaches this one at 10.213.7.1. */
function cable(): string {
  const far = `peer-shield-${process.pid}`;
  const near = `psh${process.pid % 100_000}`;
  ip('netns', 'add', far);
  undo.push(() => ip('netns', 'del', far));
  ip('link', 'add', near, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', far);
  ip('addr', 'add', '10.213.7.1/30', 'dev', near);
  ip('link', 'set', near, 'up');
  ip('-n', far, 'addr', 'add', '10.213.7.2/30', 'dev', 'eth0');
  ip('-n', far, 'link', 'set', 'eth0', 'up');
  return far;
}

/** A program of an instance's user that listens on every interface, as apps do. */
async function listener(uid: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'peer-shield-'));
  execFileSync('chmod', ['755', folder]);
  undo.push(() => rmSync(folder, { recursive: true }));
  copyFileSync(process.execPath, join(folder, 'node'));
  const script =
    'const s = require("node:net").createServer((c) => c.end("hi")).listen(0, "0.0.0.0", () => console.log(s.address().port))';
  const args = ['--reuid', String(uid), '--regid', String(uid), '--clear-groups', join(folder, 'node'), '-e', script];
  const child = spawn('setpriv', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  undo.push(() => child.kill('SIGKILL'));
  const line = await new Promise<Buffer>((resolve) => child.stdout.once('data', resolve));
  return Number(String(line));
}

/** What the other host gets from a port of this one: the text, or nothing within a second. */
function fromAfar(far: string, port: number): string {
  const script = `import socket
s = socket.create_connection(("10.213.7.1", ${port}), 1)
print(s.recv(10).decode())`;
  try {
    return execFileSync('ip', ['netns', 'exec', far, '/usr/bin/python3', '-c', script], { stdio: 'pipe' })
      .toString()
      .trim();
  } catch {
    return '';
  }
}

describe('the shield', () => {
  it('keeps what instances listen on from other hosts until it is lowered', async () => {
    const far = cable();
    const port = await listener(uidBlock(node) + 5);
    expect(fromAfar(far, port)).toBe('hi');
    const shield = await raiseShield({ nodeId: node, log, ownUsers: true });
    undo.push(() => shield.lower());
    expect(log.warn).not.toHaveBeenCalled();
    expect(fromAfar(far, port)).toBe('');
    // Raising it again, as a daemon does that was killed, replaces it.
    await raiseShield({ nodeId: node, log, ownUsers: true });
    expect(fromAfar(far, port)).toBe('');
    await shield.lower();
    expect(fromAfar(far, port)).toBe('hi');
  });

  it('says loudly when it cannot be raised', async () => {
    await raiseShield({ nodeId: node, log, ownUsers: false });
    expect(log.warn).toHaveBeenCalledWith(
      'runtime.ports_exposed',
      expect.objectContaining({ why: expect.any(String) }),
    );
  });

  it('names the node by its block of users', () => {
    expect(shieldRules('peer_1000', 1000, 1999)).toContain('meta skuid 1000-1999 ct direction reply drop');
  });
});
