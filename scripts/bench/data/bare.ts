// How long each engine takes by itself, from nothing to its first answer: the least that any platform needs on this
// machine. With its packages' own programs, as its documentation has it, as an account that is not root.

import { spawn } from 'node:child_process';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, waitFor } from '../../local-cluster.ts';
import { killAll, processTable } from '../../processes.ts';
import { output } from './inside.ts';

/** Debian's "nobody": engines do not start as root. */
const USER = 65_534;
const TIMEOUT_MS = 120_000;

type Bare = { prepare?: string; serve: string; answers: string };

/** Commands of bash; the folder is $D. */
const BARE: Readonly<Record<string, Bare>> = {
  redis: {
    serve: 'exec redis-server --dir "$D" --port 0 --unixsocket "$D/s" --appendonly yes',
    answers: 'redis-cli -s "$D/s" ping',
  },
  postgres: {
    prepare: '$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/initdb -D "$D/db" --data-checksums >/dev/null',
    serve: 'exec $(ls -d /usr/lib/postgresql/*/bin | tail -n 1)/postgres -D "$D/db" -c listen_addresses= -k "$D"',
    answers: 'psql -h "$D" -d postgres -c "select 1"',
  },
  mysql: {
    prepare:
      'mariadb-install-db --no-defaults --auth-root-authentication-method=normal --datadir="$D/db" --skip-test-db --basedir=/usr >/dev/null',
    serve: 'exec mariadbd --no-defaults --datadir="$D/db" --socket="$D/s" --skip-networking',
    answers: 'mariadb --no-defaults -u root -S "$D/s" -e "select 1"',
  },
  rabbitmq: {
    serve: 'exec /usr/lib/rabbitmq/bin/rabbitmq-server',
    answers: '/usr/lib/rabbitmq/bin/rabbitmqctl status',
  },
};

const RABBIT = {
  RABBITMQ_NODENAME: 'bare@localhost',
  RABBITMQ_NODE_PORT: '45672',
  RABBITMQ_DIST_PORT: '45673',
  ERL_EPMD_PORT: '45674',
  ERL_EPMD_ADDRESS: '127.0.0.1',
  RABBITMQ_CONF_ENV_FILE: '/dev/null',
};

/** Milliseconds. Leaves neither process nor file behind. */
export async function bareStart(kind: string): Promise<number> {
  const { prepare, serve, answers } = BARE[kind]!;
  const folder = await mkdtemp(join(tmpdir(), 'peer-bare-'));
  await chown(folder, USER, USER);
  const parts = ['MNESIA_BASE', 'LOG_BASE', 'ENABLED_PLUGINS_FILE', 'PID_FILE', 'FEATURE_FLAGS_FILE'];
  const env = {
    ...{ PATH: '/usr/sbin:/usr/bin:/sbin:/bin', HOME: folder, D: folder, LC_ALL: 'C.UTF-8', ...RABBIT },
    ...Object.fromEntries(parts.map((part) => [`RABBITMQ_${part}`, join(folder, part.toLowerCase())])),
  };
  // Programs find themselves a way up from here.
  await writeFile(join(folder, 'enabled_plugins_file'), '[].\n');
  const as = (script: string): string[] => [
    'setpriv',
    `--reuid=${USER}`,
    `--regid=${USER}`,
    '--clear-groups',
    'bash',
    '-c',
    script,
  ];
  const startMs = performance.now();
  if (prepare !== undefined) await output(as(prepare), { env, timeoutMs: TIMEOUT_MS });
  const [program, ...args] = as(serve);
  const engine = spawn(program!, args, { env, cwd: folder, stdio: 'ignore', detached: true });
  const ended = new Promise((resolve) => engine.once('exit', resolve));
  try {
    await waitFor(`${kind} to answer`, TIMEOUT_MS, async () => (await run(as(answers), { env })).code === 0);
    return performance.now() - startMs;
  } finally {
    killAll([-engine.pid!]);
    await ended;
    // What it started for itself, in groups of their own.
    killAll((await processTable()).filter(({ command }) => command.includes(folder)).map(({ pid }) => pid));
    await rm(folder, { recursive: true, force: true });
  }
}
