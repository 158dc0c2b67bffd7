// Reads what a Bun app in the current folder says of itself and prints it as shell variables; writes the release. Runs
// none of it.

const { existsSync, mkdirSync, readFileSync, writeFileSync } = require('node:fs');

const ENTRIES = ['index', 'server', 'main', 'app', 'src/index', 'src/server'].flatMap((name) =>
  ['ts', 'tsx', 'js', 'mjs'].map((extension) => `${name}.${extension}`),
);

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const fail = (why) => {
  process.stdout.write(`fail ${quoted(why)}\n`);
  process.exit(0);
};
const mapping = (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {});

let manifest = {};
if (existsSync('package.json')) {
  try {
    manifest = JSON.parse(readFileSync('package.json', 'utf8'));
  } catch (error) {
    fail(`package.json is not valid JSON: ${error.message.split('\n')[0]}`);
  }
  if (mapping(manifest) !== manifest) fail('package.json must hold a JSON object');
}
const scripts = mapping(manifest.scripts);
const any = (...names) => names.some((name) => Object.keys(mapping(manifest[name])).length > 0);

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
const web = typeof scripts.start === 'string' ? scripts.start : entry === undefined ? undefined : `bun run ${entry}`;
mkdirSync('.peer', { recursive: true });
// JSON is YAML too.
writeFileSync('.peer/release.yml', `${JSON.stringify(web === undefined ? {} : { default_process_types: { web } })}\n`);

const hasBuild = typeof scripts.build === 'string';
const variables = {
  bun_range: range,
  bun_source: source,
  needs_install:
    any('dependencies', 'optionalDependencies', 'peerDependencies') ||
    manifest.workspaces !== undefined ||
    (hasBuild && any('devDependencies'))
      ? 'yes'
      : '',
  has_dev_packages: any('devDependencies') ? 'yes' : '',
  has_build: hasBuild ? 'yes' : '',
  has_start: web === undefined ? '' : 'yes',
};
for (const [name, value] of Object.entries(variables)) process.stdout.write(`${name}=${quoted(value)}\n`);
