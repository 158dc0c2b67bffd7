#!/bin/bash
# Runs inside the sandbox, as its unprivileged user: unpacks an app, runs buildpacks on it, packs the droplet. It trusts
# nothing it finds and decides nothing about errors: it says where it stopped, by its exit status and in its result.
#
#   runner.sh build detect|given [NAME FOLDER CACHE]…   unpack the upload, then detect, compile, release
#   runner.sh fetch URL REF NUMBER                      a buildpack from git into the scratch folder's packs/NUMBER
#   runner.sh pack FOLDER                               a droplet as a tar on standard output
#
# Folders, by environment variable: PEER_APP (the app), PEER_CACHE (the app's caches, one below it per buildpack),
# PEER_SCRATCH (env, source.tgz, packs), PEER_BUILTINS (the built-in buildpacks, read only), PEER_RESULT (what the
# stager reads).

set -u
umask 022

# Exit statuses, read by build.ts. 222 to 224 are those that Cloud Foundry uses.
UNPACK_FAILED=221
NOTHING_DETECTED=222
COMPILE_FAILED=223
RELEASE_FAILED=224
FETCH_FAILED=225
GIT_MISSING=226

# What the stager reads is bounded here already; it bounds it again.
RELEASE_BYTES_MAX=262144
PROCFILE_BYTES_MAX=262144

APP=$PEER_APP
BUILTINS=$PEER_BUILTINS
CACHE=$PEER_CACHE
SCRATCH=$PEER_SCRATCH
RESULT=$PEER_RESULT
unset PEER_APP PEER_BUILTINS PEER_CACHE PEER_SCRATCH PEER_RESULT

tell() { printf '%s\n' "$*" >>"$RESULT/status"; }
step() { printf -- '-----> %s\n' "$*"; }

build() {
  local mode=$1
  shift
  local names=() folders=() caches=()
  while [ $# -ge 3 ]; do
    names+=("$1") folders+=("$2") caches+=("$3")
    shift 3
  done

  local complaints=$SCRATCH/complaints
  if ! tar -xzf "$SCRATCH/source.tgz" -C "$APP" --no-same-owner --no-same-permissions 2>"$complaints"; then
    head -c 2000 "$complaints"
    exit $UNPACK_FAILED
  fi
  rm -f "$SCRATCH/source.tgz"
  # An upload may hold folders that even their owner cannot write to.
  chmod -R u+rwX "$APP"

  local chosen=("${!names[@]}") at status released=
  if [ "$mode" = detect ]; then
    detect
    chosen=("$DETECTED")
  fi

  for at in "${chosen[@]}"; do
    local folder=${folders[at]}
    # A buildpack may write into its own folder; those of the host stay as they are.
    if [[ $folder != "$BUILTINS"/* && $folder != "$SCRATCH"/* ]]; then
      cp -a "$folder" "$SCRATCH/packs/$at" || exit $COMPILE_FAILED
      folder=$SCRATCH/packs/$at
    fi
    mkdir -p "$CACHE/${caches[at]}"
    tell "compiling $at"
    step "Buildpack: ${names[at]}"
    (cd "$folder" && exec ./bin/compile "$APP" "$CACHE/${caches[at]}" "$SCRATCH/env") </dev/null
    status=$?
    if [ $status -ne 0 ]; then
      tell "status $status"
      exit $COMPILE_FAILED
    fi

    # The last buildpack that has a release names the processes.
    if [ -x "$folder/bin/release" ]; then
      (cd "$folder" && exec ./bin/release "$APP") </dev/null 2>"$complaints" >"$SCRATCH/release.yml"
      status=$?
      if [ $status -ne 0 ]; then
        head -c 2000 "$complaints"
        tell "status $status"
        exit $RELEASE_FAILED
      fi
      released=1
    fi

    # What a buildpack exports is for those after it.
    if [ -f "$folder/export" ]; then . "$folder/export"; fi
  done

  # Read here and not on the host: whatever these lead to, it is inside the sandbox.
  if [ -n "$released" ]; then head -c $RELEASE_BYTES_MAX "$SCRATCH/release.yml" >"$RESULT/release.yml"; fi
  if [ -f "$APP/Procfile" ]; then head -c $PROCFILE_BYTES_MAX "$APP/Procfile" >"$RESULT/Procfile"; fi
  # Build tools leave unreadable and read-only folders; the droplet is read when it is packed.
  chmod -R u+rwX "$APP"
  tell 'done'
}

# Sets DETECTED to the number of the first buildpack that recognises the app.
detect() {
  local at said
  for at in "${!names[@]}"; do
    if [ ! -x "${folders[at]}/bin/detect" ]; then
      printf ' !     buildpack %s is skipped: its bin/detect is not executable\n' "${names[at]}"
      continue
    fi
    if said=$(cd "${folders[at]}" && exec ./bin/detect "$APP" </dev/null 2>/dev/null); then
      DETECTED=$at
      [ "${said:-${names[at]}}" = "${names[at]}" ] || step "Detected: ${said:0:200}"
      return
    fi
  done
  exit $NOTHING_DETECTED
}

fetch() {
  local url=$1 ref=${2:-HEAD} into=$SCRATCH/packs/$3
  command -v git >/dev/null || exit $GIT_MISSING
  # Only these transports: no local repository and no helper command can be named. A fetch takes branches, tags and commits alike.
  export GIT_ALLOW_PROTOCOL=https:http:git GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 GIT_ASKPASS=/bin/true
  {
    git -c init.defaultBranch=main init -q "$into" &&
      git -C "$into" fetch -q --depth 1 -- "$url" "$ref" &&
      git -C "$into" -c advice.detachedHead=false checkout -q --detach FETCH_HEAD &&
      { [ ! -f "$into/.gitmodules" ] || git -C "$into" submodule -q update --init --recursive --depth 1; }
  } </dev/null || exit $FETCH_FAILED
  tell "commit $(git -C "$into" rev-parse HEAD)"
}

# The same files always make the same bytes: names in order, no times, no owners.
pack() {
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu -C "$1" -c .
}

command=$1
shift
"$command" "$@"
