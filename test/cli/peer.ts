// Runs scripts/peer as a user would, against an API in this process with a node in memory behind it.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Role } from '../../crdt/schema.ts';
import { type RunningApi, startApi } from '../../node/api/server.ts';
import { MemoryNode, memoryLog, tokenOf } from '../api/memory-node.ts';

export const ROOT = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
export const PEER = join(ROOT, 'scripts', 'peer');

export type Ran = { status: number | null; stdout: string; stderr: string };

export class TestCli {
  readonly node: MemoryNode;
  readonly home: string;
  readonly #api: RunningApi;

  private constructor(node: MemoryNode, api: RunningApi) {
    this.node = node;
    this.#api = api;
    this.home = mkdtempSync(join(tmpdir(), 'peer-cli-'));
  }

  static async start(node: MemoryNode = new MemoryNode(), tls?: { keyPem: string; certPem: string }): Promise<TestCli> {
    const listen = tls === undefined ? '127.0.0.1:0' : '0.0.0.0:0';
    return new TestCli(
      node,
      await startApi({ service: node, listen, log: memoryLog(), ...(tls === undefined ? {} : { tls }) }),
    );
  }

  get url(): string {
    return this.#api.url;
  }

  get env(): NodeJS.ProcessEnv {
    const { PEER_API: _, PEER_TOKEN: __, ...env } = process.env;
    return {
      ...env,
      HOME: this.home,
      XDG_CONFIG_HOME: join(this.home, 'config'),
      XDG_DATA_HOME: join(this.home, 'data'),
    };
  }

  /** As the role given; the admin unless told otherwise. */
  run(args: string[], options: { role?: Role; env?: NodeJS.ProcessEnv; input?: string } = {}): Promise<Ran> {
    const { role = 'admin', env, input } = options;
    return runPeer(args, { ...this.env, PEER_API: this.url, PEER_TOKEN: tokenOf(role), ...env }, input);
  }

  /** What a command prints with --json; it must succeed. */
  // biome-ignore lint/suspicious/noExplicitAny: assertions say what it should be.
  async json(args: string[], options: { role?: Role } = {}): Promise<any> {
    const ran = await this.run([...args, '--json'], options);
    if (ran.status !== 0) throw new Error(`peer ${args.join(' ')}: ${ran.status}\n${ran.stdout}${ran.stderr}`);
    return JSON.parse(ran.stdout);
  }

  /** A command that goes on until it is ended; the caller ends it. */
  follow(args: string[]): { child: ChildProcess; stdout: () => string } {
    const env = { ...this.env, PEER_API: this.url, PEER_TOKEN: tokenOf('viewer') };
    const child = spawn(PEER, args, { env, stdio: ['ignore', 'pipe', 'inherit'] });
    let stdout = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    return { child, stdout: () => stdout };
  }

  async stop(): Promise<void> {
    await this.#api.close();
    rmSync(this.home, { recursive: true, force: true });
  }
}

export function runPeer(args: string[], env: NodeJS.ProcessEnv, input = ''): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const child = spawn(PEER, args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}
