// The environment of a build, and what of the host it needs to see: certificates, npm, the semver package. Reads the
// daemon's environment by an allow-list; nothing else of it reaches a build.

import { existsSync, realpathSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, isAbsolute, join } from 'node:path';
import type { Bind } from '../ports/sandbox.ts';

/** Where the sandbox shows Peer's own Node. */
export const PEER_NODE_DIR = '/opt/peer/node/bin';
const NPM_DIR = '/opt/peer/npm';
const SEMVER_DIR = '/opt/peer/semver';
const CA_DIR = '/opt/peer/ca';

/** How a build reaches the world: proxies and registries. */
const PASSED = [
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'ALL_PROXY',
  'NO_PROXY',
  'http_proxy',
  'https_proxy',
  'all_proxy',
  'no_proxy',
  'npm_config_registry',
  'NPM_CONFIG_REGISTRY',
  'PIP_INDEX_URL',
  'PIP_EXTRA_INDEX_URL',
  'PIP_TRUSTED_HOST',
  'PIP_DEFAULT_TIMEOUT',
  'GOPROXY',
  'GOSUMDB',
  'GONOSUMDB',
];

/** Files and folders with certificates to trust; shown to the build when they are where it cannot see them. */
const CERTIFICATES = [
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'NODE_EXTRA_CA_CERTS',
  'GIT_SSL_CAINFO',
  'CURL_CA_BUNDLE',
  'REQUESTS_CA_BUNDLE',
  'PIP_CERT',
];

/** Those of PASSED that name hosts. NO_PROXY names what is reached without one, which a build may not do by itself. */
const REACHED = PASSED.filter((name) => /proxy$|registry$|index_url$/i.test(name) && !/^no_proxy$/i.test(name));

export type BuildEnvironment = {
  env: Record<string, string>;
  binds: Bind[];
  /** URLs that a build may reach wherever they lead, because the daemon's own settings name them. */
  reach: string[];
};

export const buildEnvironment = (options: {
  daemonEnv: NodeJS.ProcessEnv;
  stack: string;
  home: string;
  tmp: string;
}): BuildEnvironment => {
  const { daemonEnv } = options;
  const binds: Bind[] = [];
  const path = [PEER_NODE_DIR, '/usr/local/bin', '/usr/bin', '/bin'];

  const npm = findNpm(daemonEnv);
  if (npm !== undefined) {
    binds.push({ from: npm, to: NPM_DIR, writable: false });
    path.push(join(NPM_DIR, 'bin'));
  }
  const env: Record<string, string> = {
    STACK: options.stack,
    CF_STACK: options.stack,
    HOME: options.home,
    TMPDIR: options.tmp,
    PATH: path.join(delimiter),
    LANG: 'C.UTF-8',
    // npm's scripts ask who builds; no build waits for an answer at a terminal.
    CI: 'true',
    GIT_TERMINAL_PROMPT: '0',
    PEER_SEMVER: SEMVER_DIR,
  };
  binds.push({
    from: dirname(createRequire(import.meta.url).resolve('semver/package.json')),
    to: SEMVER_DIR,
    writable: false,
  });

  for (const name of PASSED) {
    const value = daemonEnv[name];
    if (value) env[name] = value;
  }
  for (const name of CERTIFICATES) {
    const from = daemonEnv[name];
    if (!from || !isAbsolute(from) || !existsSync(from)) continue;
    const visible = /^\/(usr|etc\/(ssl|pki|ca-certificates))\//.test(from);
    env[name] = visible ? from : join(CA_DIR, name);
    if (!visible) binds.push({ from: realpathSync(from), to: env[name], writable: false });
  }
  const reach = REACHED.flatMap((name) => (daemonEnv[name] ?? '').split(/\s+/)).filter((url) => url !== '');
  return { env, binds, reach: [...new Set(reach)] };
};

/**
 * npm's folder when it is not where every sandbox sees it (/usr): the one that started the daemon, or the one on its
 * PATH. Undefined when /usr has one, or when there is none; the nodejs buildpack says so when it needs it.
 */
const findNpm = (daemonEnv: NodeJS.ProcessEnv): string | undefined => {
  if (existsSync('/usr/bin/npm') || existsSync('/usr/local/bin/npm')) return undefined;
  const candidates = [
    ...(daemonEnv.npm_execpath ? [daemonEnv.npm_execpath] : []),
    ...(daemonEnv.PATH ?? '').split(delimiter).map((dir) => join(dir, 'npm')),
  ];
  for (const candidate of candidates) {
    if (!isAbsolute(candidate) || !existsSync(candidate)) continue;
    // …/npm/bin/npm-cli.js → …/npm
    const folder = dirname(dirname(realpathSync(candidate)));
    if (existsSync(join(folder, 'bin', 'npm-cli.js')) && existsSync(join(folder, 'package.json'))) return folder;
  }
  return undefined;
};
