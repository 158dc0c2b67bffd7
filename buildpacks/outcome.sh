# What packs of apps with a package.json share once an app is built: they let run what it has, or what its build has left
# (outcome.cjs). Sourced, before the app's own Node is on the path; runs nothing by itself.

outcome_folder=${BASH_SOURCE[0]%/*}
# Peer's own, whatever the app wants.
peer_node=$(type -P node)

# Uses build, cache, env_dir and build_script of the pack; leaves manager_called.
run_what_was_built() {
  eval "$("$peer_node" "$outcome_folder/outcome.cjs" "$build" || echo exit 1)"
  if [ -n "$wants_adapter" ]; then
    fail 'SvelteKit left no server: add @sveltejs/adapter-node (or adapter-static) to svelte.config.js'
  fi
  if [ -n "$is_site" ]; then
    if [ -n "$site" ]; then
      say "Serving the files in $site"
      printf 'root: %s\n' "$site" >"$build/Staticfile"
      if [ -n "$site_fallback" ]; then printf 'fallback: %s\n' "$site_fallback" >>"$build/Staticfile"; fi
    fi
    PATH="${peer_node%/*}:$PATH" "$outcome_folder/static/bin/compile" "$build" "$cache" "$env_dir"
  elif [ -n "$start" ]; then
    say "Starting with: $start"
  elif [ -n "$build_script" ]; then
    warn 'package.json has no start script, and the build left neither a server nor a folder with an index.html'
  fi
  # Next leaves what browsers load beside the server that serves it.
  if [ -n "$is_next" ]; then
    local standalone=$build/.next/standalone
    cp -a "$build/.next/static" "$standalone/.next/"
    if [ -d "$build/public" ]; then cp -a "$build/public" "$standalone/"; fi
    find "$build/.next" -mindepth 1 -maxdepth 1 ! -name standalone -exec rm -rf {} +
  fi
  if [ -n "$is_whole" ] && [ -n "$build_script" ] && [ -d "$build/node_modules" ]; then
    say 'Leaving the packages out: the build carries what it needs (a Procfile keeps them)'
    rm -rf "$build/node_modules"
  fi
}
