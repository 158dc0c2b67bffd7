// Programs that nobody here wrote: how each is installed as its own documentation says, and run by a Compose file in the
// shape that is public for it, with the changes that its refusal names; and how it is given something to keep, over HTTP.

import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Response, ROOT, run } from '../../scripts/local-cluster.ts';
import type { AppRequest } from './requests.ts';

/** Asks the program, through a router. */
export type Ask = (path: string, options?: AppRequest) => Promise<Response>;

export type Program = {
  name: string;
  /** Makes the folder to push. */
  make(folder: string): Promise<void>;
  /** As people have it elsewhere. */
  compose: string;
  /** What is said of that, and what it is then; undefined: it is taken as it is. */
  changed?: { says: readonly string[]; compose: string };
  /** Once, when it runs for the first time. */
  give(ask: Ask): Promise<void>;
  /** What was given, as it answers now. */
  kept(ask: Ask): Promise<string[]>;
  /** What `kept` is to answer. */
  keeps: readonly string[];
};

const DOWNLOADS = join(ROOT, 'node_modules', '.cache', 'peer-test-packages');
const DOWNLOAD_TIMEOUT_MS = 120_000;
const JSON_TYPE = { 'content-type': 'application/json' };

const packageJson = (dependencies: Record<string, string>, start: string): string =>
  JSON.stringify({ name: 'program', version: '1.0.0', private: true, dependencies, scripts: { start } });

async function must(asked: Promise<Response>): Promise<Response> {
  const response = await asked;
  if (response.status >= 400) throw new Error(`${response.status} ${response.body.slice(0, 1_000)}`);
  return response;
}

/**
 * Flows that people draw, kept in files of its user directory. As in its guide "Running on other platforms".
 * @see https://nodered.org/docs/getting-started/local
 */
const nodeRed: Program = {
  name: 'node-red',
  async make(folder) {
    await writeFile(join(folder, 'package.json'), packageJson({ 'node-red': '4.1.8' }, 'node-red --userDir /data'));
  },
  compose: `services:
  node-red:
    build: .
    restart: unless-stopped
    ports: ["1880:1880"]
    healthcheck: {start_period: 180s}
    volumes: ["node_red_data:/data"]
volumes:
  node_red_data: {x-peer: {size: 128M}}
`,
  async give(ask) {
    const flow = [
      { id: 'tab', type: 'tab', label: 'Notes' },
      { id: 'in', type: 'http in', z: 'tab', url: '/note', method: 'get', wires: [['say']] },
      { id: 'say', type: 'template', z: 'tab', field: 'payload', template: 'kept in a flow', wires: [['out']] },
      { id: 'out', type: 'http response', z: 'tab', wires: [] },
    ];
    await must(ask('/flows', { method: 'POST', headers: JSON_TYPE, body: JSON.stringify(flow) }));
  },
  kept: async (ask) => [(await ask('/note')).body],
  keeps: ['kept in a flow'],
};

const PARSE_ID = { 'x-parse-application-id': 'notes' };

const parseCompose = (uri: string, database: string): string => `services:
  parse:
    build: .
    restart: always
    ports: ["1337:1337"]
    healthcheck: {start_period: 180s}
    depends_on: [postgres]
    environment:
      PARSE_SERVER_APPLICATION_ID: notes
      PARSE_SERVER_MASTER_KEY: not-a-secret
      PARSE_SERVER_ALLOW_CLIENT_CLASS_CREATION: "true"
      PARSE_SERVER_DATABASE_URI: ${uri}
  postgres:
${database.replace(/^/gm, '    ')}
volumes: {postgres_data: }
`;

/**
 * A backend for apps, its objects in PostgreSQL. Reads PORT, and its database from the variable that its guide names.
 * @see https://docs.parseplatform.org/parse-server/guide/
 */
