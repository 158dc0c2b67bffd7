// What runs on the files of a volume, confined and as their owner: the copy of a volume that is being written to, and
// the tar that is made of the copy. Scripts of the machine's own tools, in bash; names of files travel between them
// ended by NUL, and never as arguments.

/** Where the tools find what they are given. */
export const FROM = '/from';
export const TO = '/to';
export const LISTS = '/lists';
export const BLOCK_TOOL = '/tools/block-tool.ts';
/** Where every sandbox has the daemon's own Node. */
const NODE = '/opt/peer/node/bin/node';

/** What the copy prints when it waits for the instance to be held still, and when it may go on. */
export const READY = 'ready';
export const DONE = 'done';
/** What it waits for. */
export const GO = 'go\n';

/**
 * What is told of each file: kind, inode, size, times, mode, names, and whether it was changed shortly before it was
 * looked at. Such a file may have been changed again within the same tick of the clock: its line has `$1` in it and so
 * counts as different each time. Folders count as different too: what is copied into one changes its time. `$2`: since
 * when a change is too new.
 */
const LOOK = `
look() {
  local line='%y %i %s %T@ %C@ %m %n'
  find . -mindepth 1 '(' -type f -o -type d -o -type l ')' '(' \\
    '(' -newermt "@$2" -o -newerct "@$2" -o -type d ')' -printf "$line $1\\t%p\\0" \\
    -o -printf "$line -\\t%p\\0" ')'
}
sorted() { sort -z -S 64M -T /lists "$@"; }
paths() { cut -z -f 2-; }
types() { sed -z -E 's/^(.) [^\\t]*/\\1/' | sorted; }
large() { sed -z -n -E '/^f [0-9]+ [0-9]{7,} /p' | paths; }
two_seconds_ago() { printf -v since '%(%s)T' -1; since=$((since - 2)); }
`;

/**
 * Copies `/from` to `/to` as it is at one point in time, for which the instance is held still: between READY and DONE.
 * Where the file system shares blocks (which is tried, unless `$1` says no), all is copied then. Elsewhere it is
 * copied twice before, and only what differs is copied then: of large files (a million bytes and more) the blocks that
 * do, which block-tool.ts finds.
 *
 * `sync` comes before each look but the last, so that whatever is changed through memory after it gets a new time.
 * Where a very large file was changed shortly before the first look, the second one waits until that is long ago: it
 * would be read once more while the instance (`$3`, if there is one) is held still.
 * What was copied is looked at as well: a name that became another kind of file while it was read is made anew.
 *
 * With `$2`, what tells later how the volume differs from the copy stays in `/lists` (DIFFER): `old`, how the files
 * were at a look from whose beginning on nothing was missed; `held`, the names that the copy has; `maps`, of its large
 * files.
 *
 * Sockets, pipes and devices are no data. Exits other than 0 when not all of it could be copied at the end.
 */
export const COPY = `
set -euo pipefail
${LOOK}
: >/lists/old >/lists/copied
head -c 4096 /dev/zero >/lists/probe
share=$1 based=$2 used=$3 tool=no
[ "$share" = no ] || cp --reflink=always /lists/probe /to/probe 2>/lists/problem || share=no
rm -f /to/probe

begin_tool() {
  [ "$tool" = no ] || return 0
  coproc BLOCKS { exec ${NODE} ${BLOCK_TOOL} serve 2>/lists/problem-tool; }
  exec 5>&"\${BLOCKS[1]}" 6<&"\${BLOCKS[0]}"
  tool=yes
}
# What it fails to do is done without it.
ask_tool() { [ "$tool" = yes ] && (printf '%s\\n' "$*" >&5) 2>/dev/null && read -r _ <&6; }

pass() {
  local status
  two_seconds_ago
  cd /from
  [ "$1" = last ] || sync -f .
  { look "$1" "$since" 2>/lists/problem || [ "$1" != last ]; } | sorted >/lists/new
  types </lists/new >/lists/types
  comm -z -23 /lists/copied /lists/types | paths >/lists/gone
  comm -z -13 /lists/old /lists/new >/lists/differs
  { paths </lists/differs; comm -z -13 /lists/copied /lists/types | paths; } | sorted -u >/lists/changed
  cd /to
  find . -type d ! -perm -u=wx -exec chmod u+wx '{}' +
  [ ! -s /lists/gone ] || xargs -0 -r rm -rf -- </lists/gone
  : >/lists/patched
  large </lists/differs | sorted >/lists/large
  if [ "$1" = first ]; then [ ! -s /lists/large ] || begin_tool
  elif [ -s /lists/large ]; then ask_tool patch /lists/large /lists/patched || : >/lists/patched
  fi
  if [ -s /lists/patched ]; then comm -z -23 /lists/changed /lists/patched >/lists/whole
  else mv /lists/changed /lists/whole
  fi
  cd /from
  set +e
  tar --create --file=- --format=gnu --sparse --no-recursion --null --files-from=/lists/whole \\
    $([ "$1" = last ] || echo --ignore-failed-read) 2>/lists/problem |
    tar --extract --file=- --preserve-permissions --delay-directory-restore --directory=/to 2>/lists/problem-to
  status=("\${PIPESTATUS[@]}")
  set -e
  if grep -q -E 'No space left|quota exceeded' /lists/problem-to; then cat /lists/problem-to >&2; exit 3; fi
  if [ "$1" = last ] && [ "\${status[*]}" != '0 0' ]; then cat /lists/problem /lists/problem-to >&2; exit 4; fi
  [ "$1" = last ] || mv /lists/new /lists/old
}
copied() { (cd /to && find . -mindepth 1 -printf '%y\\t%p\\0') | sorted >/lists/copied; }
wait_for_new() {
  local new left
  [ "$used" = yes ] || return 0
  new=$(sed -z -n -E '/^f [0-9]+ [0-9]{8,} [^\\t]* first\\t/p' /lists/old | head -c 1 | wc -c)
  left=$((since + 6 - $(date +%s)))
  [ "$new" = 0 ] || [ "$left" -le 0 ] || sleep "$left"
}

if [ "$share" = no ]; then
  pass first
  copied
  wait_for_new
  pass second
  copied
  cp /lists/old /lists/before
elif [ "$based" = yes ]; then
  two_seconds_ago
  cd /from
  sync -f .
  look shared "$since" | sorted >/lists/before
fi
echo ${READY}
read -r _
if [ "$share" = no ]; then pass last
else cp --archive --reflink=always /from/. /to/
fi
echo ${DONE}
find /to -mindepth 1 ! -type f ! -type d ! -type l -delete
if [ "$based" = yes ]; then
  copied
  mv /lists/before /lists/old
  mv /lists/copied /lists/held
  (cd /to && find . -type f -size +999999c -print0) >/lists/large
  begin_tool
  ask_tool map /lists/large /lists/maps || rm -f /lists/maps
fi
`;

