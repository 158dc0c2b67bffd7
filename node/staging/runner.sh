#!/bin/bash
# Runs inside the sandbox, as its unprivileged user: unpacks an app, fetches and runs buildpacks, packs the droplet. It
# trusts nothing it finds and decides nothing about errors: it says where it stopped, by its exit status and in its
# result.
#
#   runner.sh unpack                                    the upload into the app's folder
#   runner.sh fetch git|archive|upload FROM REF NUMBER  a buildpack into the scratch folder's packs/NUMBER; what the URL
#                                                       has of secrets is in the environment (source-url.ts)
#   runner.sh build detect|given [NAME FOLDER CACHE]…   detect, then compile (or supply and finalize) and release
#   runner.sh stage detect|given [NAME FOLDER CACHE]…   unpack, then build; the latter not when asked to detect and the
#                                                       app may name its buildpacks
#   runner.sh pack FOLDER MARK [LENT]                   a droplet as a tar on standard output, without what is in the
#                                                       folder app/LENT; what it was lent goes back with MARK
#
# Folders, by environment variable: PEER_APP (the app), PEER_DEPS, PEER_LAYERS and PEER_PROFILE (the rest of the
# droplet), PEER_CACHE (the app's caches, one below it per buildpack), PEER_TOGETHER (droplet/app and cache once more,
# on one mount; need not be there), PEER_SCRATCH (env, source, packs), PEER_BUILTINS (the built-in buildpacks, read
# only), PEER_LIFECYCLE (what runs Cloud Native Buildpacks), PEER_RESULT (what the stager reads).

set -u
umask 022

# Exit statuses, read by verdict.ts. 222 to 226 are those that Cloud Foundry uses.
UNPACK_FAILED=221
NOTHING_DETECTED=222
COMPILE_FAILED=223
RELEASE_FAILED=224
SUPPLY_FAILED=225
FINALIZE_FAILED=226
FETCH_FAILED=227
GIT_MISSING=228
NO_BUILDPACK=229
MIXED_KINDS=230
LIFECYCLE_FAILED=231
OWN_PACKS=232

# What the stager reads is bounded here already; it bounds it again.
RESULT_BYTES_MAX=262144
# A buildpack, compressed and not.
PACK_BYTES_MAX=$((512 * 1024 * 1024))
PACK_UNPACKED_BYTES_MAX=$((2 * 1024 * 1024 * 1024))

APP=$PEER_APP
DEPS=$PEER_DEPS
LAYERS=$PEER_LAYERS
PROFILE=$PEER_PROFILE
BUILTINS=$PEER_BUILTINS
LIFECYCLE=$PEER_LIFECYCLE
CACHE=$PEER_CACHE
TOGETHER=$PEER_TOGETHER
SCRATCH=$PEER_SCRATCH
RESULT=$PEER_RESULT
unset PEER_APP PEER_DEPS PEER_LAYERS PEER_PROFILE PEER_BUILTINS PEER_LIFECYCLE PEER_CACHE PEER_TOGETHER PEER_SCRATCH PEER_RESULT
NODE=/opt/peer/node/bin/node
COMPLAINTS=$SCRATCH/complaints
LENT=$SCRATCH/lent
LENDER=
# The folder that was lent, when it was packed before as it is.
MARKED=

tell() { printf '%s\n' "$*" >>"$RESULT/status"; }
step() { printf -- '-----> %s\n' "$*"; }
warn() { printf ' !     %s\n' "$*"; }
# A file of the app for the stager: read here and not on the host, so that whatever it leads to is inside the sandbox.
show() { if [ -f "$1" ]; then head -c $RESULT_BYTES_MAX "$1" >"$RESULT/$2"; fi; }

# Files that say what an app is, as their many readers take them: UTF-8 without a byte order mark; those that are read
# line by line with LF at the end of each, also of the last. Everything else stays as it was pushed.
LINE_FILES=(Procfile .buildpacks Staticfile .profile runtime.txt .nvmrc .node-version .bun-version .deno-version .dvmrc
  .python-version .ruby-version .tool-versions .php-version system.properties requirements.txt)
