// Redis, or Valkey, as a kind of service. Every access is a user of its access control list, without what only an
// administrator needs. Pure.

import type { Access, Engine, Machine, ServiceCommand, ServiceContext, ServiceKind } from '../ports/services.ts';
import { quoted, word } from './names.ts';
import { anywhere, findPrograms, versionIn } from './programs.ts';
import { bashCommand, DATA, restoreCommand, SPOOL, serviceScript } from './scripts.ts';

const NAME = 'redis';
const PORT = 6379;
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const ADMIN = 'peer';
/** Probes, looks, a backup: Redis keeps no place for its administrator. */
const ADMIN_CONNECTIONS = 8;
/** Of the instance's memory; the rest is for clients, and for pages that change while a child writes them out. */
const DATA_SHARE = 0.6;
const STOP_GRACE_MS = 60_000;
/** Looks at the end of writing the append-only file anew, a fifth of a second each: ten minutes. */
const REWRITE_LOOKS_MAX = 3_000;
/** RDB_EOF_MARK_SIZE of Redis. */
const END_MARK_BYTES = 40;

/** Whom it lets in, as it has saved it after every change. */
const USERS = '/data/users.acl';
const PID = '/data/redis.pid';

/** What client libraries, queues and caches use of the commands that Redis counts as dangerous. */
const RIGHTS = '~* &* +@all -@admin -@dangerous +info +keys +flushdb +flushall +sort +sort_ro +role';

async function find(machine: Machine): Promise<Engine[]> {
  for (const engine of ['redis', 'valkey']) {
    const programs = await findPrograms(machine, {
      server: anywhere(`${engine}-server`),
      cli: anywhere(`${engine}-cli`),
      checkRdb: anywhere(`${engine}-check-rdb`),
    });
    if (programs === undefined) continue;
    const version = versionIn(await machine.firstLine([programs.server ?? '', '--version']), 2);
    if (version !== undefined) return [{ version, programs }];
  }
  return [];
}

function configuration({ service, plan }: ServiceContext): string {
  return [
    'bind 0.0.0.0',
    `port ${PORT}`,
    'protected-mode no',
    'unixsocket /data/redis.sock',
    'unixsocketperm 700',
    `dir ${DATA}`,
    `aclfile ${USERS}`,
    `pidfile ${PID}`,
    'daemonize no',
    'set-proc-title no',
    'appendonly yes',
    'appendfsync everysec',
    'save ""',
    `maxmemory ${Math.floor(service.memoryBytes * DATA_SHARE)}`,
    'maxmemory-policy noeviction',
    'maxmemory-clients 15%',
    `maxclients ${plan.connections + ADMIN_CONNECTIONS}`,
    // A backup is a replica's first copy, and begins at once.
    'repl-diskless-sync yes',
    'repl-diskless-sync-delay 0',
    'repl-backlog-size 64kb',
    // Through the socket, for a restore; no access has the right.
    'enable-debug-command local',
    '',
  ].join('\n');
}

function programOf(context: ServiceContext): ReturnType<ServiceKind['program']> {
  const { service, engine, adminPassword } = context;
  return {
    command: serviceScript({
      kind: NAME,
      version: service.version,
      begin: '',
      // Accesses that were granted are kept; the administrator is this start's.
      serve: `
accesses=$(grep -s '^user ' ${USERS} | grep -v -e '^user default ' -e '^user ${ADMIN} ' || :)
printf '%s\\n' "$(cat /data/admin.acl)" "$accesses" | grep . >${USERS}.new
mv ${USERS}.new ${USERS}
exec ${quoted(engine.programs.server ?? '')} /data/redis.conf`,
    }),
    env: { TZ: 'UTC' },
    files: {
      '/data/redis.conf': configuration(context),
      '/data/admin.acl': `user default off nopass -@all\nuser ${ADMIN} on >${word(adminPassword)} ~* &* +@all\n`,
    },
    stopSignal: 'SIGTERM',
    stopGraceMs: STOP_GRACE_MS,
  };
}

const CLI_ARGUMENTS = ['--no-auth-warning', '-s', '/data/redis.sock', '--user', ADMIN];

const cli = ({ engine }: ServiceContext): string => [engine.programs.cli ?? '', ...CLI_ARGUMENTS].map(quoted).join(' ');

const admin = ({ adminPassword }: ServiceContext): Record<string, string> => ({ REDISCLI_AUTH: adminPassword });

/** Whether it answers that it has no place for another client. */
const FULL = `
full() {
  exec 7<>/dev/tcp/127.0.0.1/${PORT}
  IFS= read -r -t 1 line <&7 && [[ $line == *'max number of clients'* ]]
}`;

/** Commands come through stdin: in argv, others would see them. All of them answer OK, or a number. */
function commands(context: ServiceContext, lines: readonly string[]): ServiceCommand {
  return bashCommand(
    `
answer=$(${cli(context)})
if problem=$(grep -v -E '^(OK|[0-9]*)$' <<<"$answer"); then fail "\${problem%%$'\\n'*}"; fi`,
    { env: admin(context), stdin: `${lines.join('\n')}\n` },
  );
}

/**
 * Whoever has taken every place keeps the administrator out, too. Then the access is taken out of the file, and the
 * server ended: started again, which is its node's to do, it has let nobody in.
 */
function revoke(context: ServiceContext, name: string): ServiceCommand {
  const user = word(name);
  return bashCommand(
    `${FULL}
answer=$(printf '%s\\n' 'ACL DELUSER ${user}' 'ACL SAVE' | ${cli(context)} 2>&1) || answer="FAILED $answer"
problem=$(grep -v -E '^(OK|[0-9]*)$' <<<"$answer") || exit 0
full || fail "\${problem%%$'\\n'*}"
grep -v '^user ${user} ' ${USERS} >${USERS}.new || :
mv ${USERS}.new ${USERS}
kill -TERM "$(cat ${PID})"`,
    { env: admin(context) },
  );
}

