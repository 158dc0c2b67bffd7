// What of a Compose file changes nothing here, and which of its services somebody has to ask for. Pure.

import type { Data } from './document.ts';

/** By the path of the mapping, with `*` for names. `x-…` are extensions, which are not even told. */
const WITHOUT_EFFECT: Record<string, readonly string[]> = {
  // Apps reach each other by their routes.
  '': ['networks'],
  'services.*': [
    // Instances are named and numbered by the platform, and each has a network of its own.
    ...['container_name', 'hostname', 'domainname', 'mac_address', 'networks', 'links', 'external_links', 'expose'],
    ...['dns', 'dns_search', 'dns_opt', 'attach', 'labels', 'label_file', 'annotations', 'logging'],
    // They have no capabilities, no new privileges and a user of their own, and what they write is bounded.
    ...['user', 'group_add', 'userns_mode', 'cap_drop', 'security_opt', 'read_only', 'tmpfs', 'shm_size', 'ulimits'],
    ...['storage_opt', 'isolation', 'init', 'tty', 'stdin_open', 'stop_signal', 'stop_grace_period'],
    // Processors are shared by memory; mem_limit is kept.
    ...['cpus', 'cpu_count', 'cpu_percent', 'cpu_shares', 'cpu_period', 'cpu_quota', 'cpuset', 'blkio_config'],
    ...['mem_reservation', 'mem_swappiness', 'memswap_limit', 'oom_kill_disable', 'oom_score_adj', 'pids_limit'],
    ...['platform', 'pull_policy', 'develop'],
  ],
  'services.*.build': ['cache_from', 'cache_to', 'labels', 'no_cache', 'platforms', 'pull', 'shm_size', 'tags'],
  'services.*.deploy': ['mode', 'labels', 'restart_policy', 'update_config', 'rollback_config', 'endpoint_mode'],
  'services.*.deploy.resources.limits': ['cpus', 'pids'],
  // Probes run as Peer sets them.
  'services.*.healthcheck': ['interval', 'timeout', 'retries', 'start_interval'],
};

export const hasNoEffect = (pattern: string, key: string): boolean => WITHOUT_EFFECT[pattern]?.includes(key) === true;

/**
 * Takes those out that have profiles of which none is in COMPOSE_PROFILES, as Compose starts them only then.
 * See https://github.com/compose-spec/compose-spec/blob/main/15-profiles.md
 */
export function leaveOutByProfile(
  services: { [name: string]: Data },
  variables: Readonly<Record<string, string | undefined>>,
  note: (text: string) => void,
): void {
  const chosen = (variables.COMPOSE_PROFILES ?? '').split(',').map((name) => name.trim());
  const leftOut: string[] = [];
  for (const [name, written] of Object.entries(services)) {
    const profiles = (written as { profiles?: Data } | null)?.profiles;
    if (!Array.isArray(profiles) || profiles.length === 0 || chosen.includes('*')) continue;
    if (profiles.some((profile) => chosen.includes(String(profile)))) continue;
    delete services[name];
    leftOut.push(`${name} (${profiles.join(', ')})`);
  }
  if (leftOut.length > 0)
    note(`left out by their profiles: ${leftOut.join(', ')}: --var COMPOSE_PROFILES=NAME adds them`);
}
