// Runs child.ts and reads what it prints.

import { type ChildProcess, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { NodeId } from '../../crdt/ids.ts';
import type { TestNode } from './cluster.ts';

export type Child = { id: NodeId; addresses: string[]; process: ChildProcess; said: string[]; end(): Promise<void> };

export async function startChild(
  parents: TestNode[],
  options: { prefix?: string[]; listen?: string; publishEveryMs?: number; listens?: boolean } = {},
): Promise<Child> {
  const peers = parents.map((node) => ({ id: node.id, addresses: node.gossip.addresses() }));
  const command = [...(options.prefix ?? []), process.execPath, fileURLToPath(new URL('./child.ts', import.meta.url))];
  const child = spawn(command[0]!, [...command.slice(1), JSON.stringify({ ...options, prefix: undefined, peers })], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const said: string[] = [];
  const first = await new Promise<string>((resolve, reject) => {
    let text = '';
    child.once('exit', (code) => reject(new Error(`the child ended with ${code}`)));
    child.stdout.on('data', (chunk: Buffer) => {
      const lines = (text + chunk).split('\n');
      text = lines.pop()!;
      for (const line of lines) {
        if (line.includes('"addresses"')) resolve(line);
        else said.push(line);
      }
    });
  });
  const { id, addresses, dataDir } = JSON.parse(first) as { id: NodeId; addresses: string[]; dataDir: string };
  return {
    id,
    addresses,
    process: child,
    said,
    async end() {
      if (child.exitCode === null && child.signalCode === null) {
        const gone = new Promise((resolve) => child.once('exit', resolve));
        child.kill('SIGKILL');
        child.kill('SIGCONT');
        await gone;
      }
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}
