// The import check (.dependency-cruiser.cjs): of every pair of rooms it forbids what the architecture does not allow,
// and nothing else. Each arrow is one file that imports another, in a copy of the layout with nothing else in it.

import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../cli/peer.ts';

const EDGES = ['api', 'blobs', 'gossip', 'router', 'runtime', 'staging'];
const INNER = ['admission', 'cluster', 'storage', 'sessions', 'secrets', 'services', 'volumes'];
const ROOMS = ['lib', 'core', 'identity', 'ports', ...INNER, ...EDGES, 'daemon'];
const COMMON = ['ports', 'core', 'lib', 'identity'];

const ALLOWED: Record<string, readonly string[]> = {
  lib: [],
  core: [],
  identity: ['lib'],
  ports: ['core', 'lib'],
  ...Object.fromEntries([...INNER, ...EDGES].map((room) => [room, COMMON])),
  daemon: ROOMS,
};

type Arrow = { from: string; to: string; isAllowed: boolean };

const ARROWS: Arrow[] = [
  ...ROOMS.flatMap((from) =>
    ROOMS.filter((to) => to !== from).map((to) => ({
      from: `node/${from}/to-${to}.ts`,
      to: `node/${to}/any.ts`,
      isAllowed: ALLOWED[from]!.includes(to),
    })),
  ),
  ...ROOMS.map((room) => ({ from: `node/${room}/to-cli.ts`, to: 'cli/any.ts', isAllowed: false })),
  ...ROOMS.map((room) => ({ from: `node/${room}/to-scripts.ts`, to: 'scripts/any.ts', isAllowed: false })),
  ...ROOMS.map((room) => ({ from: `node/${room}/to-main.ts`, to: 'node/main.ts', isAllowed: false })),
  ...ROOMS.map((room) => ({ from: `node/${room}/to-loose.ts`, to: 'node/loose.ts', isAllowed: false })),
  { from: 'node/main.ts', to: 'node/daemon/any.ts', isAllowed: true },
  { from: 'node/main.ts', to: 'node/lib/any.ts', isAllowed: true },
  { from: 'node/main.ts', to: 'node/api/any.ts', isAllowed: false },
  { from: 'node/main.ts', to: 'crdt/ids.ts', isAllowed: false },
  { from: 'node/lib/to-crdt.ts', to: 'crdt/ids.ts', isAllowed: false },
  { from: 'node/core/to-ids.ts', to: 'crdt/ids.ts', isAllowed: true },
  { from: 'node/core/to-store.ts', to: 'crdt/store.ts', isAllowed: false },
  { from: 'crdt/to-node.ts', to: 'node/lib/any.ts', isAllowed: false },
  { from: 'cli/to-node.ts', to: 'node/cluster/any.ts', isAllowed: false },
  { from: 'scripts/to-loose.ts', to: 'node/loose.ts', isAllowed: false },
];

describe('the import check', () => {
  let refused: Set<string>;
  let root: string;

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'peer-imports-'));
    const lines = new Map<string, string[]>();
    for (const { from, to } of ARROWS) {
      const path = relative(dirname(from), to);
      lines.set(from, [...(lines.get(from) ?? []), `import '${path.startsWith('.') ? path : `./${path}`}';`]);
      if (!lines.has(to)) lines.set(to, []);
    }
    for (const [file, imports] of lines) {
      await mkdir(join(root, dirname(file)), { recursive: true });
      await writeFile(join(root, file), `${imports.join('\n')}\nexport const here = 1;\n`);
    }
    for (const file of ['.dependency-cruiser.cjs', 'tsconfig.json', 'package.json'])
      await copyFile(join(ROOT, file), join(root, file));
    await symlink(join(ROOT, 'node_modules'), join(root, 'node_modules'));
    const program = join(ROOT, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
    const args = [
      program,
      '--config',
      '.dependency-cruiser.cjs',
      '--output-type',
      'json',
      'node',
      'cli',
      'crdt',
      'scripts',
    ];
    const stdout = await new Promise<string>((resolve) =>
      execFile(process.execPath, args, { cwd: root, maxBuffer: 64 * 1024 * 1024 }, (_, out) => resolve(out)),
    );
    const { summary } = JSON.parse(stdout) as { summary: { violations: { from: string; to: string }[] } };
    refused = new Set(summary.violations.map(({ from, to }) => `${from} → ${to}`));
  }, 60_000);

  afterAll(() => rm(root, { recursive: true, force: true }));

  const names = ({ from, to }: Arrow): string => `${from} → ${to}`;

  it.each(ARROWS.filter(({ isAllowed }) => !isAllowed).map(names))('refuses %s', (arrow) => {
    expect(refused).toContain(arrow);
  });

  it.each(ARROWS.filter(({ isAllowed }) => isAllowed).map(names))('allows %s', (arrow) => {
    expect(refused).not.toContain(arrow);
  });
});
