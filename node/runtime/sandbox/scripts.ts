// Holds the scripts that stand between the daemon and an app: the shim outside of the sandbox, the loader inside, and
// what the daemon hands them. They only ever see names of files and numbers; commands and environment travel over a
// pipe.

/** Path of the shell that is on every machine, for the shim. */
export const SHELL = '/bin/sh';
/** What the loader needs; the same inside and outside. */
export const BASH = '/bin/bash';
/** The pipe that carries the load, as the loader finds it. */
export const LOAD_FD = 3;

/**
 * Child of the daemon that outlives it. Arguments: the instance's folder, the number of control groups, their paths,
 * the command.
 *
 * It holds the write end of the FIFO `control` for as long as it lives, so a daemon learns its end from end-of-file,
 * whether or not it is the parent. At the end it writes the command's exit status to `exit`, then opens `control` once
 * more, which blocks while no daemon reads: until then it keeps the output FIFOs open, so that the last lines of an
 * app that ended while no daemon ran are there for the next one. Only the child joins the control groups, so that a
 * command out of memory never takes its shim with it.
 */
export const SHIM = `
dir=$1; groups=$2; shift 2
IFS= read -r stat </proc/self/stat && echo "$stat" >"$dir/shim"
exec 4>"$dir/control"
(
  exec 4>&-
  while [ "$groups" -gt 0 ]; do
    echo 0 >"$1/cgroup.procs" || exit 125
    shift; groups=$((groups - 1))
  done
  exec "$@"
)
code=$?
exec 3<&-
echo "$code" >"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit"
trap '' PIPE
[ -p "$dir/control" ] && echo "$code" >"$dir/control"
`;

/** The filter of system calls, as bubblewrap finds it. */
export const FILTER_FD = 9;
/** Opens the file that it is called with as the filter, then becomes the command. */
export const OPEN_FILTER = `exec ${FILTER_FD}<"$0" && exec "$@"`;

/**
 * Joins control groups, then becomes the command: for runs that end with the daemon. Arguments: the number of control
 * groups, their paths, the command.
 */
export const JOIN = `
groups=$1; shift
while [ "$groups" -gt 0 ]; do
  echo 0 >"$1/cgroup.procs" || exit 125
  shift; groups=$((groups - 1))
done
exec "$@"
`;

/**
 * Runs inside the sandbox, already unprivileged: only now may variables such as LD_PRELOAD take effect. Arguments:
 * limits of processes, of open files and of one file's KiB. Reads the load, then becomes its command.
 */
const LOADER = `
ulimit -c 0
ulimit -u "$1" 2>/dev/null
ulimit -n "$2" 2>/dev/null
ulimit -f "$3" 2>/dev/null
IFS= read -r -d '' peer_dir <&3
IFS= read -r -d '' peer_count <&3 || { echo 'peer: the command did not arrive' >&2; exit 125; }
set --
while ((peer_count-- > 0)); do IFS= read -r -d '' peer_word <&3; set -- "$@" "$peer_word"; done
while IFS= read -r -d '' peer_word <&3; do export -- "$peer_word" 2>/dev/null; done
exec 3<&-
cd -- "$peer_dir" || exit 125
unset peer_dir peer_count peer_word
exec "$@"
`;

/**
 * What runs an app: its profile scripts in the order that buildpacks count on, then its command from its folder.
 * @see https://github.com/cloudfoundry/buildpackapplifecycle/blob/main/launcher/launcher_unix.go
 */
const START = `
peer_command=$1
for peer_script in ../profile.d/* .profile.d/*.sh .profile; do
  [ -f "$peer_script" ] && . "./$peer_script"
done
unset peer_script
exec bash -c "$peer_command"
`;

export type Rlimits = { pidsMax: number; filesMax: number; fileBytesMax: number };

export function loaderArguments(limits: Rlimits): string[] {
  const fileKiB = Math.max(1, Math.ceil(limits.fileBytesMax / 1024));
  // Node's pipes are sockets, by which bash would take itself for a remote shell and read the app's .bashrc.
  return [BASH, '--norc', '-c', LOADER, 'peer', String(limits.pidsMax), String(limits.filesMax), String(fileKiB)];
}

/** The command that starts an app, to be sent as a load. */
export function startCommand(command: string): string[] {
  return [BASH, '-c', START, 'peer', command];
}

export type Load = { cwd: string; argv: readonly string[]; env: Readonly<Record<string, string>> };

/**
 * NUL-terminated records: folder, number of words, words, `NAME=value`. A value cannot hold NUL, so it is cut there.
 */
export function encodeLoad(load: Load): Buffer {
  const records = [load.cwd, String(load.argv.length), ...load.argv];
  for (const [name, value] of Object.entries(load.env)) {
    if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) records.push(`${name}=${value}`);
  }
  return Buffer.from(records.map((record) => `${record.split('\0', 1)[0]}\0`).join(''));
}
