// Reads what a Deno app in the current folder says of itself and prints it as shell variables; writes the release.
// Runs none of it.

const { existsSync, mkdirSync, readFileSync, writeFileSync } = require('node:fs');
const { fail, printVariables } = require('../manifest.cjs');

/** Files that Deno's own examples and templates start. */
const ENTRIES = ['main', 'server', 'app', 'index', 'mod'].flatMap((name) =>
  ['ts', 'tsx', 'js', 'mjs'].map((extension) => `${name}.${extension}`),
);

const read = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : '');
const config = ['deno.json', 'deno.jsonc'].find(existsSync);

/** Comments and trailing commas, which deno.jsonc may have, outside of strings. */
const withoutComments = (text) =>
  text
    .replace(/("(?:\\.|[^"\\])*")|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (_all, string) => string ?? '')
    .replace(/("(?:\\.|[^"\\])*")|,(?=\s*[}\]])/g, (_all, string) => string ?? '');

let tasks = {};
if (config !== undefined) {
  try {
    tasks = JSON.parse(withoutComments(read(config))).tasks ?? {};
  } catch (error) {
    fail(`${config} is not valid: ${error.message.split('\n')[0]}`);
  }
}

const source = ['.deno-version', '.dvmrc'].find((file) => read(file).trim() !== '');
const range = source === undefined ? '*' : read(source).trim().split(/\s/)[0].replace(/^v/, '');
const entry = ENTRIES.find(existsSync) ?? '';
// The sandbox is what confines an app here; a task of its own may ask for less.
const web = tasks.start !== undefined ? 'deno task start' : entry === '' ? undefined : `deno run --allow-all ${entry}`;
mkdirSync('.peer', { recursive: true });
// JSON is YAML too.
writeFileSync('.peer/release.yml', `${JSON.stringify(web === undefined ? {} : { default_process_types: { web } })}\n`);

printVariables({
  deno_range: range,
  deno_source: source ?? 'the newest',
  has_build: tasks.build !== undefined,
  entry,
});
