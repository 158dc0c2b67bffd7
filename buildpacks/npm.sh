# Tools that come as npm packages (Node itself, package managers, Deno, Bun): chosen by a range of versions, downloaded once,
# kept in the pack's cache, and used from there when the registry does not answer. Sourced after pack.sh; never runs a
# package's own scripts.

packs=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peer_node=$(command -v node)

find_npm() {
  npm_path=$(readlink -f "$(type -P npm)") && [ -f "$npm_path" ] ||
    fail 'this app needs npm, which this node does not have: install it (Debian: apt-get install npm), or push to a node that has it'
}

# npm itself always runs on Peer's Node; what it starts runs on the app's, which is first on the path.
npm() { "$peer_node" "$npm_path" "$@"; }

npm_settings() {
  export npm_config_cache=$1/npm npm_config_fund=false npm_config_audit=false npm_config_update_notifier=false
  export npm_config_loglevel=error npm_config_progress=false
  local registry=${npm_config_registry-${NPM_CONFIG_REGISTRY-}}
  # As Deno and Bun read it.
  if [ -n "$registry" ]; then export NPM_CONFIG_REGISTRY=$registry BUN_CONFIG_REGISTRY=$registry; fi
}

# npm_tool CACHE PACKAGE RANGE LABEL SOURCE: sets tool_dir (the package's folder) and tool_version. LABEL is what people call
# it, SOURCE where the app asks for the range.
npm_tool() {
  local cache=$1 package=$2 range=$3 label=$4 source=$5 kept known
  local tools=$cache/tools/$package
  find_npm
  npm_settings "$cache"
  kept=$(ls "$tools" 2>/dev/null | "$peer_node" "$packs/newest.cjs" "$range") || kept=
  # A full version that is here already can be no other one.
  if [ -n "$kept" ] && [ "$kept" = "$range" ]; then
    tool_version=$kept
  else
    # With something to fall back to, a registry that does not answer is not waited for.
    local patience=()
    [ -z "$kept" ] || patience=(--fetch-retries=0 --fetch-timeout=5000)
    tool_version=$(npm view "${patience[@]}" "$package@$range" version --json 2>/dev/null | "$peer_node" "$packs/newest.cjs" "$range") || tool_version=
    tool_version=${tool_version:-$kept}
  fi
  if [ -z "$tool_version" ]; then
    known=$(npm view "$package" versions --json 2>/dev/null | "$peer_node" "$packs/newest.cjs" --per-major) || known=
    [ -n "$known" ] || fail "$label \"$range\" ($source) could not be looked up: the npm registry does not answer; try again"
    fail "no $label satisfies \"$range\" ($source); there are, among others: $known"
  fi
  tool_dir=$tools/$tool_version/node_modules/$package
  [ -d "$tool_dir" ] && return
  say "$label $tool_version: downloading"
  rm -rf "$tools"
  mkdir -p "$tools/new"
  # The package may bring its program as another one, for this machine; neither is allowed to run anything now.
  npm install --prefix "$tools/new" --ignore-scripts --no-save --no-package-lock --omit=dev "$package@$tool_version" >/dev/null ||
    fail "$label $tool_version could not be downloaded: try again"
  mv "$tools/new" "$tools/$tool_version"
}
