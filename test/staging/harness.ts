// A stager on a real sandbox in a folder of its own, and ways to make uploads and buildpacks and to look into
// droplets.

import { execFileSync, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type AppId, asAppId, asNodeId, type Digest } from '../../crdt/ids.ts';
import { createBlobStore } from '../../node/blobs/store.ts';
import type { Log } from '../../node/lib/log.ts';
import type { BlobStore } from '../../node/ports/blobs.ts';
import type { Sandbox } from '../../node/ports/sandbox.ts';
import type { StagedDroplet, StageRequest } from '../../node/ports/staging.ts';
import { closeIsolation, prepareIsolation } from '../../node/runtime/sandbox/isolation.ts';
import { createSandbox } from '../../node/runtime/sandbox/staging-sandbox.ts';
import { createStager, type LocalStager, type StagerOptions } from '../../node/staging/stager.ts';

export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Content by path; a path that ends in `*` is executable. */
export type Files = Record<string, string | Uint8Array>;

export type Harness = {
  dir: string;
  dataDir: string;
  blobs: BlobStore;
  sandbox: Sandbox;
  /**
   * URLs of the tests' own servers: opened to builds as those that the daemon's settings name, since others on this
   * machine are closed.
   */
  reachable: string[];
  stager(options?: Partial<StagerOptions>): Promise<LocalStager>;
  /** A folder with these files; its path. */
  folder(files: Files): string;
  /** A buildpack that detects, compiles and releases with these script bodies; its path. */
  pack(scripts: { detect?: string; compile?: string; release?: string; files?: Files }): string;
  unpack(droplet: Digest): Promise<Droplet>;
  has(path: string): boolean;
  /** Nothing of any staging is left on disk but caches. */
  leftovers(): Promise<string[]>;
  close(): Promise<void>;
};

export type Droplet = { path: string; read(name: string): string; files(): string[] };

export const createHarness = async (): Promise<Harness> => {
  const dir = mkdtempSync(join(tmpdir(), 'peer-staging-'));
  const dataDir = join(dir, 'data');
  mkdirSync(dataDir);
  const blobs = await createBlobStore({ dir: join(dataDir, 'blobs') });
  const nodeId = asNodeId(`12D3KooW${randomUUID().replaceAll('-', '')}`);
  const isolation = await prepareIsolation({ dataDir, nodeId, log: silentLog });
  const reachable: string[] = [];
  const real = createSandbox(isolation);
  const sandbox: Sandbox = {
    ...real,
    run: (run) => real.run({ ...run, reach: [...(run.reach ?? []), ...reachable] }),
  };
  const stagers: LocalStager[] = [];
  let made = 0;

  const folder = (files: Files): string => {
    const root = join(dir, `folder-${made++}`);
    mkdirSync(root);
    for (const [name, content] of Object.entries(files)) {
      const path = join(root, name.replace(/\*$/, ''));
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, content);
      chmodSync(path, name.endsWith('*') ? 0o755 : 0o644);
    }
    return root;
  };

  return {
    dir,
    dataDir,
    blobs,
    sandbox,
    reachable,
    async stager(options = {}) {
      const stager = await createStager({ dataDir, sandbox, blobs, log: silentLog, ...options });
      stagers.push(stager);
      return stager;
    },
    folder,
    pack({ detect, compile = 'exit 0', release, files = {} }) {
      const script = (body: string): string => `#!/bin/bash\n${body}\n`;
      return folder({
        ...(detect === undefined ? {} : { 'bin/detect*': script(detect) }),
        'bin/compile*': script(compile),
        ...(release === undefined ? {} : { 'bin/release*': script(release) }),
        ...files,
      });
    },
    async unpack(digest) {
      const path = join(dir, `droplet-${made++}`);
      mkdirSync(path);
      const archive = `${path}.tar`;
      await pipeline(blobs.read(digest), createWriteStream(archive));
      execFileSync('tar', ['-xf', archive, '-C', path]);
      return {
        path,
        read: (name) => readFileSync(join(path, name), 'utf8'),
        files: () =>
          readdirSync(path, { recursive: true, withFileTypes: true })
            .filter((entry) => !entry.isDirectory())
            .map((entry) => join(entry.parentPath, entry.name).slice(path.length + 1))
            .sort(),
      };
    },
    has: existsSync,
    async leftovers() {
      for (const stager of stagers) await stager.tidied();
      return existsSync(join(dataDir, 'staging')) ? readdirSync(join(dataDir, 'staging')) : [];
    },
    async close() {
      for (const stager of stagers) await stager.close();
      await closeIsolation(isolation, { keepInstances: false });
      rmSync(dir, { recursive: true, force: true });
      removeGroups(nodeId);
    },
  };
};

/** The control group of the test's node; empty by now. */
const removeGroups = (nodeId: string): void => {
  const suffix = nodeId.slice(-12);
  spawnSync('find', [
    '/sys/fs/cgroup',
    '-depth',
    '-maxdepth',
    '4',
    '-type',
    'd',
    '-name',
    suffix,
    '-exec',
    'rmdir',
    '{}',
    ';',
  ]);
};

/** A folder as the client uploads it. */
export const tarOf = (folder: string): Buffer =>
  execFileSync('tar', ['-cz', '-C', folder, '.'], { maxBuffer: 1 << 30 });

export async function* upload(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

/** A request for a folder of files, with what was printed gathered in `lines`. */
export const request = (
  source: string | Buffer,
  options: Partial<StageRequest> = {},
): StageRequest & { lines: string[]; app: { id: AppId; name: string } } => {
  const lines: string[] = [];
  return {
    app: { id: asAppId(randomUUID()), name: 'test' },
    source: upload(typeof source === 'string' ? tarOf(source) : source),
    buildpacks: [],
    env: {},
    onLine: (text) => void lines.push(text),
    signal: new AbortController().signal,
    lines,
    ...options,
  };
};

/** What a staging failed with; fails when it did not. */
export const failureOf = async (
  staging: Promise<StagedDroplet>,
): Promise<Error & { code: string; lastLines: string[] }> =>
  staging.then(
    (droplet) => {
      throw new Error(`staged: ${JSON.stringify(droplet)}`);
    },
    (error) => error,
  );

export const sampleApp = (name: string): string => fileURLToPath(new URL(`../apps/${name}`, import.meta.url));

/** A copy that a test may change. */
export const copyOf = (folder: string, into: string): string => {
  cpSync(folder, into, { recursive: true });
  return into;
};

/** Raw tar blocks, for archives no tool would make. */
export const rawTar = (...blocks: Buffer[]): Buffer => gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