JSON_FILES=(package.json package-lock.json app.json deno.json deno.jsonc composer.json project.toml pyproject.toml)
plain_text() {
  local name file first
  for name in "${LINE_FILES[@]}" "${JSON_FILES[@]}"; do
    file=$APP/$name
    if [ ! -f "$file" ] || [ -L "$file" ]; then continue; fi
    # Bytes, whatever they are; a null byte, which UTF-16 has many of, is left out.
    LC_ALL=C IFS= read -r -N 3 first <"$file" 2>/dev/null || true
    case $first in
      $'\xef\xbb\xbf'*) decode "$file" utf-8 ;;
      $'\xff\xfe'*) decode "$file" utf-16le && warn "$name is UTF-16, and is read as if it were UTF-8" ;;
      $'\xfe\xff'*) decode "$file" utf-16be && warn "$name is UTF-16, and is read as if it were UTF-8" ;;
    esac
  done
  for name in "${LINE_FILES[@]}"; do
    file=$APP/$name
    if [ ! -s "$file" ] || [ -L "$file" ]; then continue; fi
    if grep -q $'\r$' "$file"; then sed -i 's/\r$//' "$file"; fi
    if [ -n "$(tail -c 1 "$file")" ]; then echo >>"$file"; fi
  done
}

# decode FILE ENCODING: in place, without its mark.
decode() {
  "$NODE" -e '
    const [file, encoding] = process.argv.slice(1);
    const { readFileSync, writeFileSync } = require("node:fs");
    writeFileSync(file, new TextDecoder(encoding).decode(readFileSync(file)));
  ' "$1" "$2"
}

unpack() {
  if ! tar -xf "$SCRATCH/source" -C "$APP" --no-same-owner --no-same-permissions 2>"$COMPLAINTS"; then
    head -c 2000 "$COMPLAINTS"
    exit $UNPACK_FAILED
  fi
  rm -f "$SCRATCH/source"
  # An upload may hold folders that even their owner cannot write to.
  chmod -R u+rwX "$APP"
  plain_text
  show "$APP/.buildpacks" buildpacks
  show "$APP/app.json" app.json
}

stage() {
  unpack
  if [ "$1" = detect ] && { [ -e "$RESULT/buildpacks" ] || [ -e "$RESULT/app.json" ]; }; then exit $OWN_PACKS; fi
  build "$@"
}

