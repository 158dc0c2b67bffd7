// RabbitMQ as a kind of service. One virtual host of a fixed name; every access is a user with all rights in it. Asked
// through Erlang's own protocol, as rabbitmqctl takes seconds to start. Pure.

import type { Access, Engine, Machine, ServiceCommand, ServiceContext, ServiceKind } from '../ports/services.ts';
import { quoted, word } from './names.ts';
import { anywhere, findPrograms, versionIn } from './programs.ts';
import { bashCommand, DATA, MARKER, REPLACED, restoreCommand, SPOOL, serviceScript } from './scripts.ts';

const NAME = 'rabbitmq';
const PORT = 5672;
const MIB = 1024 ** 2;
const GIB = 1024 ** 3;
const ADMIN = 'peer';
/** The same in every service: it is written in the data, which a backup brings into a service of another name. */
const VIRTUAL_HOST = 'main';
/** Written in the data, too. */
const NODE = 'rabbit@localhost';
const STOP_GRACE_MS = 60_000;
const MEMORY_SHARE = 0.6;
const DISK_FREE_BYTES_MIN = 64 * MIB;
/** From this memory on it gets a second scheduler. */
const SECOND_SCHEDULER_BYTES = GIB;
/** Without AMQP after so many looks, half a second each, it does not come. */
const START_LOOKS_MAX = 600;
const ASK_TIMEOUT_S = 30;
/** The server stands still while it is copied; clients' heartbeats are a minute apart. */
const FREEZE_TIMEOUT_S = 20;
/** There once the first run has ended: what it cut off half way cannot be told from the data of a killed server. */
const COMPLETE = `${DATA}/complete`;
/** There while clients are answered, since this start. */
const READY = '/data/ready';

async function find(machine: Machine): Promise<Engine[]> {
  const programs = await findPrograms(machine, {
    server: ['/usr/lib/rabbitmq/bin/rabbitmq-server'],
    call: [...anywhere('erl_call'), '/usr/lib/erlang/bin/erl_call', '/usr/lib64/erlang/bin/erl_call'],
  });
  if (programs === undefined) return [];
  const [folder] = (await machine.find('/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server')).slice(-1);
  const version = versionIn(/rabbitmq_server-([^/]+)/.exec(folder ?? '')?.[1], 2);
  return version === undefined ? [] : [{ version, programs }];
}

const configuration = ({ service, adminPassword }: ServiceContext): string =>
  [
    `listeners.tcp.1 = 0.0.0.0:${PORT}`,
    `default_vhost = ${VIRTUAL_HOST}`,
    `default_user = ${ADMIN}`,
    `default_pass = ${word(adminPassword)}`,
    `loopback_users.${ADMIN} = true`,
    `vm_memory_high_watermark.absolute = ${Math.floor(service.memoryBytes * MEMORY_SHARE)}`,
    `disk_free_limit.absolute = ${DISK_FREE_BYTES_MIN}`,
    'log.console = true',
    'log.console.level = info',
    'log.file = false',
    '',
  ].join('\n');

/** Succeeds once the server greets clients. */
const GREETING = `
greeted() {
  exec 7<>/dev/tcp/127.0.0.1/${PORT} || return 1
  printf 'AMQP\\0\\0\\11\\1' >&7
  # The first method of a connection comes in a frame of type 1.
  [ "$(head -c 1 <&7 | od -An -tx1)" = ' 01' ]
}`;

/** Erlang of its stdin, run in the server; answers what it prints. Its result is to be \`ok\`. */
const ask = ({ engine }: ServiceContext): string => `
export HOME=/data/home ERL_EPMD_ADDRESS=127.0.0.1
ask() {
  answer=$(${quoted(engine.programs.call ?? '')} -sname ${NODE} -r -e -fetch_stdout -timeout ${ASK_TIMEOUT_S} 2>&1) \\
    || fail "RabbitMQ does not answer: \${answer%%$'\\n'*}"
  [ "\${answer##*$'\\n'}" = '{ok, ok}' ] || fail "RabbitMQ refused: \${answer##*$'\\n'}"
  if [ "$answer" != '{ok, ok}' ]; then printf '%s\\n' "\${answer%$'\\n'*}"; fi
}`;

