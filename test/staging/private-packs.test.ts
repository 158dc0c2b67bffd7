// Buildpacks behind a password: it reaches the server, and nobody else; neither those who list the processes of the
// machine, nor those who read what staging prints, its errors, its logs, or the release.

import { execFileSync, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Log } from '../../node/lib/log.ts';
import type { StagedDroplet } from '../../node/ports/staging.ts';
import { createHarness, failureOf, type Harness, request, tarOf } from './harness.ts';

const USER = 'reader';
const PASSWORD = 'hunter2 &@:x';
const SIGNATURE = 'signed-4711';
const ASKED = `Basic ${Buffer.from(`${USER}:${PASSWORD}`).toString('base64')}`;
const SECRETS = [PASSWORD, encodeURIComponent(PASSWORD), 'hunter2', SIGNATURE, ASKED.slice('Basic '.length)];

let harness: Harness;
let server: ReturnType<typeof createServer>;
let origin: string;
let pack: string;
/** What came with a request: authorised or not. */
const asked: string[] = [];
const logged: string[] = [];

beforeAll(async () => {
  harness = await createHarness();
  pack = harness.pack({ compile: 'echo built >"$1/made"', release: `echo 'default_process_types: { web: "x" }'` });
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', '-C', pack, ...args]);
  git('init', '-q', '-b', 'main');
  git('add', '.');
  git('commit', '-qm', 'one');
  server = createServer((req, res) => {
    const isAllowed = req.headers.authorization === ASKED;
    asked.push(`${isAllowed ? 'allowed' : 'refused'} ${req.url}`);
    if (!isAllowed) {
      // A server that says too much.
      res.writeHead(401, { 'www-authenticate': 'Basic realm="packs"' }).end(`no: ${req.headers.authorization}`);
    } else if (req.url!.startsWith('/pack.tgz')) res.end(tarOf(pack));
    else serveGit(req, res);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  harness.reachable.push(origin);
});
afterAll(async () => {
  server?.closeAllConnections();
  server?.close();
  await harness?.close();
});

/** git's own server program for HTTP, as a web server runs it. */
function serveGit(req: IncomingMessage, res: ServerResponse): void {
  const [path = '', query = ''] = req.url!.split('?');
  const backend = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: dirname(pack),
      GIT_HTTP_EXPORT_ALL: '1',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'safe.directory',
      GIT_CONFIG_VALUE_0: '*',
      PATH_INFO: path,
      QUERY_STRING: query,
      REQUEST_METHOD: req.method,
      CONTENT_TYPE: req.headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: (req.headers['content-encoding'] as string | undefined) ?? '',
      GIT_PROTOCOL: (req.headers['git-protocol'] as string | undefined) ?? '',
    },
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  req.pipe(backend.stdin).on('error', () => {});
  const chunks: Buffer[] = [];
  backend.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  backend.once('close', () => {
    const answer = Buffer.concat(chunks);
    const end = answer.indexOf('\r\n\r\n');
    for (const line of answer.subarray(0, end).toString().split('\r\n')) {
      const [name = '', value = ''] = line.split(': ');
      if (name !== 'Status') res.setHeader(name, value);
    }
    res.end(answer.subarray(end + 4));
  });
}

const withPassword = (path: string, password = PASSWORD): string =>
  `${origin.replace('://', `://${USER}:${encodeURIComponent(password)}@`)}/${path}`;

/** Of the last staging: what it printed, and every command line of this machine that had to do with it. */
let printed: string[] = [];
let processes = new Set<string>();

async function stagedWith(buildpack: string): Promise<StagedDroplet> {
  const log: Log = { debug: noted, info: noted, warn: noted, error: noted };
  const wanted = request(harness.folder({ 'readme.txt': 'hello' }), { buildpacks: [buildpack] });
  const stager = await harness.stager({ log });
  printed = wanted.lines;
  processes = new Set();
  const listing = setInterval(listProcesses, 10);
  try {
    return await stager.stage(wanted);
  } finally {
    clearInterval(listing);
  }
}

const noted = (event: string, fields?: object) => void logged.push(`${event} ${JSON.stringify(fields)}`);

/** As somebody with `ps` would. */
function listProcesses(): void {
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
      if (/git|runner\.sh|download\.mjs/.test(line)) processes.add(line);
    } catch {
      // It has ended.
    }
  }
}

const expectNoSecret = (text: string): void => {
  for (const secret of SECRETS) expect(text).not.toContain(secret);
};

/** Everything of the last staging that others get to see. */
const shown = (): string => [...printed, ...logged, ...processes].join('\n');

describe('a buildpack behind a password', () => {
  it('is fetched from git, and the password is in no command line, no output and no release', async () => {
    const repository = pack.split('/').at(-1);
    const droplet = await stagedWith(withPassword(`${repository}#main`));
    const content = await harness.unpack(droplet.digest);
    expect(content.read('app/made')).toBe('built\n');
    expect(droplet.buildpack).toBe(`${origin}/${repository}#main`);
    expect(asked.some((one) => one.startsWith('allowed') && one.includes('git-upload-pack'))).toBe(true);
    // git was seen at it, with what may be seen.
    expect([...processes].some((line) => line.includes('git') && line.includes(`${origin}/${repository}`))).toBe(true);
    expectNoSecret(shown());
    expectNoSecret(JSON.stringify(droplet));
    for (const file of content.files()) expectNoSecret(content.read(file));
  });

  it('is fetched as an archive, and the signature in its URL is seen as little', async () => {
    const droplet = await stagedWith(withPassword(`pack.tgz?key=${SIGNATURE}`));
    expect(droplet.buildpack).toBe(`${origin}/pack.tgz`);
    expect(asked.at(-1)).toBe(`allowed /pack.tgz?key=${SIGNATURE}`);
    expectNoSecret(shown());
    expectNoSecret(JSON.stringify(droplet));
  });

  it.each([
    ['git', 'pack-that-is-not-there'],
    ['an archive', `pack.tgz?key=${SIGNATURE}`],
  ])('of %s fails without a word of a password that is wrong', async (_what, path) => {
    const failure = await failureOf(stagedWith(withPassword(path, 'hunter2-of-yesterday')));
    expect(failure.code).toBe('buildpack_fetch_failed');
    expectNoSecret([failure.message, ...failure.lastLines, shown()].join('\n'));
  });
});
