// A package registry on loopback for npm and pip, with packages made up by a test: builds are real, and need no
// network.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type Registry = {
  url: string;
  /** What was asked for, `GET /name`. */
  requests: string[];
  /** For the daemon's environment. */
  env: Record<string, string>;
  npm(name: string, version: string, files: Record<string, string>): void;
  /**
   * The package itself, from the registry that npm of this machine uses; downloaded once for all test runs. Returns
   * its archive.
   */
  real(name: string, version: string): string;
  python(name: string, version: string, files: Record<string, string>): void;
  /** A package of pure Python as Debian's package has installed it; what it requires an app has to name. */
  installedPython(name: string): void;
  close(): Promise<void>;
};

/** Text of one package of pure Python. */
const INSTALLED_BYTES_MAX = 64 * 1024 * 1024;
const REAL_PACKAGES = fileURLToPath(new URL('../../node_modules/.cache/peer-test-packages', import.meta.url));

export const createRegistry = async (): Promise<Registry> => {
  const dir = mkdtempSync(join(tmpdir(), 'peer-registry-'));
  const packuments = new Map<string, Record<string, object>>();
  const wheels = new Map<string, string[]>();
  const downloads = new Map<string, Buffer>();
  const requests: string[] = [];

  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!.split('?')[0]!);
    requests.push(`${request.method} ${path}`);
    const download = downloads.get(path);
    const name = path.replace(/^\/(simple\/)?/, '').replace(/\/$/, '');
    const versions = packuments.get(name);
    if (download) response.end(download);
    else if (path.startsWith('/simple/') && wheels.has(name)) {
      response.setHeader('content-type', 'text/html');
      response.end(
        wheels
          .get(name)!
          .map((file) => `<a href="/wheels/${file}">${file}</a>`)
          .join('\n'),
      );
    } else if (versions) {
      response.setHeader('content-type', 'application/json');
      // Old enough for package managers that wait before they trust a release.
      const time = Object.fromEntries(Object.keys(versions).map((version) => [version, '2020-01-01T00:00:00.000Z']));
      response.end(JSON.stringify({ name, versions, time, 'dist-tags': { latest: Object.keys(versions).at(-1) } }));
    } else {
      response.statusCode = 404;
      response.end('{}');
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const write = (root: string, files: Record<string, string>): void => {
    for (const [name, content] of Object.entries(files)) {
      mkdirSync(dirname(join(root, name)), { recursive: true });
      writeFileSync(join(root, name), content, { mode: 0o755 });
    }
  };

  const publish = (manifest: { name: string; version: string }, tgz: Buffer): void => {
    const { name, version } = manifest;
    const path = `/${name}/-/${name.split('/').at(-1)}-${version}.tgz`;
    downloads.set(path, tgz);
    const integrity = `sha512-${createHash('sha512').update(tgz).digest('base64')}`;
    const shasum = createHash('sha1').update(tgz).digest('hex');
    packuments.set(name, {
      ...packuments.get(name),
      [version]: { ...manifest, dist: { tarball: url + path, integrity, shasum } },
    });
  };

  const publishWheel = (name: string, version: string, files: Record<string, string>): void => {
    const root = mkdtempSync(join(dir, 'wheel-'));
    const module = name.replaceAll('-', '_');
    const info = `${module}-${version}.dist-info`;
    write(root, {
      ...files,
      [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
      [`${info}/RECORD`]: [...Object.keys(files), `${info}/WHEEL`, `${info}/RECORD`]
        .map((file) => `${file},,\n`)
        .join(''),
    });
    const file = `${module}-${version}-py3-none-any.whl`;
    const script = 'import shutil, sys; shutil.move(shutil.make_archive(sys.argv[1], "zip", sys.argv[2]), sys.argv[1])';
    execFileSync('/usr/bin/python3', ['-c', script, join(dir, file), root]);
    downloads.set(`/wheels/${file}`, readFileSync(join(dir, file)));
    wheels.set(name, [...(wheels.get(name) ?? []), file]);
  };

  return {
    url,
    requests,
    env: { npm_config_registry: url, PIP_INDEX_URL: `${url}/simple` },
    npm(name, version, files) {
      const manifest = { name, version, ...JSON.parse(files['package.json'] ?? '{}') };
      const root = mkdtempSync(join(dir, 'npm-'));
      write(join(root, 'package'), { ...files, 'package.json': JSON.stringify(manifest) });
      publish(manifest, execFileSync('tar', ['-cz', '-C', root, 'package']));
    },
    real(name, version) {
      const file = `${name.replace(/^@/, '').replace('/', '-')}-${version}.tgz`;
      const path = join(REAL_PACKAGES, file);
      if (!existsSync(path)) {
        mkdirSync(REAL_PACKAGES, { recursive: true });
        const into = mkdtempSync(join(dir, 'real-'));
        execFileSync('npm', ['pack', '--silent', `${name}@${version}`, '--pack-destination', into]);
        renameSync(join(into, file), `${path}.${process.pid}`);
        renameSync(`${path}.${process.pid}`, path);
      }
      const manifest = execFileSync('tar', ['-xzOf', path, 'package/package.json']).toString();
      publish(JSON.parse(manifest), readFileSync(path));
      return path;
    },
    python(name, version, files) {
      const info = `${name.replaceAll('-', '_')}-${version}.dist-info`;
      publishWheel(name, version, {
        ...files,
        [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
      });
    },
    installedPython(name) {
      const script = `import importlib.metadata as m, json, os, sys
d = m.distribution(sys.argv[1])
base = str(d.locate_file(''))
files = {}
for top in (d.read_text('top_level.txt') or sys.argv[1]).split():
    for folder, _, names in os.walk(os.path.join(base, top)):
        for f in names:
            if f.endswith('.py'):
                path = os.path.join(folder, f)
                files[os.path.relpath(path, base)] = open(path, encoding='utf-8').read()
points = {}
for e in d.entry_points:
    points.setdefault(e.group, []).append(f'{e.name}={e.value}')
entry = ''.join(f'[{g}]\\n' + ''.join(l + '\\n' for l in ls) for g, ls in points.items())
print(json.dumps({'version': d.version, 'files': files, 'entry': entry}))`;
      const printed = execFileSync('/usr/bin/python3', ['-c', script, name], { maxBuffer: INSTALLED_BYTES_MAX });
      const { version, files, entry } = JSON.parse(printed.toString()) as {
        version: string;
        files: Record<string, string>;
        entry: string;
      };
      const info = `${name.replaceAll('-', '_')}-${version}.dist-info`;
      publishWheel(name, version, {
        ...files,
        [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
        [`${info}/entry_points.txt`]: entry,
      });
    },
    async close() {
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      rmSync(dir, { recursive: true, force: true });
    },
  };
};