function programOf(context: ServiceContext): ReturnType<ServiceKind['program']> {
  const { service, plan, engine } = context;
  const limit = `ok = rabbit_vhost_limit:set(<<"${VIRTUAL_HOST}">>, [{<<"max-connections">>, ${plan.connections}}], <<"${ADMIN}">>), ok.`;
  const schedulers = service.memoryBytes < SECOND_SCHEDULER_BYTES ? 1 : 2;
  return {
    command: serviceScript({
      kind: NAME,
      version: service.version,
      begin: '',
      serve: `
rm -f ${READY}
if [ ! -e ${COMPLETE} ]; then rm -rf ${DATA}/mnesia ${DATA}/flags; fi
mkdir -p /data/home
rm -f /data/home/.erlang.cookie
cp /data/cookie /data/home/.erlang.cookie
chmod 400 /data/home/.erlang.cookie
${GREETING}
${ask(context)}
(
  for ((looks = 0; looks < ${START_LOOKS_MAX}; looks++)); do
    if (greeted && ask <<<'${limit}') 2>/dev/null; then
      # Files come and go meanwhile; nobody has been let in before both marks are there.
      if [ ! -e ${COMPLETE} ]; then put_on_disk ${DATA} 2>/dev/null || :; : >${COMPLETE}; fi
      : >${READY}
      exit 0
    fi
    sleep 0.5
  done
) &
exec ${quoted(engine.programs.server ?? '')}`,
    }),
    env: {
      HOME: '/data/home',
      // Then the script becomes the server, and does not stand between it and signals.
      RUNNING_UNDER_SYSTEMD: 'true',
      RABBITMQ_NODENAME: NODE,
      RABBITMQ_MNESIA_BASE: `${DATA}/mnesia`,
      RABBITMQ_FEATURE_FLAGS_FILE: `${DATA}/flags`,
      RABBITMQ_LOG_BASE: '/data/home',
      RABBITMQ_CONFIG_FILE: '/data/rabbitmq.conf',
      RABBITMQ_ENABLED_PLUGINS_FILE: '/data/enabled_plugins',
      RABBITMQ_PID_FILE: '/data/rabbitmq.pid',
      RABBITMQ_CONF_ENV_FILE: '/dev/null',
      ERL_EPMD_ADDRESS: '127.0.0.1',
      ERL_CRASH_DUMP_SECONDS: '0',
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS:
        `+S ${schedulers}:${schedulers} +sbwt none +sbwtdcpu none +sbwtdio none ` +
        '-kernel inet_dist_use_interface {127,0,0,1}',
    },
    files: {
      '/data/rabbitmq.conf': configuration(context),
      '/data/enabled_plugins': '[].\n',
      '/data/cookie': word(context.adminPassword),
    },
    stopSignal: 'SIGTERM',
    stopGraceMs: STOP_GRACE_MS,
  };
}

function erlang(context: ServiceContext, expressions: string): ServiceCommand {
  return bashCommand(`${ask(context)}\nask`, { stdin: `${expressions.trim()}\n` });
}

const grant = (context: ServiceContext, access: Access): ServiceCommand =>
  erlang(
    context,
    `
User = <<"${word(access.user)}">>, Password = <<"${word(access.password)}">>, Host = <<"${VIRTUAL_HOST}">>,
ok = case rabbit_auth_backend_internal:lookup_user(User) of
  {ok, _} -> rabbit_auth_backend_internal:change_password(User, Password, <<"${ADMIN}">>);
  {error, not_found} -> rabbit_auth_backend_internal:add_user(User, Password, <<"${ADMIN}">>)
end,
ok = rabbit_auth_backend_internal:set_permissions(User, Host, <<".*">>, <<".*">>, <<".*">>, <<"${ADMIN}">>),
ok.`,
  );

/** Its connections are closed by the server, as they are for rabbitmqctl; here their end is waited for. */
const revoke = (context: ServiceContext, user: string): ServiceCommand =>
  erlang(
    context,
    `
User = <<"${word(user)}">>,
ok = case rabbit_auth_backend_internal:lookup_user(User) of
  {ok, _} -> rabbit_auth_backend_internal:delete_user(User, <<"${ADMIN}">>);
  {error, not_found} -> ok
end,
Pids = [Pid || Pid <- rabbit_networking:local_connections(),
  (catch rabbit_networking:connection_info(Pid, [user])) =:= [{user, User}]],
[catch rabbit_networking:close_connection(Pid, "the access was taken away") || Pid <- Pids],
ok.`,
  );

/** A picture of the files in one moment, as after a kill, which the server survives with all that it has confirmed. */
const backup = (): ServiceCommand =>
  bashCommand(`
work=/data/backup.tmp
exec 9>/data/backup.lock
flock -n 9 || fail 'another backup of this service is under way'
rm -rf $work
mkdir $work
pid=$(cat /data/rabbitmq.pid)
trap 'kill -CONT $pid || :; rm -rf $work' EXIT
cp ${MARKER} $work/kind.json
kill -STOP $pid
timeout ${FREEZE_TIMEOUT_S} cp -a --reflink=auto ${DATA} $work/db 2>/dev/null || fail 'the data could not be copied: is the disk full?'
kill -CONT $pid
tar -C $work -cf - kind.json db | gzip -1 --rsyncable`);

