// PostgreSQL as a kind of service. One database of the service's name, which belongs to a role nobody logs in as;
// every access is a login role that acts as that one, so that what one app makes is the others' to alter. Pure.

import type { Access, Engine, Machine, ServiceCommand, ServiceContext, ServiceKind } from '../ports/services.ts';
import { databaseName, quoted, word } from './names.ts';
import { ARCHIVE_SCRIPT, archiveScript, archiveSettings, postgresArchive } from './postgres-archive.ts';
import { findPrograms, versionIn } from './programs.ts';
import {
  bashCommand,
  CERTIFICATE,
  CERTIFICATE_KEY,
  certificateFiles,
  DATA,
  restoreCommand,
  SPOOL,
  serviceScript,
  UNFINISHED,
} from './scripts.ts';

const NAME = 'postgres';
const PORT = 5432;
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
/** Of the engine itself: its administrator, whom these connections are kept for, and the owner of all that is made. */
const ADMIN = 'peer';
const OWNER = 'owner';
const ADMIN_CONNECTIONS = 5;
/** Who a restore loads as, with an access's rights; there only while it lasts. */
const RESTORER = 'peerrestorer';
const RESTORING = 'peer_restoring';
const REPLACED = 'peer_replaced';
const STOP_GRACE_MS = 60_000;
const WAL_BYTES_MAX = 256 * MIB;
const TERMINATE_TIMEOUT_MS = 5_000;
const SHUT_OUT_WAIT_MS = 500;
const SHUT_OUT_ATTEMPTS_MAX = 20;

const PROGRAMS = ['postgres', 'initdb', 'psql', 'pg_isready', 'pg_dump', 'pg_restore', 'pg_basebackup'];

async function find(machine: Machine): Promise<Engine[]> {
  const engines = new Map<number, Engine>();
  for (const pattern of ['/usr/pgsql-*/bin/postgres', '/usr/lib/postgresql/*/bin/postgres']) {
    for (const path of await machine.find(pattern)) {
      const folder = path.slice(0, path.lastIndexOf('/'));
      const programs = await findPrograms(
        machine,
        Object.fromEntries(PROGRAMS.map((name) => [name, [`${folder}/${name}`]])),
      );
      const version = versionIn(await machine.firstLine([path, '--version']), 1);
      if (programs !== undefined && version !== undefined) engines.set(Number(version), { version, programs });
    }
  }
  return [...engines].sort(([a], [b]) => b - a).map(([, engine]) => engine);
}

