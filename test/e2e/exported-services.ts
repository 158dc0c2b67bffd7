// Services that are exported, as people on another host reach them: with the clients that they have, and an authority
// that they trust.

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Lan } from '../../scripts/lan.ts';
import { type LocalCluster, type LocalNode, ROOT } from '../../scripts/local-cluster.ts';

const run = promisify(execFile);
const TIMEOUT_MS = 20_000;

type Exported = {
  kind: string;
  host: string;
  port: number;
  user: string;
  password: string;
  database: string;
  /** Of its authority. */
  file: string;
};
type Call = { argv: string[]; env: Record<string, string> };

/** amqplib in a process of its own, which asks for the note with TLS or without. */
const AMQP = `
const amqplib = require('amqplib');
const { readFileSync } = require('node:fs');
const [uri, file] = [process.env.URI, process.env.CA];
(async () => {
  const options = file === '' ? {} : { ca: [readFileSync(file)] };
  const connection = await amqplib.connect(uri, options);
  const channel = await connection.createChannel();
  const message = await channel.get('first');
  console.log(String(message.content));
  channel.nack(message);
  await channel.close();
  await connection.close();
})().catch((error) => { console.error(error.message); process.exit(1); });`;

/** How each client reads the note \`first\`; without a file in clear. */
const CALLS: Readonly<Record<string, (to: Exported, file: string | undefined) => Call>> = {
  postgres: ({ host, port, user, password, database }, file) => ({
    argv: ['psql', '-Atc', "SELECT value FROM notes WHERE key = 'first'"],
    env: {
      ...{ PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password, PGDATABASE: database },
      ...{ PGCONNECT_TIMEOUT: '10', PGSSLMODE: file === undefined ? 'disable' : 'verify-ca' },
      ...{ PGSSLROOTCERT: file ?? '', PGCHANNELBINDING: file === undefined ? 'disable' : 'require' },
    },
  }),
  mysql: ({ host, port, user, password, database }, file) => ({
    argv: [
      ...['mariadb', '-h', host, '-P', String(port), '-u', user, database],
      ...(file === undefined ? ['--skip-ssl'] : [`--ssl-ca=${file}`]),
      ...['-Ne', "SELECT value FROM notes WHERE name = 'first'"],
    ],
    env: { MYSQL_PWD: password },
  }),
  redis: ({ host, port, user, password }, file) => ({
    argv: [
      ...['redis-cli', '-e', '-h', host, '-p', String(port), '--user', user],
      ...(file === undefined ? [] : ['--tls', '--cacert', file]),
      ...['get', 'first'],
    ],
    env: { REDISCLI_AUTH: password },
  }),
  rabbitmq: ({ host, port, user, password }, file) => ({
    argv: [process.execPath, '-e', AMQP],
    env: {
      URI: `${file === undefined ? 'amqp' : 'amqps'}://${user}:${password}@${host}:${port}/main`,
      CA: file ?? '',
    },
  }),
};

export class ExportedServices {
  readonly #cluster: LocalCluster;
  readonly #from: { host: string; lan: Lan };
  readonly #services = new Map<string, Exported>();

  constructor(cluster: LocalCluster, { from, lan }: { from: string; lan: Lan }) {
    this.#cluster = cluster;
    this.#from = { host: from, lan };
  }

  async open(through: LocalNode, { name, node, port }: { name: string; node: string; port: number }): Promise<void> {
    const file = join(this.#cluster.folder, `${name}.pem`);
    const where = `${this.#from.lan.addressOf(node)}:${port}`;
    const args = ['service', 'export', name, where, '--node', node, '--certificate', file];
    const made = await this.#cluster.json<Omit<Exported, 'file'>>(through, args, { timeoutMs: 60_000 });
    this.#services.set(name, { ...made, file });
  }

  /**
   * The note `first`, or `refused: ` and what the client says. `trusting`: the authority of which service.
   */
  async read(name: string, trusting = name): Promise<string> {
    return this.#read(name, this.#services.get(trusting)!.file);
  }

  async readInClear(name: string): Promise<string> {
    return this.#read(name, undefined);
  }

  async #read(name: string, file: string | undefined): Promise<string> {
    const to = this.#services.get(name)!;
    const { argv, env } = CALLS[to.kind]!(to, file);
    const namespace = `--net=/run/netns/${this.#from.lan.namespaceOf(this.#from.host)}`;
    try {
      const options = { env: { ...process.env, ...env }, timeout: TIMEOUT_MS, cwd: ROOT };
      const { stdout } = await run('nsenter', [namespace, '--', ...argv], options);
      return stdout.trim();
    } catch (error) {
      const { code, stderr = '', message } = error as Error & { code?: unknown; stderr?: string };
      // One that was not even run, or did not end, says nothing of the service.
      if (typeof code !== 'number') throw new Error(`${name}: ${message}`);
      return `refused: ${stderr.trim()}`;
    }
  }
}