build() {
  local mode=$1
  shift
  local names=() folders=() caches=()
  while [ $# -ge 3 ]; do
    names+=("$1") folders+=("$2") caches+=("$3")
    shift 3
  done
  local chosen=("${!names[@]}") at folder last role status released=

  if [ "$mode" = detect ]; then
    detect
    chosen=("$DETECTED")
  fi

  local cloud_native=0
  for at in "${chosen[@]}"; do
    if is_cloud_native "${folders[at]}"; then cloud_native=$((cloud_native + 1)); fi
  done
  if [ $cloud_native -eq ${#chosen[@]} ]; then
    local pairs=()
    for at in "${chosen[@]}"; do pairs+=("${names[at]}" "${folders[at]}"); done
    mkdir -p "$CACHE/cloud-native"
    "$NODE" "$LIFECYCLE" "$APP" "$LAYERS" "$PROFILE" "$CACHE/cloud-native" "$SCRATCH" "$RESULT" "${pairs[@]}" </dev/null ||
      exit $LIFECYCLE_FAILED
    finish
    return
  fi
  [ $cloud_native -eq 0 ] || exit $MIXED_KINDS

  last=${chosen[-1]}
  for at in "${chosen[@]}"; do
    folder=${folders[at]}
    role=compile
    if [ "$at" = "$last" ] && [ -x "$folder/bin/finalize" ]; then
      role=finalize
    elif [ "$at" != "$last" ] && [ -x "$folder/bin/supply" ]; then
      role=supply
    elif [ ! -f "$folder/bin/compile" ]; then
      tell "no-buildpack $at"
      exit $NO_BUILDPACK
    elif [ -n "$(ls -A "$DEPS")" ]; then
      warn "buildpack ${names[at]} has no bin/finalize: it cannot use what the buildpacks before it supplied"
    fi
    # A buildpack may write into its own folder; those of the host stay as they are.
    if [[ $folder != "$BUILTINS"/* && $folder != "$SCRATCH"/* ]]; then
      cp -a "$folder" "$SCRATCH/packs/$at" || exit $COMPILE_FAILED
      folder=$SCRATCH/packs/$at
    fi
    mkdir -p "$CACHE/${caches[at]}"
    tell "running $at"
    step "Buildpack: ${names[at]}"

    case $role in
      compile)
        # Only the last one knows that nobody changes what it takes out of its cache before the droplet is packed.
        if [ "$at" = "$last" ] && [ -d "$TOGETHER" ]; then
          LENDER=${caches[at]}
          export PEER_LENT=$LENT PEER_LEND_FROM=$TOGETHER/cache/$LENDER PEER_LEND_TO=$TOGETHER/droplet/app
        fi
        run_pack compile "$APP" "$CACHE/${caches[at]}" "$SCRATCH/env" || ended $? $COMPILE_FAILED
        unset PEER_LENT PEER_LEND_FROM PEER_LEND_TO
        ;;
      *)
        mkdir -p "$DEPS/$at"
        if [ -x "$folder/bin/supply" ]; then
          (exported_env && run_pack supply "$APP" "$CACHE/${caches[at]}" "$DEPS" "$at") || ended $? $SUPPLY_FAILED
        fi
        if [ $role = finalize ]; then
          (exported_env && run_pack finalize "$APP" "$CACHE/${caches[at]}" "$DEPS" "$at" "$PROFILE") ||
            ended $? $FINALIZE_FAILED
        fi
        ;;
    esac

    # The last buildpack that has a release names the processes; one that only supplies is never the one.
    if [ $role != supply ] && [ -x "$folder/bin/release" ]; then
      (cd "$folder" && exec ./bin/release "$APP") </dev/null 2>"$COMPLAINTS" >"$SCRATCH/release.yml"
      status=$?
      if [ $status -ne 0 ]; then
        head -c 2000 "$COMPLAINTS"
        ended $status $RELEASE_FAILED
      fi
      released=1
    fi

    # What a buildpack exports is for those after it.
    if [ -f "$folder/export" ]; then . "$folder/export"; fi
  done

  if [ -n "$released" ]; then show "$SCRATCH/release.yml" release.yml; fi
  finish
}

# Runs bin/$1 of the buildpack in $folder with the arguments that follow, in the buildpack's own folder.
run_pack() {
  local script=$1
  shift
  (cd "$folder" && exec "./bin/$script" "$@") </dev/null
}

ended() {
  tell "status $1"
  exit "$2"
}

# Cloud Foundry's buildpacks are given no folder with the user's variables: they are in the environment, without those
# that would break the build itself.
exported_env() {
  local file name
  for file in "$SCRATCH"/env/*; do
    name=${file##*/}
    case $name in
      '*' | PATH | HOME | GIT_DIR | CPATH | CPPATH | LD_* | LIBRARY_PATH | LANG | BUILD_DIR | TMPDIR | IFS | BASH_* | STACK | CF_STACK) ;;
      *) export "$name=$(cat "$file")" ;;
    esac
  done
}

# Build tools leave unreadable and read-only folders; the droplet is read when it is packed.
finish() {
  show "$APP/Procfile" Procfile
  tell_lent
  if [ -n "$MARKED" ]; then
    # What was in a droplet before went through this then.
    find "$APP" -path "$APP/$MARKED" -prune -o ! -type l -exec chmod u+rwX {} + 2>/dev/null
  else
    chmod -R u+rwX "$APP" 2>/dev/null
  fi
  chmod -R u+rwX "$DEPS" "$LAYERS" "$PROFILE" 2>/dev/null
  tell 'done'
}

# Sets DETECTED to the number of the first buildpack that recognises the app.
detect() {
  local at said
  for at in "${!names[@]}"; do
    if [ ! -x "${folders[at]}/bin/detect" ]; then
      warn "buildpack ${names[at]} is skipped: its bin/detect is not executable"
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

# A Cloud Native Buildpack names the API it follows; a classic one may have a buildpack.toml too, without that.
is_cloud_native() {
  [ -f "$1/buildpack.toml" ] && grep -Eq '^[[:space:]]*api[[:space:]]*=' "$1/buildpack.toml" && [ ! -f "$1/bin/compile" ]
}

fetch() {
  local kind=$1 from=$2 ref=${3:-HEAD} into=$SCRATCH/packs/$4 archive=$SCRATCH/packs/$4.tgz
  case $kind in
    git)
      command -v git >/dev/null || exit $GIT_MISSING
      # Only these transports: no local repository and no helper command can be named. A fetch takes branches, tags and
      # commits alike.
      export GIT_ALLOW_PROTOCOL=https:http:git GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 GIT_ASKPASS=/bin/true
      {
        git -c init.defaultBranch=main init -q "$into" &&
          git -C "$into" fetch -q --depth 1 -- "$from" "$ref" &&
          git -C "$into" -c advice.detachedHead=false checkout -q --detach FETCH_HEAD &&
          { [ ! -f "$into/.gitmodules" ] || git -C "$into" submodule -q update --init --recursive --depth 1; }
      } </dev/null || exit $FETCH_FAILED
      tell "commit $(git -C "$into" rev-parse HEAD)"
      ;;
    archive)
      NODE_USE_ENV_PROXY=1 "$NODE" --use-system-ca "${LIFECYCLE%/*/*}/download.mjs" "$archive" $PACK_BYTES_MAX </dev/null ||
        exit $FETCH_FAILED
      unpack_archive "$archive" "$into"
      rm -f "$archive"
      ;;
    upload) unpack_archive "$from" "$into" ;;
  esac
}

