# What the compile scripts of the built-in buildpacks share: how they speak, how they fail, and how they take over the
# app's variables. Sourced; runs nothing by itself.

say() { printf '       %s\n' "$*"; }
warn() { printf ' !     %s\n' "$*"; }
fail() {
  warn "$@"
  exit 1
}
indent() { sed -u '/^[[:space:]]*$/d; s/^/       /'; }

# need PROGRAM PACKAGE FOR: what FOR needs PROGRAM, which Debian's PACKAGE has.
need() {
  type -P "$1" >/dev/null ||
    fail "$3 needs $1, which this node does not have: install it (Debian: apt-get install $2), or push to a node that has it"
}

# First word of the first line that is no comment, of a file that may be missing: what .ruby-version and its kin hold.
version_file() {
  [ -f "$1" ] || return 0
  sed -n 's/^[[:space:]]*\([^#[:space:]][^[:space:]]*\).*/\1/p;' "$1" | head -n 1
}

# Build tools may use the app's variables; a few would break the build itself.
export_env() {
  local file name
  for file in "$1"/*; do
    name=${file##*/}
    case $name in
      '*' | PATH | HOME | GIT_DIR | CPATH | CPPATH | LD_* | LIBRARY_PATH | LANG | BUILD_DIR | TMPDIR | IFS | BASH_* | NODE_OPTIONS | NODE_ENV | PORT) ;;
      *) export "$name=$(cat "$file")" ;;
    esac
  done
}
