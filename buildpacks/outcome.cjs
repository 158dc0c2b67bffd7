// Decides what runs once an app is built: its own start script or main, or what a framework's build has left, a server
// or a folder of files. Prints it as shell variables and writes the release. Runs none of it.
// Usage: node outcome.cjs BUILD_DIR

const { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { isPlainNext, printVariables, readManifest, word } = require('./manifest.cjs');

const build = process.argv[2];
const at = (...parts) => join(build, ...parts);
const isFile = (path) => statSync(at(path), { throwIfNoEntry: false })?.isFile() === true;
const read = (file) => (isFile(file) ? readFileSync(at(file), 'utf8') : '');
const about = readManifest(read('package.json'));
const { manifest, script, uses } = about;

/** Servers for development, which starters give as their start script: they want what a build was made with. */
const DEVELOPMENT =
  /^(?:npx\s+)?(?:react-scripts start|vue-cli-service serve|docusaurus start|gatsby develop|nest start|ng serve|(?:next|astro|nuxt|nuxi|vite|remix) dev|vite|nuxt|astro|vite preview|eleventy --serve|parcel|webpack(?:-dev-server| serve))(?:\s|$)/;

/** A server that a framework's build has left: the file, and what else of the app it needs. */
const SERVERS = [
  // Nuxt, SolidStart, TanStack Start and whatever else Nitro builds: with its packages.
  { file: '.output/server/index.mjs', isWhole: true },
  { file: 'build/index.js', of: '@sveltejs/kit', command: 'node build' },
  { file: 'dist/server/entry.mjs', of: 'astro' },
  { file: 'dist/main.js', of: '@nestjs/core', command: 'node dist/main' },
  { file: 'dist/src/main.js', of: '@nestjs/core', command: 'node dist/src/main' },
];

/** Where builds leave files to serve; hidden ones are known by name. */
const SITES = ['dist', 'build', 'out', '_site', '.output/public', 'docs/.vitepress/dist', '.vitepress/dist', 'public'];

/** As `npm start` would, without the time and memory npm itself takes. */
function ownStart() {
  const start = script('start');
  if (start !== '' && !DEVELOPMENT.test(start)) {
    return script('prestart') === '' ? start : `(${script('prestart')}) && ${start}`;
  }
  if (isFile('server.js')) return 'node server.js';
  const main = typeof manifest.main === 'string' && manifest.main !== '' ? manifest.main : 'index.js';
  const found = [main, `${main}.js`, join(main, 'index.js')].find(isFile);
  return found === undefined ? undefined : `node ${word(main)}`;
}

/** Exported, or its own server, which carries what it needs of the packages. */
function ofNext() {
  if (!isPlainNext(about, isFile('server.js'))) return undefined;
  if (isFile('out/index.html')) return { site: 'out' };
  const standalone = '.next/standalone/server.js';
  if (isFile(standalone)) return { start: `HOSTNAME=$HOST node ${standalone}`, isWhole: true, next: true };
  return isFile('.next/BUILD_ID') ? { start: 'next start' } : undefined;
}

/** Angular builds a folder for each project of a workspace. */
function angularProject() {
  if (!uses('@angular/core')) return undefined;
  for (const name of existsSync(at('dist')) ? readdirSync(at('dist')).sort() : []) {
    const folder = `dist/${name}`;
    if (isFile(`${folder}/server/server.mjs`)) return { start: `node ${word(`${folder}/server/server.mjs`)}` };
    const site = [`${folder}/browser`, folder].find((one) => isFile(`${one}/index.html`));
    if (site !== undefined) return { site };
  }
  return undefined;
}

function frameworkServer() {
  for (const { file, of, command, isWhole } of SERVERS) {
    if (isFile(file) && (of === undefined || uses(of))) return { start: command ?? `node ${file}`, isWhole };
  }
  return undefined;
}

function site() {
  const found = SITES.find((folder) => isFile(`${folder}/index.html`) || isFile(`${folder}/200.html`));
  return found === undefined ? undefined : { site: found };
}

/** These make a file for each page, also where there is but one. */
const OF_PAGES = ['astro', '@11ty/eleventy', '@docusaurus/core', 'vitepress', 'gatsby'];

/** What a page that routes in the browser answers whatever it is asked with; none for a site of many pages. */
function fallbackOf(folder) {
  if (OF_PAGES.some(uses)) return '';
  const fallback = ['200.html', 'index.html'].find((file) => isFile(`${folder}/${file}`));
  if (fallback === '200.html') return fallback;
  const pages = readdirSync(at(folder), { recursive: true }).filter((path) => path.endsWith('.html'));
  return pages.length === 1 ? fallback : '';
}

/** Package managers that the app's processes call. */
function managersCalled(start) {
  const text = `${read('Procfile')}\n${start ?? ''}`;
  const calls = (tool) => new RegExp(`(^|[\\s;&|(:"'])${tool}(\\s|$)`, 'm').test(text);
  const tools = { npm: ['npm', 'npx'], yarn: ['yarn'], pnpm: ['pnpm', 'pnpx'] };
  return Object.keys(tools).filter((name) => tools[name].some(calls));
}

const isTold = /^web\s*:/m.test(read('Procfile'));
const own = ownStart();
const found = isTold
  ? {}
  : (ofNext() ?? (own === undefined ? (frameworkServer() ?? angularProject() ?? site()) : { start: own }) ?? {});
// The app says itself what of it is served.
const isSite = found.site !== undefined || (own === undefined && !isTold && isFile('Staticfile'));
const start = found.start ?? (isTold ? own : undefined);

mkdirSync(at('.peer'), { recursive: true });
// JSON is YAML too.
const web = isSite ? 'node .peer/static/server.mjs' : start;
writeFileSync(
  at('.peer', 'release.yml'),
  `${JSON.stringify(web === undefined ? {} : { default_process_types: { web } })}\n`,
);

printVariables({
  start: start ?? '',
  manager_called: managersCalled(start).join(' '),
  site: found.site ?? '',
  is_site: isSite,
  site_fallback: found.site === undefined ? '' : fallbackOf(found.site),
  is_whole: !isFile('Procfile') && (isSite || found.isWhole === true),
  is_next: found.next === true,
  wants_adapter: uses('@sveltejs/kit') && web === undefined && !isTold,
});
