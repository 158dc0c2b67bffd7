// A package registry on loopback for npm and pip, with packages made up by a test: builds are real, and need no network.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

export type Registry = {
  url: string;
  /** What was asked for, `GET /name`. */
  requests: string[];
  /** For the daemon's environment. */
  env: Record<string, string>;
  npm(name: string, version: string, files: Record<string, string>): void;
  python(name: string, version: string, files: Record<string, string>): void;
  close(): Promise<void>;
};

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
      response.end(JSON.stringify({ name, versions, 'dist-tags': { latest: Object.keys(versions).at(-1) } }));
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

  return {
    url,
    requests,
    env: { npm_config_registry: url, PIP_INDEX_URL: `${url}/simple` },
    npm(name, version, files) {
      const manifest = { name, version, ...JSON.parse(files['package.json'] ?? '{}') };
      const root = mkdtempSync(join(dir, 'npm-'));
      write(join(root, 'package'), { ...files, 'package.json': JSON.stringify(manifest) });
      const tgz = execFileSync('tar', ['-cz', '-C', root, 'package']);
      const path = `/${name}/-/${name}-${version}.tgz`;
      downloads.set(path, tgz);
      const integrity = `sha512-${createHash('sha512').update(tgz).digest('base64')}`;
      packuments.set(name, {
        ...packuments.get(name),
        [version]: { ...manifest, dist: { tarball: url + path, integrity } },
      });
    },
    python(name, version, files) {
      const root = mkdtempSync(join(dir, 'wheel-'));
      const module = name.replaceAll('-', '_');
      const info = `${module}-${version}.dist-info`;
      write(root, {
        ...files,
        [`${info}/METADATA`]: `Metadata-Version: 2.1\nName: ${name}\nVersion: ${version}\n`,
        [`${info}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
        [`${info}/RECORD`]: [...Object.keys(files), `${info}/METADATA`, `${info}/WHEEL`, `${info}/RECORD`]
          .map((file) => `${file},,\n`)
          .join(''),
      });
      const file = `${module}-${version}-py3-none-any.whl`;
      const script =
        'import shutil, sys; shutil.move(shutil.make_archive(sys.argv[1], "zip", sys.argv[2]), sys.argv[1])';
      execFileSync('/usr/bin/python3', ['-c', script, join(dir, file), root]);
      downloads.set(`/wheels/${file}`, readFileSync(join(dir, file)));
      wheels.set(name, [...(wheels.get(name) ?? []), file]);
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
