// One row of the buildpack tables: a rule of a buildpack API, packs and an app written for it, and what must come of
// it.

import { execFile, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'vitest';
import { asAppId, asDigest, asInstanceId, asReleaseId } from '../../../crdt/ids.ts';
import type { InstanceSpec } from '../../../node/core/types.ts';
import type { StagedDroplet } from '../../../node/ports/staging.ts';
import { DROPLET_PATHS, instanceEnvironment } from '../../../node/runtime/environment.ts';
import { SANDBOX_HOME, SANDBOX_NODE_BIN } from '../../../node/runtime/sandbox/bwrap.ts';
import { startCommand } from '../../../node/runtime/sandbox/scripts.ts';
import { uploadSpec } from '../../../node/staging/buildpack.ts';
import { type Files, failureOf, type Harness, request, tarOf } from '../harness.ts';

/** Bodies of the scripts in bin/, each without its first line. */
export type Pack = { scripts: Record<string, string>; files?: Files };

export type Case = {
  rule: string;
  app?: Files;
  /** Named with the push, in this order; each as a folder of its own. */
  packs?: Pack[];
  /** Instead: what the push names, made by the given places for packs. */
  named?: (at: Places) => Promise<string[]>;
  /** What the app's files name, made likewise; a path to its content. */
  appFiles?: (at: Places) => Promise<Files>;
  /** The built-in buildpacks, in their order, instead of those of Peer. */
  builtins?: Record<string, Pack>;
  command?: string;
  env?: Record<string, string>;
  timeLimitMs?: number;
  /** Stagings of the same app before the one that is looked at. */
  before?: number;
  want: Outcome;
};

export type Outcome = {
  /** Named errors; `says` is in the one line for people. */
  refused?: { code: string; says: string | RegExp };
  processes?: Record<string, string>;
  /** Text that was printed. */
  prints?: (string | RegExp)[];
  /** Contents of the droplet's files. */
  files?: Record<string, string | RegExp>;
  missing?: string[];
  /** What an instance prints that is started as a runtime does; `web` unless it says another. */
  starts?: { process?: string; prints?: (string | RegExp)[]; exit?: number };
};

/** Not synchronous: the server of these repositories is this process. */
type Git = (...args: string[]) => Promise<unknown>;

export type Places = {
  folder(pack: Pack): string;
  git(pack: Pack, change?: (repository: string, git: Git) => Promise<void>): Promise<string>;
  archive(pack: Pack, options?: { within?: string }): Promise<string>;
  /** A web server that answers so. */
  server(answer: { status: number; body: Buffer | string }): Promise<string>;
  upload(content: Pack | Buffer, name: string): Promise<string>;
};

export const runCase = async (harness: Harness, one: Case): Promise<void> => {
  const closers: (() => Promise<void>)[] = [];
  try {
    const places = placesOf(harness, closers);
    const builtins = one.builtins === undefined ? undefined : Object.keys(one.builtins);
    const stager = await harness.stager({
      ...(builtins === undefined ? {} : { builtinDir: builtinFolder(harness, one.builtins!), detectOrder: builtins }),
      ...(one.timeLimitMs === undefined ? {} : { limits: { timeLimitMs: one.timeLimitMs } }),
    });
    const buildpacks = (await one.named?.(places)) ?? (one.packs ?? []).map(places.folder);
    const folder = harness.folder({ 'readme.txt': 'hello', ...one.app, ...(await one.appFiles?.(places)) });
    const app = { id: asAppId(randomUUID()), name: 'test' };
    const ask = () =>
      request(folder, {
        app,
        buildpacks,
        env: one.env ?? {},
        ...(one.command === undefined ? {} : { command: one.command }),
      });
    for (let earlier = 0; earlier < (one.before ?? 0); earlier++) await stager.stage(ask());

    const asked = ask();
    const staging = stager.stage(asked);
    if (one.want.refused === undefined) {
      await checkDroplet(harness, one.want, await staging);
    } else {
      const failure = await failureOf(staging);
      expect({ code: failure.code, message: failure.message }).toEqual({
        code: one.want.refused.code,
        message: containing(one.want.refused.says),
      });
      expect(failure.message).not.toContain('\n');
    }
    for (const text of one.want.prints ?? []) expect(asked.lines.join('\n')).toEqual(containing(text));
    expect(await harness.leftovers()).toEqual([]);
  } finally {
    for (const close of closers) await close();
  }
};

const checkDroplet = async (harness: Harness, want: Outcome, droplet: StagedDroplet): Promise<void> => {
  if (want.processes !== undefined) expect(droplet.processes).toEqual(want.processes);
  const content = await harness.unpack(droplet.digest);
  for (const [name, text] of Object.entries(want.files ?? {})) {
    expect(content.files(), name).toContain(name);
    expect(content.read(name), name).toEqual(typeof text === 'string' ? text : expect.stringMatching(text));
  }
  for (const name of want.missing ?? []) expect(content.files().filter((file) => file.startsWith(name))).toEqual([]);
  if (want.starts === undefined) return;
  const { process = 'web', prints = [], exit = 0 } = want.starts;
  const ended = await start(harness, content.path, { process, command: droplet.processes[process]! });
  expect(ended, ended.output).toMatchObject({ code: exit });
  for (const text of prints) expect(ended.output).toEqual(containing(text));
};

/** Starts a process to its end as a runtime does: its environment, its paths, its profile scripts, its user. */
const start = async (
  harness: Harness,
  droplet: string,
  { process, command }: { process: string; command: string },
): Promise<{ code: number | null; output: string }> => {
  await harness.sandbox.giveTo(droplet);
  const spec: InstanceSpec = {
    id: asInstanceId(randomUUID()),
    app: { id: asAppId('a-1'), name: 'test' },
    process,
    index: 0,
    release: { id: asReleaseId('r-1'), version: 1 },
    restartCount: 0,
    droplet: { digest: asDigest(`sha256:${'0'.repeat(64)}`), sizeBytes: 1, stack: 's' },
    command,
    env: { FROM_USER: 'user' },
    memoryBytes: 256 * 1024 * 1024,
    diskBytes: 1024 * 1024 * 1024,
    health: { kind: 'port', path: '/', timeoutMs: 1 },
    uris: ['test.localhost'],
  };
  let output = '';
  const { code } = await harness.sandbox.run({
    name: `start-${spec.id}`,
    argv: startCommand(command),
    cwd: `${SANDBOX_HOME}/app`,
    env: instanceEnvironment(spec, { port: 20_001, host: '127.0.0.1', home: SANDBOX_HOME, nodeBin: SANDBOX_NODE_BIN }),
    binds: [
      { from: droplet, to: SANDBOX_HOME, writable: true },
      ...DROPLET_PATHS.filter(({ part }) => harness.has(join(droplet, part))).map(({ path, part }) => ({
        from: join(droplet, part),
        to: path,
        writable: true,
      })),
    ],
    memoryBytes: spec.memoryBytes,
    pidsMax: 100,
    timeoutMs: 20_000,
    outputBytesMax: 1024 * 1024,
    onOutput: (chunk) => {
      output += chunk.toString();
    },
  });
  return { code, output };
};

const placesOf = (harness: Harness, closers: (() => Promise<void>)[]): Places => {
  const folder = (pack: Pack): string => harness.folder(filesOf(pack));
  const served = (url: string): string => {
    harness.reachable.push(url);
    return url;
  };
  const places: Places = {
    folder,
    async git(pack, change) {
      const repository = folder(pack);
      const git: Git = (...args) => promisify(execFile)('git', [...AUTHOR, '-C', repository, ...args]);
      await git('init', '-q');
      await git('add', '.');
      await git('commit', '-qm', 'one');
      await change?.(repository, git);
      const port = await gitServer(closers);
      return served(`git://127.0.0.1:${port}${repository}`);
    },
    archive: (pack, options = {}) => {
      const root = options.within === undefined ? folder(pack) : harness.folder(filesOf(pack, `${options.within}/`));
      return places.server({ status: 200, body: tarOf(root) });
    },
    async server({ status, body }) {
      const server = createHttpServer((_request, response) => response.writeHead(status).end(body));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      closers.push(() => {
        server.closeAllConnections();
        return new Promise((resolve) => server.close(() => resolve()));
      });
      return served(`http://127.0.0.1:${(server.address() as AddressInfo).port}/pack.tgz`);
    },
    async upload(content, name) {
      const bytes = Buffer.isBuffer(content) ? content : tarOf(folder(content));
      const source = async function* () {
        yield bytes;
      };
      const { digest } = await harness.blobs.put(source(), { sizeBytesMax: bytes.length });
      return uploadSpec(digest, name);
    },
  };
  return places;
};

const AUTHOR = [
  'user.name=t',
  'user.email=t@example.org',
  'init.defaultBranch=main',
  'protocol.file.allow=always',
].flatMap((setting) => ['-c', setting]);

/** Serves every repository of this machine that may be read, for as long as the case runs. */
const gitServer = async (closers: (() => Promise<void>)[]): Promise<number> => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    const daemon = spawn('git', ['daemon', '--inetd', '--export-all'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: { ...process.env, GIT_CONFIG_COUNT: '1', GIT_CONFIG_KEY_0: 'safe.directory', GIT_CONFIG_VALUE_0: '*' },
    });
    socket.pipe(daemon.stdin).on('error', () => {});
    daemon.stdout.pipe(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => new Promise((resolve) => server.close(() => resolve())));
  return (server.address() as AddressInfo).port;
};

const filesOf = ({ scripts, files = {} }: Pack, below = ''): Files =>
  Object.fromEntries([
    ...Object.entries(scripts).map(([name, body]) => [`${below}bin/${name}*`, `#!/bin/bash\n${body}\n`]),
    ...Object.entries(files).map(([name, content]) => [below + name, content]),
  ]);

const builtinFolder = (harness: Harness, packs: Record<string, Pack>): string =>
  harness.folder(Object.assign({}, ...Object.entries(packs).map(([name, pack]) => filesOf(pack, `${name}/`))) as Files);

const containing = (text: string | RegExp) =>
  typeof text === 'string' ? expect.stringContaining(text) : expect.stringMatching(text);
