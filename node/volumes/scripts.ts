// What runs on the files of a volume, confined and as their owner: the copy of a volume that is being written to, and
// the tar that is made of the copy. Scripts of the machine's own tools, in bash; names of files travel between them
// ended by NUL, and never as arguments.

/** Where the tools find what they are given. */
export const FROM = '/from';
export const TO = '/to';
export const LISTS = '/lists';

/** What the copy prints when it waits for the instance to be held still, and when it may go on. */
export const READY = 'ready';
export const DONE = 'done';
/** What it waits for. */
export const GO = 'go\n';

/**
 * Copies `/from` to `/to` as it is at one point in time, for which the instance is held still: between READY and DONE.
 * Where the file system shares blocks (which is tried, unless `$1` says no), all is copied then. Elsewhere it is
 * copied twice before, and only what differs is copied then.
 *
 * What differs is told by inode, size, times and mode. A file that was changed shortly before it was looked at may
 * have been changed again within the same tick of the clock, or through memory that is mapped and marked as changed
 * already: it counts as different each time (`$1` in its line). `sync` comes first so that whatever is changed through
 * memory after it gets a new time. Folders count as different too: what is copied into one changes its time.
 * What was copied is looked at as well: a name that became another kind of file while it was read is made anew.
 *
 * Sockets, pipes and devices are no data. Exits other than 0 when not all of it could be copied at the end.
 */
export const COPY = `
set -euo pipefail
: >/lists/old >/lists/copied
head -c 4096 /dev/zero >/lists/probe
share=$1
[ "$share" = no ] || cp --reflink=always /lists/probe /to/probe 2>/lists/problem || share=no
rm -f /to/probe

look() {
  local line='%y %i %s %T@ %C@ %m'
  find . -mindepth 1 '(' -type f -o -type d -o -type l ')' '(' \\
    '(' -newermt "@$2" -o -newerct "@$2" -o -type d ')' -printf "$line $1\\t%p\\0" \\
    -o -printf "$line -\\t%p\\0" ')'
}
sorted() { sort -z -S 64M -T /lists "$@"; }
paths() { cut -z -f 2-; }

pass() {
  local since=$(($(date +%s) - 2)) status
  cd /from
  [ "$1" = last ] || sync -f .
  { look "$1" "$since" 2>/lists/problem || [ "$1" != last ]; } | sorted >/lists/new
  sed -z -E 's/^(.) [^\\t]*/\\1/' /lists/new | sorted >/lists/types
  comm -z -23 /lists/copied /lists/types | paths >/lists/gone
  { comm -z -13 /lists/old /lists/new; comm -z -13 /lists/copied /lists/types; } | paths | sorted -u >/lists/changed
  cd /to
  find . -type d ! -perm -u=wx -exec chmod u+wx '{}' +
  xargs -0 -r rm -rf -- </lists/gone
  cd /from
  set +e
  tar --create --file=- --format=gnu --sparse --no-recursion --null --files-from=/lists/changed \\
    $([ "$1" = last ] || echo --ignore-failed-read) 2>/lists/problem |
    tar --extract --file=- --preserve-permissions --delay-directory-restore --directory=/to 2>/lists/problem-to
  status=("\${PIPESTATUS[@]}")
  set -e
  if grep -q -E 'No space left|quota exceeded' /lists/problem-to; then cat /lists/problem-to >&2; exit 3; fi
  if [ "$1" = last ] && [ "\${status[*]}" != '0 0' ]; then cat /lists/problem /lists/problem-to >&2; exit 4; fi
  mv /lists/new /lists/old
}
copied() { (cd /to && find . -mindepth 1 -printf '%y\\t%p\\0') | sorted >/lists/copied; }

if [ "$share" = no ]; then
  pass first
  copied
  pass second
  copied
fi
echo ${READY}
read -r _
if [ "$share" = no ]; then pass last
else cp --archive --reflink=always /from/. /to/
fi
echo ${DONE}
find /to -mindepth 1 ! -type f ! -type d ! -type l -delete
`;

/**
 * Packs `/to`: the same files give the same bytes, whoever owns them and in whatever order they were made. GNU's own
 * format: a pax header has the id of the process in it.
 */
export const PACK = `
set -euo pipefail
cd /to
find . -mindepth 1 -maxdepth 1 -print0 | sort -z |
  tar --create --file=- --format=gnu --sparse --sort=name --numeric-owner --owner=0 --group=0 --null --files-from=-
`;

/**
 * Unpacks into `/to`, as the owner of what comes to be there. Nothing else is in sight, so that no name and no link in
 * the tar leads anywhere; a device cannot be made by that user.
 */
export const UNPACK = `
set -euo pipefail
tar --extract --file=- --preserve-permissions --no-same-owner --delay-directory-restore --directory=/to
find /to -mindepth 1 ! -type f ! -type d ! -type l -delete
`;