/** A name for all names, kinds, modes, times, links and sizes of a folder's files. */
const DIGEST = `
digest() {
  find . -mindepth 1 '(' -type f -printf 'f %m %Ts %s %n\\t%p\\0' \\
    -o -type d -printf 'd %m %Ts\\t%p\\0' -o -type l -printf 'l %Ts %l\\t%p\\0' ')' | sorted | sha256sum
}
`;

/**
 * What `/from` has beyond what the lists know of another node (COPY), as a tar of `gone`, names to be removed there,
 * then `blocks`, of large files, then `files`, a tar of the others, folders with their times among them. `$1` is
 * another each time; it is `last` when nothing runs on the files any more, and then `digest` tells how all of it is.
 * What the other node has when it has taken all that is in the lists ending in `.new`.
 */
export const DIFFER = `
set -euo pipefail
${LOOK}${DIGEST}
two_seconds_ago
cd /from
[ "$1" = last ] || sync -f .
{ look "$1" "$since" 2>/lists/problem || [ "$1" != last ]; } | sorted >/lists/old.new
types </lists/old.new >/lists/held.new
comm -z -23 /lists/held /lists/held.new | paths >/lists/gone
comm -z -13 /lists/old /lists/old.new >/lists/differs
{ paths </lists/differs; comm -z -13 /lists/held /lists/held.new | paths; } | sorted -u >/lists/changed
large </lists/differs | sorted >/lists/large
cat /lists/changed /lists/gone >/lists/touched
: >/lists/blocks >/lists/patched
# After the last one nobody asks what the other node knows.
[ "$1" = last ] && [ ! -s /lists/large ] || \\
  ${NODE} ${BLOCK_TOOL} difference /lists/large /lists/touched /lists/maps /lists/maps.new /lists/blocks /lists/patched
comm -z -23 /lists/changed /lists/patched >/lists/whole
status=0
tar --create --file=/lists/files --format=gnu --sparse --no-recursion --null --files-from=/lists/whole \\
  $([ "$1" = last ] || echo --ignore-failed-read) 2>/lists/problem || status=$?
if grep -q -E 'No space left|quota exceeded' /lists/problem; then cat /lists/problem >&2; exit 3; fi
if [ "$1" = last ] && [ "$status" != 0 ]; then cat /lists/problem >&2; exit 4; fi
: >/lists/digest
[ "$1" != last ] || digest >/lists/digest
tar --create --file=- --format=gnu --directory=/lists gone blocks files digest
rm -f /lists/blocks /lists/files
`;

/**
 * Makes `/to` what another node has, by what DIFFER told there. Exits with 5 when it is not. What was a folder when it
 * was listed may be a file by the time it is packed, where files are used: the folder here is in its way then. All
 * that was in it is told anew by the next difference, which no longer lists it.
 */
export const APPLY = `
set -euo pipefail
${LOOK}${DIGEST}
tar --extract --file=- --directory=/lists
cd /to
find . -type d ! -perm -u=wx -exec chmod u+wx '{}' +
xargs -0 -r rm -rf -- </lists/gone
[ ! -s /lists/blocks ] || ${NODE} ${BLOCK_TOOL} apply /lists/blocks
extract() {
  tar --extract --file=/lists/files --preserve-permissions --no-same-owner --delay-directory-restore --directory="$1"
}
if ! extract /to 2>/lists/problem; then
  mkdir /lists/anew
  extract /lists/anew
  (cd /lists/anew && find . -mindepth 1 ! -type d -print0) | while IFS= read -r -d '' path; do
    [ ! -d "$path" ] || [ -L "$path" ] || rm -rf -- "$path"
  done
  extract /to
fi
find . -mindepth 1 ! -type f ! -type d ! -type l -delete
if [ -s /lists/digest ] && [ "$(digest)" != "$(cat /lists/digest)" ]; then
  echo 'it is not what its node has' >&2
  exit 5
fi
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
