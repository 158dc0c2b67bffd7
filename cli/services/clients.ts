// Which program people use with which kind of service, how it is told where that is, and the address as a URL. What a
// node says never chooses what is run here. Secrets go into the environment or a private file, never into arguments.

import { access as accessible, constants, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, isAbsolute, join } from 'node:path';

export type Access = { user: string; password: string; database: string };
export type Endpoint = { host: string; port: number };

/** `file`: kept in a private file while the program runs; its path takes the place of FILE in the arguments. */
export type ClientCall = { args: string[]; env?: Record<string, string | undefined>; file?: string };

type KindOfClient = {
  /** By the order of choice. */
  programs: readonly string[];
  /** Debian's package. */
  package: string;
  call(access: Access, endpoint: Endpoint): ClientCall;
};

export const FILE = '\u0000FILE';

export const CLIENTS: Readonly<Record<string, KindOfClient>> = {
  postgres: {
    programs: ['psql'],
    package: 'postgresql-client',
    call: ({ user, password, database }, { host, port }) => ({
      args: [],
      env: {
        ...{ PGHOST: host, PGPORT: String(port), PGUSER: user, PGPASSWORD: password, PGDATABASE: database },
        // Of the person's other databases: they would lead elsewhere.
        ...{ PGHOSTADDR: undefined, PGSERVICE: undefined, PGSSLMODE: undefined, PGSSLROOTCERT: undefined },
      },
    }),
  },
  mysql: {
    programs: ['mariadb', 'mysql'],
    package: 'mariadb-client',
    call: ({ user, password, database }, { host, port }) => ({
      // Before all others, or it is not read.
      args: [`--defaults-extra-file=${FILE}`, database],
      file: `[client]\nprotocol=tcp\nhost=${host}\nport=${port}\nuser=${user}\npassword=${password}\n`,
      env: { MYSQL_PWD: undefined, MYSQL_HOST: undefined, MYSQL_TCP_PORT: undefined },
    }),
  },
  redis: {
    programs: ['redis-cli', 'valkey-cli'],
    package: 'redis-tools',
    call: ({ user, password }, { host, port }) => ({
      args: ['-h', host, '-p', String(port), '--user', user],
      env: { REDISCLI_AUTH: password, VALKEYCLI_AUTH: password },
    }),
  },
};

/**
 * As client libraries take it; `isSecure`: with TLS. Undefined: a kind that this version does not know.
 */
export function uriOf(
  kind: string,
  { user, password, database }: Access,
  { host, port }: Endpoint,
  { isSecure = false }: { isSecure?: boolean } = {},
): string | undefined {
  const at = `${user}:${password}@${host.includes(':') ? `[${host}]` : host}:${port}`;
  switch (kind) {
    case 'postgres':
      return `postgresql://${at}/${database}${isSecure ? '?sslmode=require' : ''}`;
    case 'mysql':
      return `mysql://${at}/${database}`;
    case 'redis':
      return `${isSecure ? 'rediss' : 'redis'}://${at}`;
    case 'rabbitmq':
      return `${isSecure ? 'amqps' : 'amqp'}://${at}/main`;
    case 'nats':
      return `${isSecure ? 'tls' : 'nats'}://${at}`;
    default:
      return undefined;
  }
}

/** The first of the programs that the path has. */
export async function findProgram(names: readonly string[]): Promise<string | undefined> {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
  for (const name of names) {
    for (const folder of folders) {
      const path = join(folder, name);
      if (await isExecutable(path)) return path;
    }
  }
  return undefined;
}

const isExecutable = (path: string): Promise<boolean> =>
  accessible(path, constants.X_OK).then(
    () => true,
    () => false,
  );

/** Runs `work` with the arguments, and leaves no file behind. */
export async function withFile<T>({ args, file }: ClientCall, work: (args: string[]) => Promise<T>): Promise<T> {
  if (file === undefined) return work(args);
  const folder = await mkdtemp(join(tmpdir(), 'peer-connect-'));
  try {
    const path = join(folder, 'client.cnf');
    await writeFile(path, file, { mode: 0o600, flag: 'wx' });
    return await work(args.map((arg) => arg.replace(FILE, path)));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
