// The shell around every engine: a first run that can be killed at any moment, data that is not this engine's, and
// backups that are looked at before anything of the service is touched. Pure: builds the texts of scripts.

import type { ServiceCommand, ServiceContext } from '../ports/services.ts';

/** EX_CONFIG of sysexits.h: another start does not help. */
export const REFUSED_STATUS = 78;
/** Where the engine's data is; whole when it is there. */
export const DATA = '/data/db';
/** Says whose data it is, from the first moment of the first run on. */
export const MARKER = '/data/kind.json';
/** What `begin` makes; it becomes DATA. */
export const UNFINISHED = '/data/db.new';
/** What a restore puts aside while it exchanges the data of a service. */
export const REPLACED = '/data/db.old';
/** A backup on its way in. */
export const SPOOL = '/data/restore.tmp';

/** Where its certificate is, for engines that do TLS themselves. */
export const CERTIFICATE = '/data/tls.crt';
export const CERTIFICATE_KEY = '/data/tls.key';

/** The only folders that are on the path: other programs are named in full. */
const PATH = '/usr/bin:/bin';

const PREAMBLE = `
set -eu -o pipefail
umask 077
export PATH=${PATH} LC_ALL=C.UTF-8
fail() { printf '%s\\n' "$1" >&2; exit 1; }
# The folder's own files; to sync the file system would wait for all that the machine writes.
put_on_disk() { find "$1" -depth -exec sync {} +; }
`;

export function certificateFiles({ certificate }: ServiceContext): Record<string, string> {
  const { keyPem, certPem } = certificate();
  return { [CERTIFICATE]: certPem, [CERTIFICATE_KEY]: keyPem };
}

export const markerOf = (kind: string, version: string): string => JSON.stringify({ kind, version });

/**
 * The command of a service's instance. `begin` fills the folder UNFINISHED; when it was cut off, it is begun again.
 * `serve` ends with `exec`. The marker comes first: no data of another kind can take the place of what `begin` did not
 * finish.
 */
export function serviceScript(options: { kind: string; version: string; begin: string; serve: string }): string {
  const { kind, version, begin, serve } = options;
  return `${PREAMBLE}
refuse() { printf 'peer: %s\\n' "$1" >&2; exit ${REFUSED_STATUS}; }
marker='${markerOf(kind, version)}'
if [ -e ${MARKER} ]; then
  found=$(head -c 256 ${MARKER})
  if [ "$found" != "$marker" ]; then
    pattern='^\\{"kind":"([a-z0-9-]+)","version":"([0-9A-Za-z.-]+)"\\}$'
    [[ $found =~ $pattern ]] || refuse 'kind.json of the volume is damaged: it does not say whose data this is'
    refuse "the volume holds data of \${BASH_REMATCH[1]} \${BASH_REMATCH[2]}, which ${kind} ${version} does not open: restore a backup into a new service instead"
  fi
else
  [ ! -e ${DATA} ] && [ ! -e ${REPLACED} ] || refuse 'the volume holds data, and no kind.json that says whose it is'
  printf '%s\\n' "$marker" >${MARKER}.new
  sync ${MARKER}.new
  mv ${MARKER}.new ${MARKER}
fi
# A restore was cut off between its two renames.
if [ ! -e ${DATA} ] && [ -e ${REPLACED} ]; then mv ${REPLACED} ${DATA}; fi
rm -rf ${REPLACED} ${SPOOL} /data/restore.new /data/backup.tmp
if [ ! -e ${DATA} ]; then
  rm -rf ${UNFINISHED}
  mkdir ${UNFINISHED}
${begin}
  put_on_disk ${UNFINISHED}
  mv ${UNFINISHED} ${DATA}
  sync /data
fi
${serve}
`;
}

/** A script that runs in the service's instance. Secrets go in through env or stdin. */
export function bashCommand(script: string, input: Pick<ServiceCommand, 'env' | 'stdin'> = {}): ServiceCommand {
  return { argv: ['/bin/bash', '--norc', '-c', `${PREAMBLE}${script}`], ...input };
}

/**
 * The same for a restore: `verify` and `load` find the backup in SPOOL, bounded by the service's storage and not
 * empty. Nothing of it is left when the script ends.
 */
export function restoreCommand(
  { service }: ServiceContext,
  script: string,
  input: Pick<ServiceCommand, 'env'> = {},
): ServiceCommand {
  return bashCommand(
    `
exec 8>/data/restore.lock
flock -n 8 || fail 'another restore of this service is under way'
trap 'rm -rf ${SPOOL} /data/restore.new' EXIT
rm -rf ${SPOOL} /data/restore.new
head -c ${service.storageBytes + 1} >${SPOOL} || fail 'the backup does not fit on the disk of the service'
[ -s ${SPOOL} ] || fail 'the backup is empty'
[ "$(stat -c %s ${SPOOL})" -le ${service.storageBytes} ] || fail 'the backup is larger than the storage of the service'
${script}`,
    input,
  );
}