/** The server loads the file as it does at a start; its append-only file is only then written anew, and exchanged. */
function restore(context: ServiceContext): ServiceCommand {
  const { checkRdb = '' } = context.engine.programs;
  return restoreCommand(
    context,
    `
[ "$(head -c 5 ${SPOOL} | tr -d '\\0')" = REDIS ] || fail 'this is no backup of Redis: redis-cli --rdb makes one'
${quoted(checkRdb)} ${SPOOL} >/dev/null 2>&1 || fail 'the backup is cut, damaged or of a newer version'
ask() {
  answer=$(${cli(context)} "$@" 2>&1) || fail "the restore did not end: \${answer%%$'\\n'*}"
  [ "$answer" = OK ] || fail "the restore did not end: \${answer%%$'\\n'*}"
}
trap 'rm -f ${SPOOL} ${DATA}/dump.rdb' EXIT
mv ${SPOOL} ${DATA}/dump.rdb
ask CONFIG SET appendonly no
trap 'rm -f ${SPOOL} ${DATA}/dump.rdb; ${cli(context)} CONFIG SET appendonly yes >/dev/null 2>&1 || :' EXIT
ask DEBUG RELOAD NOSAVE
ask CONFIG SET appendonly yes
for ((look = 0; look < ${REWRITE_LOOKS_MAX}; look++)); do
  state=$(${cli(context)} INFO persistence | tr -d '\\r')
  if grep -q '^aof_rewrite_in_progress:0' <<<"$state" && grep -q '^aof_rewrite_scheduled:0' <<<"$state"; then
    grep -q '^aof_last_bgrewrite_status:ok' <<<"$state" || fail 'what was restored could not be written to the disk'
    exit 0
  fi
  sleep 0.2
done
fail 'what was restored was not written to the disk in time'`,
    { env: admin(context) },
  );
}

function check(context: ServiceContext): ServiceCommand {
  const { checkRdb = '' } = context.engine.programs;
  return bashCommand(
    `
trap 'rm -f /data/check.tmp' EXIT
${cli(context)} --rdb /data/check.tmp >/dev/null 2>&1 || fail 'not all of it can be read'
${quoted(checkRdb)} /data/check.tmp >/dev/null 2>&1 || fail 'what was read is damaged'
echo "$(${cli(context)} DBSIZE) keys of database 0, $(stat -c %s /data/check.tmp) bytes read"`,
    { env: admin(context) },
  );
}

const uriOf = ({ user, password }: Access, { host, port }: { host: string; port: number }): string =>
  `redis://${user}:${password}@${host}:${port}`;

export const redis: ServiceKind = {
  name: NAME,
  tags: ['redis', 'key-value', 'cache', 'pivotal'],
  port: PORT,
  debianPackage: 'redis-server',
  plans: {
    small: { memoryBytes: 64 * MIB, storageBytes: 256 * MIB, connections: 100 },
    medium: { memoryBytes: 256 * MIB, storageBytes: GIB, connections: 500 },
    large: { memoryBytes: GIB, storageBytes: 4 * GIB, connections: 2_000 },
  },
  least: { memoryBytes: 16 * MIB, storageBytes: 128 * MIB },
  find,
  program: programOf,
  // One that has no place for another client answers, too; it says so at once.
  probe: (context) =>
    bashCommand(
      `${FULL}
[ "$(timeout 1 ${cli(context)} PING 2>/dev/null)" = PONG ] || full`,
      { env: admin(context) },
    ),
  accesses: (context) =>
    bashCommand(
      `${FULL}
users=$(${cli(context)} ACL USERS 2>&1 | tr -d '\\r') || :
# What is no list has not even its administrator in it.
if ! grep -q -x ${ADMIN} <<<"$users"; then
  full || fail "\${users%%$'\\n'*}"
  users=$(sed -n 's/^user \\([^ ]*\\) .*/\\1/p' ${USERS})
fi
grep -v -x -e default -e ${ADMIN} -e '' <<<"$users" || :`,
      { env: admin(context) },
    ),
  grant: (context, access) =>
    commands(context, [`ACL SETUSER ${word(access.user)} reset on >${word(access.password)} ${RIGHTS}`, 'ACL SAVE']),
  revoke,
  usage: (context) =>
    bashCommand(
      `
clients=$(${cli(context)} CLIENT LIST TYPE normal | grep -c -v -e ' user=${ADMIN} ' -e '^$' || :)
bytes=$(${cli(context)} INFO memory | tr -d '\\r' | sed -n 's/^used_memory_dataset://p')
echo "$clients $bytes"`,
      { env: admin(context) },
    ),
  // What tells the client that the server has sent all is no part of the file; its checksum is.
  backup: (context) =>
    bashCommand(`${cli(context)} --rdb - 2>/dev/null | head -c -${END_MARK_BYTES}`, { env: admin(context) }),
  restore,
  check,
  backupMagic: Buffer.from('REDIS'),
  credentials(access, { host, port }) {
    const { user, password } = access;
    return { uri: uriOf(access, { host, port }), hostname: host, host, port, username: user, password };
  },
  environment(access, endpoint) {
    const { user, password } = access;
    const { host, port } = endpoint;
    const uri = uriOf(access, endpoint);
    return {
      REDIS_URL: uri,
      REDIS_HOST: host,
      REDIS_PORT: String(port),
      REDIS_USERNAME: user,
      REDIS_PASSWORD: password,
      SPRING_DATA_REDIS_URL: uri,
    };
  },
};