function configuration({ service, plan }: ServiceContext): string {
  const archived = service.wal === true ? archiveSettings : {};
  const mib = (bytes: number): string => `${Math.max(1, Math.floor(bytes / MIB))}MB`;
  const settings: Record<string, string> = {
    listen_addresses: '*',
    port: String(PORT),
    unix_socket_directories: '/data',
    max_connections: String(plan.connections + ADMIN_CONNECTIONS),
    superuser_reserved_connections: String(ADMIN_CONNECTIONS),
    shared_buffers: mib(service.memoryBytes / 4),
    effective_cache_size: mib(service.memoryBytes / 2),
    work_mem: '2MB',
    maintenance_work_mem: mib(Math.max(16 * MIB, service.memoryBytes / 16)),
    max_wal_size: mib(Math.max(64 * MIB, Math.min(WAL_BYTES_MAX, service.storageBytes / 4))),
    min_wal_size: '48MB',
    wal_log_hints: 'on',
    jit: 'off',
    ssl: 'on',
    ssl_cert_file: CERTIFICATE,
    ssl_key_file: CERTIFICATE_KEY,
    password_encryption: 'scram-sha-256',
    log_destination: 'stderr',
    logging_collector: 'off',
    log_line_prefix: '[%p] ',
    log_timezone: 'UTC',
    timezone: 'UTC',
    ...archived,
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name} = '${value}'\n`)
    .join('');
}

/** The administrator comes in through the socket alone, accesses to the service's database alone. */
const accessRules = (database: string): string =>
  [
    `local all ${ADMIN} scram-sha-256`,
    `local replication ${ADMIN} scram-sha-256`,
    `local ${RESTORING} ${RESTORER} scram-sha-256`,
    `host all ${ADMIN},${RESTORER} all reject`,
    `host "${database}" all all scram-sha-256`,
    '',
  ].join('\n');

/** Single-user mode takes one statement a line. */
const setUp = (database: string): string =>
  [
    `CREATE ROLE ${OWNER} NOLOGIN;`,
    `CREATE DATABASE "${database}" OWNER ${OWNER};`,
    `ALTER ROLE ${ADMIN} SET log_min_error_statement = 'panic';`,
    '',
  ].join('\n');

function programOf(context: ServiceContext): ReturnType<ServiceKind['program']> {
  const { service, engine, adminPassword } = context;
  const { postgres = '', initdb = '' } = engine.programs;
  return {
    command: serviceScript({
      kind: NAME,
      version: service.version,
      begin: `
  ${quoted(initdb)} -D ${UNFINISHED} -U ${ADMIN} -A scram-sha-256 --pwfile=/data/admin-password -E UTF8 \\
    --locale=C.UTF-8 --data-checksums --no-instructions >/dev/null
  ${quoted(postgres)} --single -D ${UNFINISHED} -c max_connections=10 -c shared_buffers=16MB postgres \\
    </data/setup.sql >/dev/null`,
      serve: `exec ${quoted(postgres)} -D ${DATA} -c config_file=/data/postgresql.conf -c hba_file=/data/pg_hba.conf`,
    }),
    env: { TZ: 'UTC' },
    files: {
      '/data/admin-password': word(adminPassword),
      '/data/postgresql.conf': configuration(context),
      '/data/pg_hba.conf': accessRules(databaseName(service.name)),
      '/data/setup.sql': setUp(databaseName(service.name)),
      ...(service.wal === true ? { [ARCHIVE_SCRIPT]: archiveScript(context) } : {}),
      ...certificateFiles(context),
    },
    // "Fast": SIGTERM would wait until the last client has gone.
    stopSignal: 'SIGINT',
    stopGraceMs: STOP_GRACE_MS,
  };
}

/**
 * The database belongs to the accesses: what they have set for it, or made in it under the name of something of the
 * engine's own, must not rule over what the administrator does there.
 */
const OWN_SETTINGS = {
  client_min_messages: 'warning',
  role: 'none',
  search_path: 'pg_catalog',
  default_transaction_read_only: 'off',
  statement_timeout: '0',
  lock_timeout: '0',
};

const optionsOf = (settings: Readonly<Record<string, string>>): string =>
  Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');

const admin = ({ adminPassword }: ServiceContext): Record<string, string> => ({
  PGPASSWORD: adminPassword,
  PGCONNECT_TIMEOUT: '10',
  PGOPTIONS: optionsOf(OWN_SETTINGS),
});

/** Statements come through stdin: in argv, others would see them. They run in a database that no access gets into. */
function sql(context: ServiceContext, statements: string): ServiceCommand {
  return {
    argv: [
      context.engine.programs.psql ?? '',
      ...['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1', '-h', '/data', '-U', ADMIN, '-d', 'postgres'],
    ],
    env: admin(context),
    stdin: statements,
  };
}

const terminated = (condition: string): string =>
  `SELECT count(pg_terminate_backend(pid, ${TERMINATE_TIMEOUT_MS})) FROM pg_stat_activity WHERE ${condition} \\g /dev/null\n`;

/**
 * Nobody comes in as the user any more. Every role may change its own password, and whoever has begun to and does not
 * end holds its record: so its connections are ended first, as often as it takes.
 */
const shutOut = (user: string): string => `DO $$
BEGIN
  SET LOCAL lock_timeout = '${SHUT_OUT_WAIT_MS}ms';
  FOR attempt IN 1..${SHUT_OUT_ATTEMPTS_MAX} LOOP
    PERFORM pg_stat_clear_snapshot();
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '${user}';
    BEGIN
      ALTER ROLE "${user}" NOLOGIN;
      RETURN;
    EXCEPTION WHEN lock_not_available OR internal_error THEN
      CONTINUE;
    END;
  END LOOP;
  RAISE 'connections of the access do not end';
END
$$;
`;

function grant(context: ServiceContext, access: Access): ServiceCommand {
  const [user, password] = [word(access.user), word(access.password)];
  return sql(
    context,
    `BEGIN;
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '${user}') AS missing \\gset
\\if :missing
CREATE ROLE "${user}";
\\endif
ALTER ROLE "${user}" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '${password}';
GRANT ${OWNER} TO "${user}";
ALTER ROLE "${user}" SET role = '${OWNER}';
COMMIT;
`,
  );
}

function revoke(context: ServiceContext, name: string): ServiceCommand {
  const user = word(name);
  return sql(
    context,
    `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = '${user}') AS there \\gset