const parse: Program = {
  name: 'parse',
  async make(folder) {
    await writeFile(join(folder, 'package.json'), packageJson({ 'parse-server': '8.6.94' }, 'parse-server'));
  },
  compose: parseCompose(
    'postgres://parse:not-a-secret@postgres:5432/parse',
    `image: postgis/postgis:16-3.4
environment: {POSTGRES_USER: parse, POSTGRES_PASSWORD: not-a-secret}
volumes: ["postgres_data:/var/lib/postgresql/data"]`,
  ),
  changed: {
    says: [
      'services.postgres (a postgres server is a service here',
      'write provider: {type: peer, options: {kind: postgres}} as all it holds',
      'write PARSE_SERVER_DATABASE_URI: $$(DATABASE_URL))',
    ],
    compose: parseCompose('$$(DATABASE_URL)', 'provider: {type: peer, options: {kind: postgres}}'),
  },
  async give(ask) {
    const body = JSON.stringify({ text: 'kept in PostgreSQL' });
    await must(ask('/parse/classes/Note', { method: 'POST', headers: { ...PARSE_ID, ...JSON_TYPE }, body }));
  },
  async kept(ask) {
    const { body } = await ask('/parse/classes/Note', { headers: PARSE_ID });
    return (JSON.parse(body) as { results: { text: string }[] }).results.map(({ text }) => text);
  },
  keeps: ['kept in PostgreSQL'],
};

/** As its sample, with what the official image takes from the environment too. */
const WORDPRESS_CONFIGURATION = `<?php
define( 'DB_NAME', getenv( 'WORDPRESS_DB_NAME' ) );
define( 'DB_USER', getenv( 'WORDPRESS_DB_USER' ) );
define( 'DB_PASSWORD', getenv( 'WORDPRESS_DB_PASSWORD' ) );
define( 'DB_HOST', getenv( 'WORDPRESS_DB_HOST' ) );
define( 'DB_CHARSET', 'utf8mb4' );
define( 'DB_COLLATE', '' );
$table_prefix = 'wp_';
if ( ! defined( 'ABSPATH' ) ) define( 'ABSPATH', __DIR__ . '/' );
require_once ABSPATH . 'wp-settings.php';
`;
const WRITER = { name: 'ada', password: 'Long-Password-1' };

const wordpressCompose = (db: string, app: string): string => `services:
  db:
${db.replace(/^/gm, '    ')}
  wordpress:
    build: .
    ports: ["80:80"]
    restart: always
    volumes: ["uploads:/home/vcap/app/wp-content/uploads"]
${app.replace(/^/gm, '    ')}
volumes:
  db_data:
  uploads: {x-peer: {size: 64M}}
`;
const WORDPRESS_VARIABLES = ['HOST', 'USER', 'PASSWORD', 'NAME'] as const;
const wordpressVariables = (values: Record<(typeof WORDPRESS_VARIABLES)[number], string>): string =>
  `environment:\n${WORDPRESS_VARIABLES.map((one) => `- WORDPRESS_DB_${one}=${values[one]}`).join('\n')}`;
const WORDPRESS_REFERENCES = {
  ...{ HOST: '$$(MYSQL_HOST)', USER: '$$(MYSQL_USER)', PASSWORD: '$$(MYSQL_PASSWORD)', NAME: '$$(MYSQL_DATABASE)' },
};

