// Reads what a Bun app in the current folder says of itself and prints it as shell variables; writes the release. Runs
// none of it.

const { existsSync, mkdirSync, readFileSync, writeFileSync } = require('node:fs');
const { mapping, printVariables, readManifest } = require('../manifest.cjs');

const ENTRIES = ['index', 'server', 'main', 'app', 'src/index', 'src/server'].flatMap((name) =>
  ['ts', 'tsx', 'js', 'mjs'].map((extension) => `${name}.${extension}`),
);

const { manifest, any, script } = readManifest(
  existsSync('package.json') ? readFileSync('package.json', 'utf8') : '{}',
);

const file = existsSync('.bun-version') ? readFileSync('.bun-version', 'utf8').trim().replace(/^v/, '') : '';
const managed = /^bun@([^+\s]+)/.exec(String(manifest.packageManager ?? ''))?.[1] ?? '';
const engine = String(mapping(manifest.engines).bun ?? '').trim();
const [range, source] = [
  [file, '.bun-version'],
  [managed, '"packageManager" in package.json'],
  [engine, '"engines" in package.json'],
].find(([value]) => value !== '') ?? ['*', 'the newest'];

const main = [manifest.module, manifest.main].find((one) => typeof one === 'string' && /^[\w./-]+$/.test(one));
const entry = main ?? ENTRIES.find(existsSync);
const web = script('start') !== '' ? script('start') : entry === undefined ? undefined : `bun run ${entry}`;
mkdirSync('.peer', { recursive: true });
// JSON is YAML too.
writeFileSync('.peer/release.yml', `${JSON.stringify(web === undefined ? {} : { default_process_types: { web } })}\n`);

const hasBuild = script('build') !== '';
printVariables({
  bun_range: range,
  bun_source: source,
  needs_install:
    any('dependencies', 'optionalDependencies', 'peerDependencies') ||
    manifest.workspaces !== undefined ||
    (hasBuild && any('devDependencies')),
  has_dev_packages: any('devDependencies'),
  has_build: hasBuild,
  has_start: web !== undefined,
});