# A buildpack in a compressed tar; one that holds a single folder, as archives of repositories do, is that folder.
unpack_archive() {
  local within
  mkdir -p "$2"
  if ! gzip -dc "$1" 2>"$COMPLAINTS" | head -c $PACK_UNPACKED_BYTES_MAX |
    tar -xf - -C "$2" --no-same-owner --no-same-permissions 2>>"$COMPLAINTS"; then
    head -n 1 "$COMPLAINTS" | head -c 500
    echo 'error: not a gzip-compressed tar archive of a buildpack'
    exit $FETCH_FAILED
  fi
  chmod -R u+rwX "$2"
  within=("$2"/*)
  if [ ${#within[@]} -eq 1 ] && [ -d "${within[0]}" ] && [ ! -L "${within[0]}" ] && [ "${within[0]##*/}" != bin ]; then
    mv "${within[0]}" "$2.within" && rm -rf "$2" && mv "$2.within" "$2"
  fi
}

# The same files always make the same bytes: names in order, no times, no owners.
pack() {
  local folder=$1 mark=$2 without=()
  if [ -n "${3-}" ]; then without=(--anchored "--exclude=./app/$3/*"); fi
  tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu --blocking-factor=20 "${without[@]}" -C "$folder" -c . || exit
  give_back "$mark"
}

# A buildpack may lend a folder of its cache to the app instead of copying it: it moves it from PEER_LEND_FROM to
# PEER_LEND_TO, where it has the same name, and writes that to PEER_LENT. What a build made itself may go the same way.
# Once the droplet is packed, the folder goes to the cache; beside it, NAME.mark says with which droplet. A build that
# ends before that leaves a cache without the folder.
give_back() {
  local name lender
  if [ -f "$LENT" ] && read -r name <"$LENT" && read -r lender <"$SCRATCH/lender"; then
    local from=$TOGETHER/droplet/app/$name to=$TOGETHER/cache/$lender/$name
    mv -T -- "$from" "$to" 2>/dev/null && printf '%s\n' "$1" >"$to.mark"
  fi
  return 0
}

# The stager learns what was lent, and the mark of it: none when it was never packed as it is.
tell_lent() {
  local name mark=
  if [ -f "$LENT" ] && read -r name <"$LENT"; then
    printf '%s\n' "$LENDER" >"$SCRATCH/lender"
    if [ -f "$TOGETHER/cache/$LENDER/$name.mark" ]; then read -r mark <"$TOGETHER/cache/$LENDER/$name.mark"; fi
    if [ -n "$mark" ]; then MARKED=$name; fi
    printf '%s %s\n' "$name" "$mark" >"$RESULT/lent"
  fi
}

command=$1
shift
"$command" "$@"