/** Posts in MySQL and uploads in a volume in the middle of its own files. As Debian has it, without its Apache. */
const wordpress: Program = {
  name: 'wordpress',
  async make(folder) {
    const unpacked = `${folder}-deb`;
    await mkdir(unpacked);
    await command('dpkg-deb', '-x', await debianPackage('wordpress'), unpacked);
    await command('cp', '-a', `${unpacked}/usr/share/wordpress/.`, folder);
    await rm(unpacked, { recursive: true });
    // To files of packages that it depends on in Debian, and works without.
    await command('find', folder, '-type', 'l', '-delete');
    await writeFile(join(folder, 'wp-config.php'), WORDPRESS_CONFIGURATION);
  },
  compose: wordpressCompose(
    `image: mariadb:10.6.4-focal
command: '--default-authentication-plugin=mysql_native_password'
restart: always
volumes: ["db_data:/var/lib/mysql"]
environment: ["MYSQL_ROOT_PASSWORD=root", "MYSQL_DATABASE=blog", "MYSQL_USER=wp", "MYSQL_PASSWORD=not-a-secret"]`,
    wordpressVariables({ HOST: 'db', USER: 'wp', PASSWORD: 'not-a-secret', NAME: 'blog' }),
  ),
  changed: {
    says: [
      'services.db (a mysql server is a service here',
      WORDPRESS_VARIABLES.map((one) => `WORDPRESS_DB_${one}: ${WORDPRESS_REFERENCES[one]}`).join(', '),
      'services.wordpress (write depends_on: [db])',
    ],
    compose: wordpressCompose(
      'provider: {type: peer, options: {kind: mysql}}',
      `depends_on: [db]\n${wordpressVariables(WORDPRESS_REFERENCES)}`,
    ),
  },
  async give(ask) {
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const { name, password } = WRITER;
    const install = { weblog_title: 'Notes', user_name: name, admin_password: password, admin_password2: password };
    const about = new URLSearchParams({ ...install, admin_email: 'ada@example.org', pw_weak: '1', language: '' });
    await must(ask('/wp-admin/install.php?step=2', { method: 'POST', headers: form, body: about.toString() }));
    const login = new URLSearchParams({ log: name, pwd: password, testcookie: '1' });
    const test = { ...form, cookie: 'wordpress_test_cookie=WP%20Cookie%20check' };
    const entered = await must(ask('/wp-login.php', { method: 'POST', headers: test, body: login.toString() }));
    const cookie = (entered.headers['set-cookie'] ?? []).map((one) => one.split(';')[0]).join('; ');
    const nonce = (await must(ask('/wp-admin/admin-ajax.php?action=rest-nonce', { headers: { cookie } }))).body;
    const signed = { cookie, 'x-wp-nonce': nonce };
    const post = JSON.stringify({ title: 'Note', content: 'kept in MySQL', status: 'publish' });
    await must(ask('/?rest_route=/wp/v2/posts', { method: 'POST', headers: { ...signed, ...JSON_TYPE }, body: post }));
    const file = { ...signed, 'content-type': 'text/plain', 'content-disposition': 'attachment; filename=note.txt' };
    await must(ask('/?rest_route=/wp/v2/media', { method: 'POST', headers: file, body: 'kept in a volume' }));
  },
  async kept(ask) {
    const posts = JSON.parse((await ask('/?rest_route=/wp/v2/posts')).body) as { content: { rendered: string } }[];
    const [media] = JSON.parse((await ask('/?rest_route=/wp/v2/media')).body) as { source_url: string }[];
    const { body } = await ask(new URL(media!.source_url).pathname);
    return [posts[0]!.content.rendered.replaceAll(/<[^>]*>/g, '').trim(), body];
  },
  keeps: ['kept in MySQL', 'kept in a volume'],
};

export const PROGRAMS: readonly Program[] = [nodeRed, parse, wordpress];

/** From Debian's mirror; downloaded once for all test runs. */
async function debianPackage(name: string): Promise<string> {
  await mkdir(DOWNLOADS, { recursive: true });
  const find = async (): Promise<string | undefined> =>
    (await readdir(DOWNLOADS)).find((file) => file.startsWith(`${name}_`) && file.endsWith('.deb'));
  const download = ['apt-get', 'download', '-q', name];
  if ((await find()) === undefined) {
    const options = { cwd: DOWNLOADS, env: process.env, timeoutMs: DOWNLOAD_TIMEOUT_MS };
    const first = await run(download, options);
    // A machine that has just been made knows no packages.
    if (first.code !== 0) await command('apt-get', 'update', '-q');
    if (first.code !== 0) await run(download, options);
  }
  const file = await find();
  if (file === undefined) throw new Error(`apt-get download ${name} brought nothing`);
  return join(DOWNLOADS, file);
}

async function command(...words: string[]): Promise<void> {
  const { code, stderr } = await run(words, { env: process.env, timeoutMs: DOWNLOAD_TIMEOUT_MS });
  if (code !== 0) throw new Error(`${words.join(' ')}: ${stderr}`);
}
