// The least that a node with this machine's stack has: a root folder of Debian's required packages, as its smallest
// install has them, and what they and Peer's own Node depend on. No interpreter but perl, and hardly a library.

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export type BareStack = {
  /** Arguments of bubblewrap up to and including `--`, for a droplet that runs on it. */
  arguments(droplet: string): string[];
  remove(): void;
};

const PACKAGES_BYTES_MAX = 64 * 1024 * 1024;
/** Node is linked with it. */
const NODE_NEEDS = ['libstdc++6'];
const UNREAD = /^\/usr\/share\/(doc|man|locale|info|lintian)\//;

export const createBareStack = (): BareStack => {
  const root = mkdtempSync(join(tmpdir(), 'peer-bare-stack-'));
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    mkdirSync(join(root, 'usr', name), { recursive: true });
    symlinkSync(`usr/${name}`, join(root, name));
  }
  for (const path of ['proc', 'dev', 'tmp', 'home/vcap', 'opt/peer/node/bin', 'etc']) {
    mkdirSync(join(root, path), { recursive: true });
  }
  symlinkSync('home/vcap/app', join(root, 'app'));
  const listed = execFileSync('dpkg', ['-L', ...requiredPackages()], { maxBuffer: PACKAGES_BYTES_MAX }).toString();
  const files = [...new Set(listed.split('\n'))].filter(
    (path) => /^\/(usr|lib|lib64|bin|sbin|etc)\/./.test(path) && !UNREAD.test(path),
  );
  const archive = execFileSync(
    'tar',
    ['-c', '-C', '/', '--no-recursion', '--ignore-failed-read', '--null', '--verbatim-files-from', '-T', '-'],
    { input: files.map((path) => path.slice(1)).join('\0'), maxBuffer: 1 << 30, stdio: ['pipe', 'pipe', 'ignore'] },
  );
  execFileSync('tar', ['-x', '-C', root, '--keep-directory-symlink'], { input: archive });
  return {
    arguments: (droplet) => [
      ...['--ro-bind', root, '/', '--proc', '/proc', '--dev', '/dev', '--tmpfs', '/tmp'],
      ...['--bind', droplet, '/home/vcap', '--ro-bind', dirname(process.execPath), '/opt/peer/node/bin'],
      ...['--cap-drop', 'ALL', '--unshare-pid', '--chdir', '/home/vcap/app', '--die-with-parent', '--'],
    ],
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
};

/** Required packages and all that they depend on, as installed here. */
const requiredPackages = (): string[] => {
  const fields = ['db:Status-Abbrev', 'Package', 'Essential', 'Priority', 'Provides', 'Pre-Depends', 'Depends'];
  const format = `${fields.map((field) => `\${${field}}`).join('\t')}\n`;
  const installed = execFileSync('dpkg-query', ['-W', '-f', format], { maxBuffer: PACKAGES_BYTES_MAX })
    .toString()
    .split('\n')
    .filter((line) => line.startsWith('ii'))
    .map((line) => {
      const [, name = '', essential, priority, provides = '', ...depends] = line.split('\t');
      const required = essential === 'yes' || priority === 'required';
      return { name, required, provides: names(provides), depends: depends.flatMap(names) };
    });
  const byName = new Map(installed.flatMap((one) => [...one.provides, one.name].map((name) => [name, one] as const)));
  const found = new Set<string>();
  const queue = installed.filter((one) => one.required || NODE_NEEDS.includes(one.name));
  for (let one = queue.pop(); one !== undefined; one = queue.pop()) {
    if (found.has(one.name)) continue;
    found.add(one.name);
    for (const name of one.depends) {
      const dependency = byName.get(name);
      if (dependency) queue.push(dependency);
    }
  }
  return [...found];
};

/** `a (>= 1) | b:any, c` → a, c: what Debian itself would take first. */
const names = (field: string): string[] =>
  field.split(',').flatMap((part) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(part)?.[1] ?? []);
