// MariaDB as a kind of service, for whatever speaks MySQL. One database of the service's name; every access is a user
// with all rights in it and none elsewhere. Pure.

import type { Access, Engine, Machine, ServiceCommand, ServiceContext, ServiceKind } from '../ports/services.ts';
import { databaseName, quoted, word } from './names.ts';
import { anywhere, findPrograms, versionIn } from './programs.ts';
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

const NAME = 'mysql';
const PORT = 3306;
/** Connections of Peer's own, which those of accesses cannot use up. */
const ADMIN_PORT = 3307;
const ADMIN_CONNECTIONS = 8;
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const ADMIN = 'root';
/**
 * Whom views, routines and triggers of a restored backup belong to, with an access's rights. It can log in while a
 * restore lasts, and not otherwise.
 */
const KEEPER = 'keeper';
const RESTORING = 'peer_restoring';
const STOP_GRACE_MS = 60_000;

async function find(machine: Machine): Promise<Engine[]> {
  const programs = await findPrograms(machine, {
    server: [...anywhere('mariadbd'), '/usr/libexec/mariadbd'],
    install: anywhere('mariadb-install-db'),
    client: anywhere('mariadb'),
    admin: anywhere('mariadb-admin'),
    dump: anywhere('mariadb-dump'),
    check: anywhere('mariadb-check'),
  });
  if (programs === undefined) return [];
  const version = versionIn((await machine.firstLine([programs.server ?? '', '--version']))?.split(' Ver ')[1], 2);
  return version === undefined ? [] : [{ version, programs }];
}

