// The engines' own benchmark programs, as anybody would start them: one run each, told where and as whom.

import { output } from './inside.ts';

/** Where from (a command that enters a network), and what to. */
export type Way = { name: string; within: (command: string[]) => string[]; host: string };

/** As `DATABASE_URL` and `REDIS_URL` have it. */
export type Credentials = { user: string; password: string; database: string };

export const credentialsIn = (url: string): Credentials => {
  const { username, password, pathname } = new URL(url);
  return { user: decodeURIComponent(username), password: decodeURIComponent(password), database: pathname.slice(1) };
};

const PG_CLIENTS = 8;
const REDIS_CLIENTS = 50;
const PIPELINE = 16;
const RUN_TIMEOUT_MS = 120_000;

/** Fills the tables of pgbench: 100,000 rows for each unit of scale. */
export async function fillPostgres(way: Way, credentials: Credentials, scale: number): Promise<void> {
  await pgbench(way, credentials, ['--initialize', '--quiet', '--scale', String(scale)]);
}

/** Transactions in a second, as pgbench says: its own mix of updates (TPC-B), or selects alone. */
export async function postgresRate(
  way: Way,
  credentials: Credentials,
  work: 'write' | 'select',
  seconds: number,
): Promise<number> {
  const printed = await pgbench(way, credentials, [
    ...['--no-vacuum', '--client', String(PG_CLIENTS), '--jobs', '2', '--time', String(seconds)],
    ...(work === 'select' ? ['--select-only'] : []),
  ]);
  return numberIn(printed, /tps = ([\d.]+) \(without initial connection time\)/);
}

async function pgbench(way: Way, { user, password, database }: Credentials, args: string[]): Promise<string> {
  const command = way.within(['pgbench', '--host', way.host, '--username', user, ...args, database]);
  const env = { ...process.env, PGPASSWORD: password };
  return await output(command, { env, timeoutMs: RUN_TIMEOUT_MS });
}

export type RedisWork = 'plain' | 'pipelined' | 'bulk';

/** GETs in a second of 3 bytes, or of 1 MiB (bulk). `tls`: of a server of ours, which the files let it trust. */
export async function redisRate(
  way: Way,
  work: RedisWork,
  requests: number,
  options: { credentials?: Credentials; tls?: { ca: string; port: number } } = {},
): Promise<number> {
  const { credentials, tls } = options;
  const sizes = { plain: [], pipelined: ['-P', String(PIPELINE)], bulk: ['-d', String(1024 ** 2)] };
  const clients = work === 'bulk' ? 4 : REDIS_CLIENTS;
  const run = (test: string, count: number): Promise<string> =>
    output(
      way.within([
        ...['redis-benchmark', '-h', way.host, '-t', test, '-n', String(count), '-c', String(clients), '--csv'],
        ...sizes[work],
        ...(credentials === undefined ? [] : ['--user', credentials.user, '-a', credentials.password]),
        ...(tls === undefined ? [] : ['-p', String(tls.port), '--tls', '--cacert', tls.ca]),
      ]),
      { timeoutMs: RUN_TIMEOUT_MS },
    );
  // What is then read.
  if (work === 'bulk') await run('set', clients);
  return numberIn(await run('get', requests), /^"GET","([\d.]+)"/m);
}

function numberIn(printed: string, pattern: RegExp): number {
  const found = pattern.exec(printed)?.[1];
  if (found === undefined) throw new Error(`no ${pattern} in: ${printed.slice(-500)}`);
  return Number(found);
}
