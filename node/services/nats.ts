// NATS as a kind of service: it passes messages on and keeps none, so there is nothing to back up. Accesses are files
// that its configuration is made of; it reads them again on SIGHUP. Pure.

import type { Access, Engine, Machine, ServiceContext, ServiceKind } from '../ports/services.ts';
import { quoted, word } from './names.ts';
import { anywhere, findPrograms, versionIn } from './programs.ts';
import { bashCommand, DATA, serviceScript, UNFINISHED } from './scripts.ts';

const NAME = 'nats';
const PORT = 4222;
const MONITOR_PORT = 8222;
const MIB = 1024 ** 2;
/** There at all times: without any user, everybody would be let in. Its password is known to nobody. */
const ADMIN = 'peer';
const STOP_GRACE_MS = 15_000;
/** Go's collector works harder from here on, short of the instance's limit. */
const HEAP_SHARE = 0.8;
/** Looks at whether accesses have been read again, a twentieth of a second each. */
const RELOAD_LOOKS_MAX = 200;

async function find(machine: Machine): Promise<Engine[]> {
  const programs = await findPrograms(machine, { server: anywhere('nats-server') });
  if (programs === undefined) return [];
  const version = versionIn(await machine.firstLine([programs.server ?? '', '--version']), 2);
  return version === undefined ? [] : [{ version, programs }];
}

function configuration({ service, plan }: ServiceContext): string {
  return `listen: "0.0.0.0:${PORT}"
http: "127.0.0.1:${MONITOR_PORT}"
server_name: "${service.name}"
pid_file: "/data/nats.pid"
max_connections: ${plan.connections}
max_payload: ${MIB}
max_pending: ${8 * MIB}
include "accesses.conf"
`;
}

/** There is no way in of this sort. */
const nobody = ({ adminPassword }: ServiceContext): string =>
  `{ user: "${ADMIN}", password: "${word(adminPassword)}", allowed_connection_types: ["WEBSOCKET"] }\n`;

/** All accesses as one file, exchanged at once. */
const GATHER = `
gather() {
  accesses=$(cat /data/nobody.conf; cat ${DATA}/accesses/* 2>/dev/null || :)
  printf 'authorization {\\n  timeout: 5\\n  users: [\\n%s\\n  ]\\n}\\n' "$accesses" >/data/accesses.conf.new
  mv /data/accesses.conf.new /data/accesses.conf
}`;

/** The server's own figures, for its own machine alone. */
const LOOK = `
look() {
  exec 7<>/dev/tcp/127.0.0.1/${MONITOR_PORT}
  printf 'GET %s HTTP/1.0\\r\\n\\r\\n' "$1" >&7
  timeout 5 cat <&7
  exec 7<&-
}
field() { look /varz | sed -n "s/^ *\\"$1\\": \\"*\\([^\\",]*\\)\\"*,*\\$/\\1/p" | head -n 1; }`;

/** Resolves once the server goes by what is in the files. */
const RELOAD = `
before=$(field config_load_time)
gather
kill -HUP "$(cat /data/nats.pid)"
for ((looks = 0; looks < ${RELOAD_LOOKS_MAX}; looks++)); do
  [ "$(field config_load_time)" = "$before" ] || exit 0
  sleep 0.05
done
fail 'the server did not read its accesses again'`;

function programOf(context: ServiceContext): ReturnType<ServiceKind['program']> {
  const { service, engine } = context;
  return {
    command: serviceScript({
      kind: NAME,
      version: service.version,
      begin: `  mkdir ${UNFINISHED}/accesses`,
      serve: `${GATHER}
gather
exec ${quoted(engine.programs.server ?? '')} -c /data/nats.conf`,
    }),
    env: { GOMEMLIMIT: String(Math.floor(service.memoryBytes * HEAP_SHARE)) },
    files: { '/data/nats.conf': configuration(context), '/data/nobody.conf': nobody(context) },
    stopSignal: 'SIGTERM',
    stopGraceMs: STOP_GRACE_MS,
  };
}

const uriOf = ({ user, password }: Access, { host, port }: { host: string; port: number }): string =>
  `nats://${user}:${password}@${host}:${port}`;

export const nats: ServiceKind = {
  name: NAME,
  tags: ['nats', 'messaging', 'pub-sub'],
  port: PORT,
  debianPackage: 'nats-server',
  plans: {
    small: { memoryBytes: 64 * MIB, storageBytes: 16 * MIB, connections: 100 },
    medium: { memoryBytes: 256 * MIB, storageBytes: 32 * MIB, connections: 1_000 },
    large: { memoryBytes: 1024 * MIB, storageBytes: 64 * MIB, connections: 4_000 },
  },
  least: { memoryBytes: 32 * MIB, storageBytes: MIB },
  find,
  program: programOf,
  probe: () => bashCommand(`${LOOK}\nlook /healthz | grep -q '"ok"'`),
  accesses: () => bashCommand(`cd ${DATA}/accesses && ls`),
  grant: (_context, access) => {
    const user = word(access.user);
    return bashCommand(
      `${LOOK}${GATHER}
line='{ user: "${user}", password: "'$PASSWORD'" }'
# Granted like this before, and in force.
if grep -q -x -F -e "$line" /data/accesses.conf; then exit 0; fi
printf '%s\\n' "$line" >${DATA}/accesses/.new
mv ${DATA}/accesses/.new ${DATA}/accesses/${user}
${RELOAD}`,
      { env: { PASSWORD: word(access.password) } },
    );
  },
  revoke: (_context, name) => {
    const user = word(name);
    return bashCommand(`${LOOK}${GATHER}
rm -f ${DATA}/accesses/${user}
if ! grep -q -F -e 'user: "${user}",' /data/accesses.conf; then exit 0; fi
${RELOAD}`);
  },
  usage: () => bashCommand(`${LOOK}\necho "$(field connections) $(du -sb ${DATA} | cut -f 1)"`),
  credentials(access, { host, port }) {
    const { user, password } = access;
    return { uri: uriOf(access, { host, port }), hostname: host, host, port, username: user, user, password };
  },
  environment(access, endpoint) {
    const { user, password } = access;
    const uri = uriOf(access, endpoint);
    return {
      NATS_URL: uri,
      NATS_HOST: endpoint.host,
      NATS_PORT: String(endpoint.port),
      NATS_USER: user,
      NATS_PASSWORD: password,
    };
  },
};
