// PostgreSQL's log of changes (WAL) as an archive: closed segments are put aside in the volume until they are fetched,
// and data of any moment between is made of a base backup and the segments after it. Pure.

import type { ServiceArchive, ServiceCommand, ServiceContext } from '../ports/services.ts';
import { databaseName, quoted, word } from './names.ts';
import { bashCommand } from './scripts.ts';

const ADMIN = 'peer';
const OUT = '/data/wal-out';
/** Of the instance that data of an earlier moment is made in. */
const PAST = '/data/past';
const PAST_WAL = '/data/past-wal';
const PAST_SOCKET = '/data/past-socket';
const SEGMENT_BYTES = 16 * 1024 ** 2;
/** Segments of one log file number: of 4 GiB. */
const SEGMENTS_PER_LOG = 0x100;
const SEALED_PER_ROUND_MAX = 128;
const SEGMENT = '[0-9A-F]{24}';
const RECOVERY_TIMEOUT_S = 50 * 60;

/** Without so much to do a segment is closed by the server alone, while nobody comes for it. */
const TIMEOUT_S = 60;
/** At least so many segments wait for somebody to come for them, then at most a quarter of the storage. */
const WAITING_MIN = 8;

export const ARCHIVE_SCRIPT = '/data/archive.sh';

export const archiveSettings: Readonly<Record<string, string>> = {
  archive_mode: 'on',
  archive_command: `/bin/bash ${ARCHIVE_SCRIPT} %p %f`,
  archive_timeout: `${TIMEOUT_S}s`,
};

/** A volume that fills up would end the server: beyond its share what waits is given up, which `seal` says. */
export function archiveScript({ service }: ServiceContext): string {
  const waitingMax = Math.max(WAITING_MIN, Math.floor(service.storageBytes / 4 / SEGMENT_BYTES));
  return `set -eu
umask 077
out=${OUT}
mkdir -p $out
[ ! -e "$out/$2" ] || exit 0
if [ "$(ls $out | wc -l)" -ge ${waitingMax} ]; then
  rm -f $out/*
  : >$out/gap
fi
cp "$1" $out/.new
sync $out/.new
mv $out/.new "$out/$2"
sync $out
`;
}

const admin = ({ adminPassword }: ServiceContext): Record<string, string> => ({
  PGPASSWORD: adminPassword,
  PGCONNECT_TIMEOUT: '10',
});

const psql = ({ engine }: ServiceContext, statement: string): string =>
  `${quoted(engine.programs.psql ?? '')} -X -q -A -t -v ON_ERROR_STOP=1 -h /data -U ${ADMIN} -d postgres -c ${quoted(statement)}`;

const listed = (names: readonly string[]): string => {
  const odd = names.find((name) => !new RegExp(`^${SEGMENT}$`).test(name));
  if (odd !== undefined) throw new Error('is no name of a segment');
  return names.join(' ');
};

/** What is printed: names, after `gap` where some were given up. A segment is closed even if little is in it. */
const seal = (context: ServiceContext): ServiceCommand =>
  bashCommand(
    `
mkdir -p ${OUT}
${psql(context, 'SELECT pg_switch_wal()')} >/dev/null
ready() { ls /data/db/pg_wal/archive_status | grep -Eq '^${SEGMENT}[.]ready$'; }
for attempt in $(seq 100); do
  ready || break
  [ "$attempt" -lt 100 ] || fail 'its log of changes is not put aside in time'
  sleep 0.2
done
if [ -e ${OUT}/gap ]; then echo gap; rm -f ${OUT}/gap; fi
rm -f ${OUT}/*.backup
ls ${OUT} | grep -E '^${SEGMENT}$' | sort | head -n ${SEALED_PER_ROUND_MAX} || :`,
    { env: admin(context) },
  );

function recover(context: ServiceContext, atMs: number): ServiceCommand {
  const { postgres = '', pg_isready = '', pg_dump = '' } = context.engine.programs;
  const at = new Date(atMs).toISOString().replace('T', ' ').replace('Z', '+00');
  return bashCommand(
    `
mkdir -p -m 700 ${PAST_SOCKET} ${PAST_WAL}
printf 'local all all trust\\n' >/data/past-hba.conf
rm -f ${PAST}/postmaster.pid ${PAST}/standby.signal
: >${PAST}/recovery.signal
start() {
  ${quoted(postgres)} -D ${PAST} -c listen_addresses= -c unix_socket_directories=${PAST_SOCKET} \\
    -c hba_file=/data/past-hba.conf -c shared_buffers=16MB -c hot_standby=off -c archive_mode=off -c fsync=off \\
    -c recovery_target_action=promote -c 'restore_command=/bin/cp ${PAST_WAL}/%f %p' "$@" </dev/null >/data/past.log 2>&1 &
  server=$!
}
up() { ${quoted(pg_isready)} -q -h ${PAST_SOCKET} -U ${ADMIN} -t 1; }
wait_up() {
  for second in $(seq ${RECOVERY_TIMEOUT_S}); do
    if up; then return 0; fi
    kill -0 $server 2>/dev/null || return 1
    sleep 0.5
  done
  return 1
}
start -c 'recovery_target_time=${at}'
if ! wait_up; then
  # Nothing was committed between the moment asked for and the end of the log: all of it, then.
  grep -q 'recovery ended before configured recovery target' /data/past.log || fail "it could not be recovered: $(tail -n 1 /data/past.log)"
  wait $server || :
  start
  wait_up || fail "it could not be recovered: $(tail -n 1 /data/past.log)"
fi
${quoted(pg_dump)} -Fc -Z 1 -h ${PAST_SOCKET} -U ${ADMIN} -d ${databaseName(context.service.name)}
kill -INT $server
wait $server || :`,
  );
}

/** The next segment of the same timeline. */
function next(name: string): string {
  const [timeline, log, segment] = [0, 8, 16].map((at) => Number.parseInt(name.slice(at, at + 8), 16)) as [
    number,
    number,
    number,
  ];
  const isLast = segment + 1 === SEGMENTS_PER_LOG;
  const parts = [timeline, isLast ? log + 1 : log, isLast ? 0 : segment + 1];
  return parts.map((part) => part.toString(16).toUpperCase().padStart(8, '0')).join('');
}

export const postgresArchive: ServiceArchive = {
  seal,
  pack: (_, names) => bashCommand(`tar -c --format=gnu -C ${OUT} ${listed(names)} | gzip -1`),
  drop: (_, names) => bashCommand(`cd ${OUT}\nrm -f ${listed(names)}`),
  position: (context) =>
    bashCommand(psql(context, 'SELECT pg_walfile_name(pg_current_wal_lsn())'), { env: admin(context) }),
  base: (context) =>
    bashCommand(
      `${quoted(context.engine.programs.pg_basebackup ?? '')} -D - -F t -X none -c fast --no-manifest -h /data -U ${word(ADMIN)} | gzip -1`,
      { env: admin(context) },
    ),
  unpackBase: () => bashCommand(`mkdir -m 700 ${PAST}\ntar -x -z -C ${PAST}`),
  unpackLog: () => bashCommand(`mkdir -p -m 700 ${PAST_WAL}\ntar -x -z -C ${PAST_WAL}`),
  recover,
  next,
  isName: (text) => new RegExp(`^${SEGMENT}$`).test(text),
};
