// Reads what an app says of itself (package.json, lock files, version files) and prints what there is to do as shell
// variables. Runs none of it.
// Usage: node plan.cjs BUILD_DIR. The semver package is found through PEER_SEMVER.

const { createHash } = require('node:crypto');
const { existsSync, readFileSync } = require('node:fs');
const { join } = require('node:path');
const { fail, isPlainNext, mapping, printVariables, readManifest } = require('../manifest.cjs');
const { nodeWanted } = require('./node-wanted.cjs');
const { packageManager } = require('./package-manager.cjs');

const build = process.argv[2];
const has = (file) => existsSync(join(build, file));
const read = (file) => (has(file) ? readFileSync(join(build, file), 'utf8') : '');

if (!has('package.json')) fail('there is no package.json here: add one (npm init), or push with another buildpack');
const about = readManifest(read('package.json'));
const { manifest, script, any, uses } = about;

const node = nodeWanted({ engines: mapping(manifest.engines), read, fail });
const manager = packageManager({ manifest, engines: mapping(manifest.engines), has, read, fail });

const workspaces = manifest.workspaces !== undefined || has('pnpm-workspace.yaml');
// Apps made for Heroku name what to build there by this script, and it stands in place of the other.
const buildScript = ['heroku-postbuild', 'build'].find((name) => script(name) !== '') ?? '';
const hasDev = any('devDependencies');
const installScripts = ['preinstall', 'install', 'postinstall', 'prepare'].some((name) => script(name) !== '');
const needsInstall =
  any('dependencies', 'optionalDependencies', 'peerDependencies') ||
  workspaces ||
  installScripts ||
  (buildScript !== '' && hasDev);

/**
 * What decides which files are in node_modules: the lock file, and of package.json what it must agree with. Empty when
 * more does: no lock file, or scripts and workspaces of the app itself.
 */
const installKey = () => {
  if (manager.lockFile === '' || installScripts || workspaces) return '';
  const asked = [
    'dependencies',
    'devDependencies',
    'optionalDependencies',
    'peerDependencies',
    'bundleDependencies',
    'overrides',
    'resolutions',
    'pnpm',
    'dependenciesMeta',
  ].map((name) => manifest[name] ?? null);
  const files = [manager.lockFile, '.npmrc', '.yarnrc', '.yarnrc.yml'].map(read);
  return createHash('sha256')
    .update(JSON.stringify([asked, files, manager.name, manager.range, process.arch]))
    .digest('hex');
};

printVariables({
  node_ok: node.ok,
  node_version: process.versions.node,
  node_range: node.range,
  node_source: node.source,
  node_arch: process.arch,
  needs_install: needsInstall,
  install_key: installKey(),
  build_script: buildScript,
  has_dev_packages: hasDev,
  lock_file: manager.lockFile,
  manager: manager.name,
  manager_package: manager.program,
  manager_range: manager.range,
  manager_source: manager.source,
  // What these leave, when they are told what they are built for, is judged by outcome.cjs.
  next_standalone: isPlainNext(about, has('server.js')) && !has('Procfile'),
  svelte_auto: uses('@sveltejs/adapter-auto'),
  unused_locks: manager.unusedLocks.join(', '),
});
