// Reads an app's package.json and prints what there is to do as shell variables; writes the release. Runs none of it.
// Usage: node plan.cjs BUILD_DIR. The semver package is found through PEER_SEMVER.

const { existsSync, mkdirSync, readFileSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');

const build = process.argv[2];
const has = (file) => existsSync(join(build, file));
const fail = (why) => {
  process.stdout.write(`fail ${quoted(why)}\n`);
  process.exit(0);
};
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const mapping = (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {});

let manifest;
try {
  manifest = JSON.parse(readFileSync(join(build, 'package.json'), 'utf8').replace(/^\uFEFF/, ''));
} catch (error) {
  fail(`package.json is not valid JSON: ${error.message.split('\n')[0]}`);
}
if (mapping(manifest) !== manifest) fail('package.json must hold a JSON object');

const scripts = mapping(manifest.scripts);
const script = (name) => (typeof scripts[name] === 'string' ? scripts[name].trim() : '');
const any = (...names) => names.some((name) => Object.keys(mapping(manifest[name])).length > 0);

const nodeRange = String(mapping(manifest.engines).node ?? '').trim();
let nodeOk = true;
if (nodeRange !== '') {
  // Loaded only when needed: most apps name no version.
  const semver = require(process.env.PEER_SEMVER || 'semver');
  if (semver.validRange(nodeRange) === null)
    fail(`"engines" in package.json: "${nodeRange}" is not a range of versions, such as "24.x"`);
  nodeOk = semver.satisfies(process.versions.node, nodeRange);
}

const workspaces = manifest.workspaces !== undefined;
const hasBuild = script('build') !== '';
const hasDev = any('devDependencies');
const lockFile = ['npm-shrinkwrap.json', 'package-lock.json'].find(has) ?? '';
const installScripts = ['preinstall', 'install', 'postinstall', 'prepare'].some((name) => script(name) !== '');
const needsInstall =
  any('dependencies', 'optionalDependencies', 'peerDependencies') ||
  workspaces ||
  installScripts ||
  (hasBuild && hasDev);
const otherLock = lockFile === '' ? ['yarn.lock', 'pnpm-lock.yaml', 'bun.lock'].find(has) : undefined;

/** As `npm start` would, without the time and memory npm itself takes. */
const startCommand = () => {
  if (script('start') !== '')
    return script('prestart') === '' ? script('start') : `(${script('prestart')}) && ${script('start')}`;
  if (has('server.js')) return 'node server.js';
  const main = typeof manifest.main === 'string' && manifest.main !== '' ? manifest.main : 'index.js';
  // A main that is made by the build script is not there yet.
  return has(main) || has(`${main}.js`) || hasBuild
    ? `node ${/^[\w./-]+$/.test(main) ? main : quoted(main)}`
    : undefined;
};
const start = startCommand();
mkdirSync(join(build, '.peer'), { recursive: true });
// JSON is YAML too.
const release = start === undefined ? {} : { default_process_types: { web: start } };
writeFileSync(join(build, '.peer', 'release.yml'), `${JSON.stringify(release)}\n`);

const variables = {
  node_ok: nodeOk,
  node_version: process.versions.node,
  node_range: nodeRange,
  node_arch: process.arch,
  needs_install: needsInstall,
  has_build: hasBuild,
  has_dev_packages: hasDev,
  has_install_scripts: installScripts || workspaces,
  lock_file: lockFile,
  other_manager: otherLock ?? '',
};
for (const [name, value] of Object.entries(variables)) {
  const text = value === true ? 'yes' : value === false ? '' : value;
  process.stdout.write(`${name}=${quoted(text)}\n`);
}
