// A Redis server of the benchmark's own behind TLS, between two hosts: what bulk over the cluster's link is held
// beside.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { run, waitFor } from '../../local-cluster.ts';
import { output } from './inside.ts';

const PORT = 46_379;
const START_TIMEOUT_MS = 20_000;

export class TlsRedis {
  readonly ca: string;
  readonly port = PORT;
  readonly #process: ChildProcess;

  private constructor(ca: string, process: ChildProcess) {
    this.ca = ca;
    this.#process = process;
  }

  /** On the host's address, with a certificate of its own for it. `from`: another host, which reaches it. */
  static async start(
    folder: string,
    at: { host: string; within: (command: string[]) => string[]; from: (command: string[]) => string[] },
  ): Promise<TlsRedis> {
    await mkdir(folder);
    const [key, certificate] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
    await output([
      ...['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'],
      ...['-days', '2', '-subj', '/CN=bench', '-addext', `subjectAltName=IP:${at.host}`],
      ...['-keyout', key, '-out', certificate],
    ]);
    const files = ['--tls-cert-file', certificate, '--tls-key-file', key, '--tls-ca-cert-file', certificate];
    const [program, ...args] = at.within([
      ...['redis-server', '--bind', at.host, '--port', '0', '--tls-port', String(PORT), '--tls-auth-clients', 'no'],
      // Without a password it would answer its own host alone.
      ...['--protected-mode', 'no', '--save', '', '--dir', folder, ...files],
    ]);
    const process = spawn(program!, args, { stdio: 'ignore' });
    const ping = at.from(['redis-cli', '-h', at.host, '-p', String(PORT), '--tls', '--cacert', certificate, 'ping']);
    await waitFor('Redis behind TLS', START_TIMEOUT_MS, async () => (await run(ping)).stdout.includes('PONG'));
    return new TlsRedis(certificate, process);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.kill('SIGKILL');
    await ended;
  }
}