\\if :there
${shutOut(user)}${terminated(`usename = '${user}'`)}
\\connect "${databaseName(context.service.name)}"
BEGIN;
REASSIGN OWNED BY "${user}" TO ${OWNER};
DROP OWNED BY "${user}";
DROP ROLE "${user}";
COMMIT;
\\endif
`,
  );
}

function restore(context: ServiceContext): ServiceCommand {
  const { psql = '', pg_restore = '' } = context.engine.programs;
  const database = databaseName(context.service.name);
  return restoreCommand(
    context,
    `
admin() { ${quoted(psql)} -X -q -A -t -v ON_ERROR_STOP=1 -h /data -U ${ADMIN} -d "$1"; }
[ "$(head -c 5 ${SPOOL})" = PGDMP ] || fail 'this is no backup of PostgreSQL: pg_dump -Fc makes one'
problem=$(${quoted(pg_restore)} -f /dev/null ${SPOOL} 2>&1) || fail "the backup is cut, damaged or of a newer version: \${problem%%$'\\n'*}"
from=$(${quoted(pg_restore)} -l ${SPOOL} | sed -n 's/^; *Dumped from database version: \\([0-9]*\\).*/\\1/p')
[ "\${from:-0}" -le ${quoted(context.service.version)} ] || fail "the backup is of postgres $from, which postgres ${context.service.version} does not read"
password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \\n')
leave() {
  printf '%s\\n' 'DROP DATABASE IF EXISTS ${RESTORING} WITH (FORCE);' 'DROP ROLE IF EXISTS ${RESTORER};' | admin postgres
}
leave
# Left when an earlier one was cut off after the exchange.
echo 'DROP DATABASE IF EXISTS ${REPLACED} WITH (FORCE);' | admin postgres
trap 'leave >/dev/null 2>&1 || :; rm -rf ${SPOOL}' EXIT
admin postgres <<END
CREATE DATABASE ${RESTORING} OWNER ${OWNER};
CREATE ROLE ${RESTORER} LOGIN PASSWORD '$password';
GRANT ${OWNER} TO ${RESTORER};
ALTER ROLE ${RESTORER} SET role = '${OWNER}';
END
problem=$(PGPASSWORD=$password PGOPTIONS= ${quoted(pg_restore)} --no-owner --no-privileges --exit-on-error --single-transaction \\
  -h /data -U ${RESTORER} -d ${RESTORING} ${SPOOL} 2>&1) || fail "the backup cannot be loaded: \${problem%%$'\\n'*}"
for attempt in 1 2 3 4 5; do
  if problem=$(admin postgres 2>&1 <<'END'
BEGIN;
${terminated(`datname IN ('${database}', '${RESTORING}')`)}
ALTER DATABASE "${database}" RENAME TO ${REPLACED};
ALTER DATABASE ${RESTORING} RENAME TO "${database}";
COMMIT;
END
  ); then
    echo 'DROP DATABASE ${REPLACED} WITH (FORCE);' | admin postgres
    exit 0
  fi