function restore(context: ServiceContext): ServiceCommand {
  return restoreCommand(
    context,
    `
${ask(context)}
[ "$(od -An -N2 -tx1 ${SPOOL})" = ' 1f 8b' ] || fail 'this is no backup of RabbitMQ that Peer has made'
gzip -t ${SPOOL} 2>/dev/null || fail 'the backup is cut or damaged'
mkdir /data/restore.new
tar -C /data/restore.new -xzf ${SPOOL} 2>/dev/null || fail 'the backup is damaged, or does not fit on the disk of the service'
rm ${SPOOL}
cd /data/restore.new
[ -f kind.json ] && [ -f db/complete ] && [ -d db/mnesia/${NODE} ] || fail 'this is no backup of RabbitMQ that Peer has made'
cmp -s kind.json ${MARKER} || fail "the backup is of another version: $(head -c 256 kind.json | tr -dc '[:print:]')"
put_on_disk /data/restore.new
ask <<<'ok = rabbit:stop(), ok.'
trap 'ask <<<"ok = rabbit:start(), ok." || :; rm -rf ${SPOOL} /data/restore.new' EXIT
mv ${DATA} ${REPLACED}
mv /data/restore.new/db ${DATA}
if problem=$(ask <<<'ok = rabbit:start(), ok.' 2>&1); then
  trap 'rm -rf ${SPOOL} /data/restore.new' EXIT
  rm -rf ${REPLACED}
else
  mv ${DATA} /data/restore.new/db
  mv ${REPLACED} ${DATA}
  fail "the backup cannot be loaded: $problem"
fi`,
  );
}

const uriOf = ({ user, password }: Access, { host, port }: { host: string; port: number }): string =>
  `amqp://${user}:${password}@${host}:${port}/${VIRTUAL_HOST}`;

export const rabbitmq: ServiceKind = {
  name: NAME,
  tags: ['rabbitmq', 'amqp', 'messaging', 'queue'],
  port: PORT,
  debianPackage: 'rabbitmq-server',
  plans: {
    small: { memoryBytes: 256 * MIB, storageBytes: GIB, connections: 100 },
    medium: { memoryBytes: GIB, storageBytes: 10 * GIB, connections: 500 },
    large: { memoryBytes: 4 * GIB, storageBytes: 50 * GIB, connections: 2_000 },
  },
  least: { memoryBytes: 256 * MIB, storageBytes: 128 * MIB },
  find,
  program: programOf,
  probe: () => bashCommand(`[ -e ${READY} ] || exit 1\n${GREETING}\ngreeted 2>/dev/null`),
  accesses: (context) =>
    erlang(
      context,
      `
[io:format("~s~n", [proplists:get_value(user, User)]) || User <- rabbit_auth_backend_internal:list_users(),
  proplists:get_value(user, User) =/= <<"${ADMIN}">>],
ok.`,
    ),
  grant,
  revoke,
  usage: (context) =>
    bashCommand(`${ask(context)}
clients=$(ask <<<'io:format("~b~n", [length(rabbit_networking:local_connections())]), ok.')
echo "$clients $({ du -sb ${DATA} 2>/dev/null || :; } | cut -f 1)"`),
  backup,
  restore,
  check: (context) =>
    erlang(
      context,
      `
true = rabbit_vhost_sup_sup:is_vhost_alive(<<"${VIRTUAL_HOST}">>),
Queues = rabbit_amqqueue:list(<<"${VIRTUAL_HOST}">>),
Messages = lists:sum([Count || [{messages, Count}] <- [rabbit_amqqueue:info(Queue, [messages]) || Queue <- Queues], is_integer(Count)]),
io:format("~b queues with ~b messages~n", [length(Queues), Messages]),
ok.`,
    ),
  backupMagic: Uint8Array.of(0x1f, 0x8b),
  credentials(access, { host, port }) {
    const { user, password } = access;
    const uri = uriOf(access, { host, port });
    const amqp = {
      host,
      hosts: [host],
      port,
      ssl: false,
      username: user,
      password,
      vhost: VIRTUAL_HOST,
      uri,
      uris: [uri],
    };
    return {
      uri,
      uris: [uri],
      hostname: host,
      hostnames: [host],
      host,
      port,
      username: user,
      password,
      vhost: VIRTUAL_HOST,
      ssl: false,
      protocols: { amqp },
    };
  },
  environment(access, endpoint) {
    const { user, password } = access;
    const { host, port } = endpoint;
    const uri = uriOf(access, endpoint);
    return {
      AMQP_URL: uri,
      CLOUDAMQP_URL: uri,
      RABBITMQ_URL: uri,
      CELERY_BROKER_URL: uri,
      SPRING_RABBITMQ_ADDRESSES: uri,
      RABBITMQ_HOST: host,
      RABBITMQ_PORT: String(port),
      RABBITMQ_USERNAME: user,
      RABBITMQ_PASSWORD: password,
      RABBITMQ_VHOST: VIRTUAL_HOST,
    };
  },
};