function configuration({ service, plan }: ServiceContext): string {
  const settings: Record<string, string> = {
    basedir: '/usr',
    datadir: DATA,
    socket: '/data/mysql.sock',
    pid_file: '/data/mysql.pid',
    init_file: '/data/setup.sql',
    bind_address: '0.0.0.0',
    port: String(PORT),
    extra_port: String(ADMIN_PORT),
    extra_max_connections: String(ADMIN_CONNECTIONS),
    max_connections: String(plan.connections),
    skip_name_resolve: 'on',
    ssl_cert: CERTIFICATE,
    ssl_key: CERTIFICATE_KEY,
    local_infile: 'off',
    performance_schema: 'off',
    character_set_server: 'utf8mb4',
    lc_messages_dir: '/usr/share/mysql',
    tmpdir: '/data/tmp',
    table_open_cache: '400',
    innodb_buffer_pool_size: String(Math.floor(service.memoryBytes / 4 / MIB) * MIB),
    innodb_log_file_size: `${48 * MIB}`,
    aria_pagecache_buffer_size: `${8 * MIB}`,
    key_buffer_size: `${MIB}`,
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
  return `[mariadbd]\n${lines.join('')}`;
}

/** Run at every start, before anyone is let in: each statement may be repeated. */
const setUp = ({ service, adminPassword }: ServiceContext): string =>
  [
    `CREATE DATABASE IF NOT EXISTS \`${databaseName(service.name)}\` CHARACTER SET utf8mb4;`,
    `ALTER USER ${ADMIN}@localhost IDENTIFIED BY '${word(adminPassword)}';`,
    `CREATE USER IF NOT EXISTS ${ADMIN}@127.0.0.1;`,
    `ALTER USER ${ADMIN}@127.0.0.1 IDENTIFIED BY '${word(adminPassword)}';`,
    `GRANT ALL PRIVILEGES ON *.* TO ${ADMIN}@127.0.0.1 WITH GRANT OPTION;`,
    `CREATE USER IF NOT EXISTS ${KEEPER}@localhost ACCOUNT LOCK;`,
    `ALTER USER ${KEEPER}@localhost ACCOUNT LOCK;`,
    `GRANT ALL PRIVILEGES ON ${pattern(databaseName(service.name))}.* TO ${KEEPER}@localhost;`,
    `GRANT ALL PRIVILEGES ON ${pattern(RESTORING)}.* TO ${KEEPER}@localhost;`,
    '',
  ].join('\n');

/** A name in GRANT is a pattern, in which an underscore stands for any character. */
const pattern = (database: string): string => `\`${database.replaceAll('_', '\\_')}\``;

function programOf(context: ServiceContext): ReturnType<ServiceKind['program']> {
  const { service, engine } = context;
  const { server = '', install = '' } = engine.programs;
  return {
    command: serviceScript({
      kind: NAME,
      version: service.version,
      begin: `
  rm -rf /data/tmp
  mkdir /data/tmp
  ${quoted(install)} --no-defaults --basedir=/usr --datadir=${UNFINISHED} --tmpdir=/data/tmp --skip-test-db \\
    --auth-root-authentication-method=normal --skip-name-resolve --innodb-log-file-size=${48 * MIB} >/dev/null`,
      serve: `
rm -rf /data/tmp
mkdir /data/tmp
exec ${quoted(server)} --defaults-file=/data/my.cnf`,
    }),
    env: { TZ: 'UTC' },
    files: {
      '/data/my.cnf': configuration(context),
      '/data/setup.sql': setUp(context),
      ...certificateFiles(context),
    },
    stopSignal: 'SIGTERM',
    stopGraceMs: STOP_GRACE_MS,
  };
}

const admin = ({ adminPassword }: ServiceContext): Record<string, string> => ({ MYSQL_PWD: adminPassword });

/** How Peer's own commands come in, whatever the accesses' connections are. */
const WAY_IN = `--no-defaults --protocol=tcp --host=127.0.0.1 --port=${ADMIN_PORT} --user=${ADMIN}`;

const client = ({ engine }: ServiceContext): string =>
  `${quoted(engine.programs.client ?? '')} ${WAY_IN} --batch --skip-column-names`;

/** Statements come through stdin: in argv, others would see them. */
function sql(context: ServiceContext, statements: string): ServiceCommand {
  return bashCommand(`${client(context)}`, { env: admin(context), stdin: statements });
}

function grant(context: ServiceContext, access: Access): ServiceCommand {
  const [user, password] = [word(access.user), word(access.password)];
  return sql(
    context,
    `CREATE USER IF NOT EXISTS '${user}'@'%' ACCOUNT LOCK;
GRANT ALL PRIVILEGES ON ${pattern(databaseName(context.service.name))}.* TO '${user}'@'%';
ALTER USER '${user}'@'%' IDENTIFIED BY '${password}' ACCOUNT UNLOCK;
`,
  );
}

/** A user that views or routines belong to stays, locked: without it they would fail for everyone. */
function revoke(context: ServiceContext, name: string): ServiceCommand {
  const user = word(name);
  const definer = `DEFINER = '${user}@%'`;
  return bashCommand(
    `
ask() { ${client(context)}; }
ask <<'END'
ALTER USER IF EXISTS '${user}'@'%' ACCOUNT LOCK;
KILL CONNECTION USER '${user}';
END
owned=$(ask <<'END'
SELECT (SELECT COUNT(*) FROM information_schema.VIEWS WHERE ${definer})
  + (SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ${definer})
  + (SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE ${definer})
  + (SELECT COUNT(*) FROM information_schema.EVENTS WHERE ${definer});
END
)
[ "$owned" != 0 ] || echo "DROP USER IF EXISTS '${user}'@'%';" | ask`,
    { env: admin(context) },
  );
}

const ACCESSES = `SELECT User FROM mysql.global_priv
WHERE Host = '%' AND User <> '' AND COALESCE(JSON_VALUE(Priv, '$.account_locked'), '0') NOT IN ('1', 'true')
UNION SELECT USER FROM information_schema.PROCESSLIST
WHERE USER NOT IN ('${ADMIN}', '${KEEPER}', 'system user', 'event_scheduler', 'unauthenticated user') ORDER BY 1;
`;

/** Loaded twice: first beside the data, which proves it, then in its place. A name cannot be exchanged for another. */
function restore(context: ServiceContext): ServiceCommand {
  const { client: program = '' } = context.engine.programs;
  const database = databaseName(context.service.name);
  return restoreCommand(
    context,
    `
ask() { ${client(context)}; }
# Compressed as backups are, or a dump as it comes.
if [ "$(od -An -N2 -tx1 ${SPOOL})" = ' 1f 8b' ]; then read_backup() { gzip -dc ${SPOOL}; }; else read_backup() { cat ${SPOOL}; }; fi
begins=$( { read_backup 2>/dev/null || :; } | head -c 4096 | tr -d '\\0') || :
[[ $begins == *'-- MariaDB dump'* || $begins == *'-- MySQL dump'* ]] || fail 'this is no backup of MariaDB or MySQL: mariadb-dump makes one'
ends=$(read_backup 2>/dev/null | tail -c 256 | tr -d '\\0') || fail 'the backup is cut or damaged'
[[ $ends == *'-- Dump completed'* ]] || fail 'the backup is cut: it does not end as a dump does'
password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \\n')
leave() {
  printf '%s\\n' 'DROP DATABASE IF EXISTS ${RESTORING};' 'ALTER USER ${KEEPER}@localhost ACCOUNT LOCK;' | ask
}
trap 'leave >/dev/null 2>&1 || :; rm -rf ${SPOOL}' EXIT
leave
echo "ALTER USER ${KEEPER}@localhost IDENTIFIED BY '$password' ACCOUNT UNLOCK;" | ask
# What belongs to users that are not here belongs to the one that loads it. A dump is also orders to the client, which
# would start programs for it.
load() {
  printf 'DROP DATABASE IF EXISTS \`%s\`;\\nCREATE DATABASE \`%s\` CHARACTER SET utf8mb4;\\n' "$1" "$1" | ask
  problem=$(read_backup \\
    | sed -E '/^(CREATE |\\/\\*!50)/s/DEFINER=\`[^\`]*\`@\`[^\`]*\`//' \\
    | MYSQL_PWD=$password ${quoted(program)} --no-defaults --loose-sandbox --socket=/data/mysql.sock --user=${KEEPER} "$1" 2>&1) \\
    || fail "the backup cannot be loaded: \${problem%%$'\\n'*}"
}
load ${RESTORING}
echo 'DROP DATABASE ${RESTORING};' | ask
load ${database}`,
    { env: admin(context) },
  );
}

function check(context: ServiceContext): ServiceCommand {
  return bashCommand(
    `
answer=$(${quoted(context.engine.programs.check ?? '')} ${WAY_IN} --databases ${databaseName(context.service.name)} 2>&1) \\
  || fail "it could not be looked at: \${answer%%$'\\n'*}"
if bad=$(grep -v -E '[[:space:]]OK$|^$' <<<"$answer"); then fail "not all of it is whole: \${bad%%$'\\n'*}"; fi
echo "$(grep -c -E '[[:space:]]OK$' <<<"$answer" || :) tables are whole"`,
    { env: admin(context) },
  );
}

const uriOf = ({ user, password, database }: Access, { host, port }: { host: string; port: number }): string =>
  `mysql://${user}:${password}@${host}:${port}/${database}`;

export const mysql: ServiceKind = {
  name: NAME,
  tags: ['mysql', 'mariadb', 'relational', 'sql', 'database'],
  port: PORT,
  debianPackage: 'mariadb-server',
  startsTls: 'mysql',
  plans: {
    small: { memoryBytes: 384 * MIB, storageBytes: GIB, connections: 40 },
    medium: { memoryBytes: GIB, storageBytes: 10 * GIB, connections: 100 },
    large: { memoryBytes: 4 * GIB, storageBytes: 50 * GIB, connections: 200 },
  },
  least: { memoryBytes: 160 * MIB, storageBytes: 256 * MIB },
  find,
  program: programOf,
  probe: (context) =>
    bashCommand(`timeout 1 ${quoted(context.engine.programs.admin ?? '')} ${WAY_IN} --silent ping`, {
      env: admin(context),
    }),
  accesses: (context) => sql(context, ACCESSES),
  grant,
  revoke,
  usage: (context) =>
    sql(
      context,
      `SELECT CONCAT(
  (SELECT COUNT(*) FROM information_schema.PROCESSLIST
    WHERE USER NOT IN ('${ADMIN}', '${KEEPER}', 'system user', 'event_scheduler', 'unauthenticated user')), ' ',
  (SELECT COALESCE(SUM(DATA_LENGTH + INDEX_LENGTH), 0) FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = '${databaseName(context.service.name)}'));
`,
    ),
  // Compressed so that parts which are alike in two backups are alike compressed, too.
  backup: (context) =>
    bashCommand(
      `${quoted(context.engine.programs.dump ?? '')} ${WAY_IN} --single-transaction --quick --routines --triggers --events \\
  --hex-blob --skip-dump-date ${databaseName(context.service.name)} | gzip -1 --rsyncable`,
      { env: admin(context) },
    ),
  restore,
  check,
  backupMagic: Uint8Array.of(0x1f, 0x8b),
  credentials(access, { host, port }) {
    const { user, password, database } = access;
    return {
      uri: uriOf(access, { host, port }),
      jdbcUrl: `jdbc:mysql://${host}:${port}/${database}?user=${user}&password=${password}`,
      hostname: host,
      host,
      port,
      username: user,
      user,
      password,
      name: database,
      database,
    };
  },
  environment(access, endpoint) {
    const { user, password, database } = access;
    const { host, port } = endpoint;
    const uri = uriOf(access, endpoint);
    return {
      DATABASE_URL: uri,
      MYSQL_URL: uri,
      DB_URL: uri,
      DB_CONNECTION: 'mysql',
      SPRING_DATASOURCE_URL: `jdbc:mysql://${host}:${port}/${database}`,
      SPRING_DATASOURCE_USERNAME: user,
      SPRING_DATASOURCE_PASSWORD: password,
      MYSQL_HOST: host,
      MYSQL_PORT: String(port),
      MYSQL_USER: user,
      MYSQL_PASSWORD: password,
      MYSQL_DATABASE: database,
    };
  },
};
