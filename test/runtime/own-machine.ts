// A machine of its own for tests: a network namespace with a neighbour, in which network-machine.ts runs. Asserts
// nothing but that it starts.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { Network } from '../../node/runtime/network/policy.ts';

/** What the program in network-machine.ts answers. */
export type Answer = { ok: boolean; said: string };

export const ip = (...args: string[]): string => execFileSync('ip', args, { stdio: 'pipe' }).toString();

/** Is there where the kernel can do so. */
export const FILTER_BRIDGED = '/proc/sys/net/bridge/bridge-nf-call-iptables';

let machines = 0;

/**
 * A machine with a network namespace for itself, and a neighbour that it reaches as 10.214.9.2 and, as if on the
 * internet, 9.9.9.9.
 */
export class Machine {
  readonly namespace = `peer-machine-${process.pid}-${++machines}`;
  readonly dataDir = mkdtempSync(join(tmpdir(), 'peer-network-'));
  readonly #neighbour = `${this.namespace}-next`;
  #program!: ReturnType<typeof spawn>;
  #lines!: AsyncIterator<string>;

  async start(allowed: readonly Network[] = []): Promise<void> {
    for (const name of [this.namespace, this.#neighbour]) {
      ip('netns', 'add', name);
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    // Whatever this machine does: new namespaces take after it.
    ip('netns', 'exec', this.namespace, 'sh', '-c', 'echo 0 >/proc/sys/net/ipv4/ip_forward');
    ip('-n', this.namespace, 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'up0', 'netns', this.#neighbour);
    ip('-n', this.namespace, 'addr', 'add', '10.214.9.1/24', 'dev', 'up0');
    ip('-n', this.#neighbour, 'addr', 'add', '10.214.9.2/24', 'dev', 'up0');
    ip('-n', this.#neighbour, 'addr', 'add', '9.9.9.9/32', 'dev', 'up0');
    for (const name of [this.namespace, this.#neighbour]) ip('-n', name, 'link', 'set', 'up0', 'up');
    ip('-n', this.namespace, 'route', 'add', 'default', 'via', '10.214.9.2');
    await this.boot(allowed);
  }

  /** Starts the daemon's part anew; the one before must have been killed. */
  async boot(allowed: readonly Network[] = []): Promise<void> {
    const program = fileURLToPath(new URL('network-machine.ts', import.meta.url));
    const argv = [
      `--net=/run/netns/${this.namespace}`,
      '--',
      process.execPath,
      program,
      this.dataDir,
      allowed.join(','),
    ];
    this.#program = spawn('nsenter', argv, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#lines = lines(this.#program.stdout!);
    expect(await this.#lines.next()).toMatchObject({ value: 'ready' });
  }

  async ask<T = Answer>(request: object): Promise<T> {
    this.#program.stdin!.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error('the machine has ended');
    const answer = JSON.parse(value);
    if ('namespace' in answer) this.#given.add(answer.namespace);
    return answer as T;
  }

  /** A server on the machine itself, or next door, that says its name and whom it talks to. */
  serve(where: 'machine' | 'neighbour', address: string, port: number): Promise<void> {
    const namespace = where === 'machine' ? this.namespace : this.#neighbour;
    const script = `require('node:net').createServer((c) => c.on('error', () => {}).end('${where} hears ' + c.remoteAddress + '\\n')).listen(${port}, '${address}', () => console.log('up'))`;
    const server = spawn('nsenter', [`--net=/run/netns/${namespace}`, '--', process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#servers.push(server);
    return once(server.stdout, 'data').then(() => {});
  }

  /** Namespaces that it gave to instances and builds. */
  readonly #given = new Set<string>();
  /** Served in instances' networks when the program was killed. */
  readonly #left = new Set<number>();
  readonly #servers: ReturnType<typeof spawn>[] = [];

  /** What somebody next door gets from an address, after being told that the machine leads there. */
  fromNextDoor(address: string, port: number): string {
    ip('-n', this.#neighbour, 'route', 'replace', address, 'via', '10.214.9.1');
    return connectFrom(this.#neighbour, address, port);
  }

  fromHere(address: string, port: number): string {
    return connectFrom(this.namespace, address, port);
  }

  /** Whether the kernel passes what it bridges through the rules: what container engines ask for. */
  filterBridged(on: boolean): void {
    const set = `echo ${on ? 1 : 0} >${FILTER_BRIDGED}`;
    ip('netns', 'exec', this.namespace, 'sh', '-c', set);
  }

  rules(): string {
    return execFileSync('nsenter', [`--net=/run/netns/${this.namespace}`, '--', 'nft', 'list', 'ruleset']).toString();
  }

  /** Ends the program as a power cut would, but for what serves in networks of its own. */
  kill(): Promise<unknown> {
    for (const name of this.#given) {
      for (const pid of ip('netns', 'pids', name).split('\n')) if (pid !== '') this.#left.add(Number(pid));
    }
    this.#program.kill('SIGKILL');
    return once(this.#program, 'exit');
  }

  /** Lets the program end by itself, with all that it made. */
  async end(): Promise<void> {
    if (this.#program.exitCode !== null || this.#program.signalCode !== null) return;
    this.#program.stdin!.end();
    await once(this.#program, 'exit');
  }

  async dispose(): Promise<void> {
    await this.end();
    for (const server of this.#servers) server.kill('SIGKILL');
    for (const pid of this.#left) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
    for (const name of [this.namespace, this.#neighbour]) ip('netns', 'del', name);
    rmSync(this.dataDir, { recursive: true });
  }
}

function connectFrom(namespace: string, address: string, port: number): string {
  const script = `import socket
s = socket.create_connection(("${address}", ${port}), 1)
print(s.recv(100).decode())`;
  try {
    return execFileSync('ip', ['netns', 'exec', namespace, '/usr/bin/python3', '-c', script], { stdio: 'pipe' })
      .toString()
      .trim();
  } catch {
    return '';
  }
}

async function* lines(stream: NodeJS.ReadableStream): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of stream) {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop()!;
    yield* parts;
  }
}

/** A network that the machine gave to an instance or a build. */
export type Own = { namespace: string; host: string };
