// blob: a 200 MB droplet that cannot be compressed, from two holders to a third node on loopback, against the same
// file copied over plain TLS in the same run, as scp copies: from one file into another, nothing checked, nothing
// waited for until it is on disk; and against TLS that drops what it receives. The fetch checks and has it on disk.
// And how much the fetching node grows.

import { type ChildProcess, fork } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, open, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Digest } from '../../crdt/ids.ts';
import { selfSignedCertificate } from '../../node/identity/certificate.ts';
import { nodeIdOfPublicKey } from '../../node/identity/node-id.ts';
import type { ToBlobNode } from './blob-node.ts';
import { type Bench, figure, median, worst } from './figure.ts';

const MiB = 1024 * 1024;
const DROPLET_BYTES = 200 * 1000 * 1000;
const ROUNDS = 5;
const SAMPLE_MS = 10;
/** What starting up left is collected. */
const SETTLE_MS = 3_000;

const blob: Bench = async (_args, say) => {
  const folder = await mkdtemp(join(tmpdir(), 'peer-bench-blob-'));
  const children: Child[] = [];
  const child = (): Child => {
    const made = new Child(join(folder, 'compiled'));
    children.push(made);
    return made;
  };
  try {
    const path = join(folder, 'droplet');
    await writeNoise(path, DROPLET_BYTES);
    const identities = [newIdentity(), newIdentity(), newIdentity()];
    const admitted = identities.map(({ nodeId }) => nodeId);
    const [one, two, fetcher] = [child(), child(), child()];
    const links: string[] = [];
    for (const [index, node] of [one, two, fetcher].entries()) {
      const dir = join(folder, `node-${index + 1}`);
      await mkdir(dir);
      const { link } = await node.ask<{ link: string }>({ do: 'start', dir, ...identities[index]!, admitted });
      links.push(link);
    }
    say('storing the droplet on two nodes');
    const { digest } = await one.ask<{ digest: Digest }>({ do: 'put', path });
    await two.ask({ do: 'put', path });
    const holders = [0, 1].map((index) => ({ node: admitted[index]!, link: links[index]! }));
    const [sender, receiver] = [child(), child()];
    const { port } = await sender.ask<{ port: number }>({ do: 'serveTls', path, tls: identities[0]!.tls });
    await pause(SETTLE_MS);

    const fetchRates: number[] = [];
    const plainRates: number[] = [];
    const copyRates: number[] = [];
    const growths: number[] = [];
    for (let round = 1; round <= ROUNDS; round++) {
      const into = join(folder, 'copy');
      const plain = await receiver.ask<PlainTls>({ do: 'receiveTls', port });
      const copy = await receiver.ask<PlainTls>({ do: 'receiveTls', port, path: into });
      await rm(into);
      const memory = await watchMemory(fetcher);
      const fetch = await fetcher.ask<{ tookMs: number; holders: number }>({
        do: 'fetch',
        digest,
        sizeBytes: DROPLET_BYTES,
        holders,
      });
      const growthMb = await memory.stop();
      if (fetch.holders !== 2) throw new Error(`the droplet came from ${fetch.holders} holders, not from both`);
      await fetcher.ask({ do: 'remove', digest });
      plainRates.push(rate(plain.tookMs));
      copyRates.push(rate(copy.tookMs));
      fetchRates.push(rate(fetch.tookMs));
      growths.push(growthMb);
      say(
        `round ${round}: plain TLS (${plain.cipher}) ${Math.round(rate(plain.tookMs))} MB/s, ${Math.round(rate(copy.tookMs))} MB/s into a file; fetch ${Math.round(rate(fetch.tookMs))} MB/s, grew by ${growthMb.toFixed(1)} MiB`,
      );
    }
    return [
      figure('plain TLS, what is received is dropped', median(plainRates), 'MB/s', { samples: plainRates }),
      figure('plain TLS, from file to file', median(copyRates), 'MB/s', { samples: copyRates }),
      figure('fetch from two holders', median(fetchRates), 'MB/s', { samples: fetchRates }),
      figure('fetch, share of plain TLS from file to file', share(fetchRates, copyRates), '%', { atLeast: 60 }),
      figure('fetch, share of plain TLS that keeps nothing', share(fetchRates, plainRates), '%', { atLeast: 60 }),
      figure('growth of the fetching node at its peak (PSS)', worst(growths), 'MiB', { atMost: 32, samples: growths }),
    ];
  } finally {
    await Promise.all(children.map((one) => one.end()));
    await rm(folder, { recursive: true, force: true });
  }
};
export default blob;

type PlainTls = { tookMs: number; cipher: string };

const share = (one: number[], other: number[]): number => (100 * median(one)) / median(other);
const rate = (tookMs: number): number => DROPLET_BYTES / 1000 / tookMs;

class Child {
  readonly #process: ChildProcess;

  /** `compileCache`: as the command line gives one to daemons. */
  constructor(compileCache: string) {
    this.#process = fork(fileURLToPath(new URL('./blob-node.ts', import.meta.url)), {
      env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    });
  }

  ask<R = unknown>(message: ToBlobNode): Promise<R> {
    return new Promise((resolve, reject) => {
      this.#process.once('message', ({ result, error }: { result: R; error?: string }) => {
        if (error === undefined) resolve(result);
        else reject(new Error(error));
      });
      this.#process.send(message);
    });
  }

  /** The process and its router. */
  async pids(): Promise<number[]> {
    const pid = this.#process.pid!;
    const tasks = await readdir(`/proc/${pid}/task`);
    const lists = await Promise.all(
      tasks.map((task) => readFile(`/proc/${pid}/task/${task}/children`, 'utf8').catch(() => '')),
    );
    return [pid, ...lists.flatMap((text) => text.trim().split(' ').filter(Boolean).map(Number))];
  }

  end(): Promise<void> {
    return new Promise((resolve) => {
      this.#process.once('exit', () => resolve());
      this.#process.disconnect();
    });
  }
}

/** How far the node's proportional set size rises above where it is now, until it is stopped. */
async function watchMemory(node: Child): Promise<{ stop(): Promise<number> }> {
  const pids = await node.pids();
  const before = await pssMiB(pids);
  let peak = before;
  let over = false;
  const watching = (async () => {
    while (!over) {
      peak = Math.max(peak, await pssMiB(pids));
      await pause(SAMPLE_MS);
    }
  })();
  return {
    async stop() {
      over = true;
      await watching;
      return peak - before;
    },
  };
}

async function pssMiB(pids: number[]): Promise<number> {
  let kib = 0;
  for (const pid of pids) {
    const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8');
    kib += Number(/^Pss: +(\d+) kB/m.exec(rollup)?.[1] ?? 0);
  }
  return kib / 1024;
}

function newIdentity() {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const nodeId = nodeIdOfPublicKey(Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url'));
  return {
    nodeId,
    tls: selfSignedCertificate(Buffer.from(privateKey.export({ format: 'jwk' }).d!, 'base64url'), nodeId),
  };
}

async function writeNoise(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'w');
  for (let done = 0; done < bytes; ) {
    const part = randomBytes(Math.min(MiB, bytes - done));
    await file.write(part);
    done += part.length;
  }
  await file.close();
}