done
fail "the restored database cannot take the place of the other: \${problem%%$'\\n'*}"`,
    { env: admin(context) },
  );
}

function check(context: ServiceContext): ServiceCommand {
  const { psql = '', pg_dump = '' } = context.engine.programs;
  const database = databaseName(context.service.name);
  return bashCommand(
    `
# Reads every row, and so the checksum of every page of a table.
problem=$(${quoted(pg_dump)} -h /data -U ${ADMIN} -d ${database} -f /dev/null 2>&1) || fail "not all of it can be read: \${problem%%$'\\n'*}"
${quoted(psql)} -X -q -A -t -v ON_ERROR_STOP=1 -h /data -U ${ADMIN} -d ${database} -c "
  SELECT count(*) || ' tables read, ' || pg_size_pretty(pg_database_size(current_database()))
  FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
  WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_toast'"`,
    { env: admin(context) },
  );
}

export const postgres: ServiceKind = {
  name: NAME,
  tags: ['postgres', 'postgresql', 'relational', 'sql', 'database'],
  port: PORT,
  debianPackage: 'postgresql',
  startsTls: 'postgres',
  plans: {
    small: { memoryBytes: 256 * MIB, storageBytes: GIB, connections: 40 },
    medium: { memoryBytes: GIB, storageBytes: 10 * GIB, connections: 100 },
    large: { memoryBytes: 4 * GIB, storageBytes: 50 * GIB, connections: 200 },
  },
  least: { memoryBytes: 64 * MIB, storageBytes: 256 * MIB },
  find,
  program: programOf,
  probe: ({ engine }) => ({
    argv: [engine.programs.pg_isready ?? '', '-q', '-h', '/data', '-t', '1'],
  }),
  accesses: (context) =>
    sql(
      context,
      `SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_' AND rolname NOT IN ('${ADMIN}', '${OWNER}', '${RESTORER}') ORDER BY 1;\n`,
    ),
  grant,
  revoke,
  usage: (context) =>
    sql(
      context,
      `SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> '${ADMIN}') || ' ' || pg_database_size('${databaseName(context.service.name)}');\n`,
    ),
  backup: (context) => ({
    argv: [
      context.engine.programs.pg_dump ?? '',
      ...['-Fc', '-Z', '1', '-h', '/data', '-U', ADMIN, '-d', databaseName(context.service.name)],
    ],
    env: admin(context),
  }),
  restore,
  check,
  archive: postgresArchive,
  backupMagic: Buffer.from('PGDMP'),
  credentials({ user, password, database }, { host, port }) {
    return {
      uri: uriOf({ user, password, database }, { host, port }),
      jdbcUrl: `jdbc:postgresql://${host}:${port}/${database}?user=${user}&password=${password}`,
      hostname: host,
      host,
      port,
      username: user,
      user,
      password,
      name: database,
      database,
      dbname: database,
    };
  },
  environment(access, endpoint) {
    const { user, password, database } = access;
    const { host, port } = endpoint;
    const uri = uriOf(access, endpoint);
    return {
      DATABASE_URL: uri,
      POSTGRES_URL: uri,
      DB_URL: uri,
      DB_CONNECTION: 'pgsql',
      SPRING_DATASOURCE_URL: `jdbc:postgresql://${host}:${port}/${database}`,
      SPRING_DATASOURCE_USERNAME: user,
      SPRING_DATASOURCE_PASSWORD: password,
      PGHOST: host,
      PGPORT: String(port),
      PGUSER: user,
      PGPASSWORD: password,
      PGDATABASE: database,
    };
  },
};

/** `postgresql:`, as SQLAlchemy refuses the shorter one and all others take either. */
const uriOf = ({ user, password, database }: Access, { host, port }: { host: string; port: number }): string =>
  `postgresql://${user}:${password}@${host}:${port}/${database}`;
