# How each package manager installs, prunes and runs scripts without asking, with its own cache in the pack's cache. Sourced
# by compile, which has decided which one it is. An install never changes a lock file: one that does not fit is an error.

# manager_get: makes the manager's program callable as `manager_run`, once. What is in the cache needs none.
manager_get() {
  if [ -n "${manager_got-}" ]; then return; fi
  manager_got=yes
  local registry=${npm_config_registry-${NPM_CONFIG_REGISTRY-}}
  find_npm
  npm_settings "$cache"
  case $manager in
    npm) manager_run() { npm "$@"; } ;;
    yarn)
      npm_tool "$cache" "$manager_package" "$manager_range" Yarn "$manager_source"
      manager_dir=$tool_dir manager_version=$tool_version
      [ -n "$registry" ] && export YARN_REGISTRY=$registry YARN_NPM_REGISTRY_SERVER=$registry
      # A loopback or in-house registry may speak plain HTTP.
      case $registry in http://*) export YARN_UNSAFE_HTTP_WHITELIST=$(sed -E 's#^http://([^/:]+).*#\1#' <<<"$registry") ;; esac
      # Packages in node_modules, where every program finds them; a lock file is the same for both ways.
      export YARN_NODE_LINKER=node-modules YARN_ENABLE_TELEMETRY=false YARN_ENABLE_GLOBAL_CACHE=false
      export YARN_CACHE_FOLDER=$cache/yarn YARN_GLOBAL_FOLDER=$cache/yarn-global YARN_IGNORE_PATH=1
      manager_run() { node "$manager_dir/bin/yarn.js" "$@"; }
      ;;
    pnpm)
      npm_tool "$cache" "$manager_package" "$manager_range" pnpm "$manager_source"
      manager_dir=$tool_dir manager_version=$tool_version
      [ -n "$registry" ] && export pnpm_config_registry=$registry
      # What is named in package.json is what runs, not yet another download.
      export npm_config_manage_package_manager_versions=false pnpm_config_manage_package_manager_versions=false
      export npm_config_store_dir=$cache/pnpm pnpm_config_store_dir=$cache/pnpm
      manager_run() { "$manager_dir/../.bin/pnpm" "$@"; }
      ;;
  esac
}

# manager_install DEV: `yes` with packages for development.
manager_install() {
  local dev=$1
  case $manager in
    npm)
      local omit=--omit=dev
      [ -n "$dev" ] && omit=--include=dev
      if [ -n "$lock_file" ]; then
        echo 'Installing packages with npm ci'
        manager_run ci "$omit" --prefer-offline
      else
        echo 'Installing packages with npm install (a package-lock.json would pin their versions)'
        manager_run install "$omit" --no-package-lock
      fi
      ;;
    yarn)
      echo "Installing packages with Yarn $manager_version"
      if [ "${manager_version%%.*}" = 1 ]; then
        local frozen=()
        [ -n "$lock_file" ] && frozen=(--frozen-lockfile)
        if [ -n "$dev" ]; then frozen+=(--production=false); else frozen+=(--production); fi
        manager_run install --non-interactive --no-progress --prefer-offline "${frozen[@]}"
      else
        local immutable=--no-immutable
        [ -n "$lock_file" ] && immutable=--immutable
        manager_run install "$immutable" || return
        [ -n "$dev" ] || manager_prune
      fi
      ;;
    pnpm)
      echo "Installing packages with pnpm $manager_version"
      local frozen=(--no-frozen-lockfile)
      [ -n "$lock_file" ] && frozen=(--frozen-lockfile)
      [ -n "$dev" ] || frozen+=(--prod)
      NODE_ENV=${dev:+development} manager_run install --prefer-offline --reporter=append-only "${frozen[@]}"
      ;;
  esac
}

# Takes the packages for development out again. What stays is what the build had: versions are looked up once, and the
# app's own scripts, which may need what goes, do not run again.
manager_prune() {
  case $manager in
    npm) npm_prune ;;
    yarn)
      if [ "${manager_version%%.*}" = 1 ]; then
        manager_run install --non-interactive --no-progress --offline --ignore-scripts --production
      else
        manager_run workspaces focus --all --production
      fi
      ;;
    pnpm) CI=true npm_config_ignore_scripts=true pnpm_config_ignore_scripts=true manager_run prune --prod ;;
  esac
}

# npm prunes by a lock file, and looks every version up anew without one: an app that has none gets one of what is
# installed, for as long as it takes.
npm_prune() {
  local lock=${lock_file:-package-lock.json} kept=
  if [ -n "$lock_file" ]; then
    kept=$(mktemp) && cp "$lock" "$kept"
  else
    cp node_modules/.package-lock.json "$lock" 2>/dev/null || true
  fi
  manager_run prune --omit=dev --package-lock --ignore-scripts || return
  # npm may write it in another form.
  if [ -n "$kept" ]; then cat "$kept" >"$lock" && rm "$kept"; else rm -f "$lock"; fi
}

# manager_ship NAME INTO: a manager that the app's processes call goes with the droplet.
manager_ship() {
  local name=$1 into=$2 source
  case $name in
    npm)
      find_npm
      source=$(dirname "$(dirname "$npm_path")")
      # A system's own npm may be spread over many folders; the one of the registry is whole.
      if [ ! -d "$source/node_modules" ]; then
        npm_tool "$cache" npm "$(npm --version)" npm 'this node'
        source=$tool_dir
      fi
      cp -a "$source" "$into/npm"
      ln -s ../npm/bin/npm-cli.js "$into/bin/npm"
      ln -s ../npm/bin/npx-cli.js "$into/bin/npx"
      chmod +x "$into"/npm/bin/np?-cli.js
      ;;
    "$manager")
      mkdir -p "$into/$name"
      cp -a "${manager_dir%/node_modules/*}/node_modules/." "$into/$name/node_modules/"
      local program=$into/$name/node_modules/.bin/$name
      [ -e "$program" ] || fail "the $name that the app's processes call could not be found in its package"
      ln -s "../$name/node_modules/.bin/$name" "$into/bin/$name"
      ;;
    *) warn "a process calls $name, but packages are installed with $manager: it will not be found" ;;
  esac
}
