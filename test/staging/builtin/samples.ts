// The sample apps of test/apps: two for each built-in buildpack, what they answer, and what must be there before one
// is pushed.

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { sampleApp } from '../harness.ts';
import type { Registry } from '../registry.ts';

export type Sample = {
  pack: string;
  app: string;
  /** What GET / answers. */
  says: RegExp;
  /** Fills the registry that stagings ask. */
  publish?(registry: Registry): void;
  /** Builds what is pushed into an empty folder, for samples whose own folder is not what is pushed. */
  build?(into: string): Promise<void>;
};

const run = promisify(execFile);
const DENO = '2.9.6';
const BUN = '1.4.5';

const publishDeno = (registry: Registry): void => {
  registry.real(process.arch === 'x64' ? '@deno/linux-x64-glibc' : '@deno/linux-arm64-glibc', DENO);
  publishGreeting(registry);
};
const publishBun = (registry: Registry): void => {
  registry.real(process.arch === 'x64' ? '@oven/bun-linux-x64-baseline' : '@oven/bun-linux-aarch64', BUN);
  publishGreeting(registry);
};
const publishGreeting = (registry: Registry): void =>
  registry.npm('greeting', '1.0.0', {
    'package.json': '{"main":"index.js"}',
    'index.js': 'module.exports = "hello from a package";\n',
  });

/** The packages themselves as Debian installs them, in the form in which a package index has them. */
const publishPython =
  (...names: string[]) =>
  (registry: Registry): void => {
    for (const name of names) registry.installedPython(name);
  };

export const SAMPLES: readonly Sample[] = [
  { pack: 'nodejs', app: 'hello-node', says: /^hello from index \d version v1\n$/ },
  { pack: 'nodejs', app: 'packages-node', says: /^hello from a package, built\n$/, publish: publishGreeting },
  { pack: 'python', app: 'hello-python', says: /^hello from python, index \d\n$/ },
  {
    pack: 'python',
    app: 'wsgi-python',
    says: /^hello from wsgi by gunicorn, index \d\n$/,
    publish: publishPython('gunicorn', 'setuptools'),
  },
  {
    pack: 'python',
    app: 'asgi-python',
    says: /^hello from asgi, index \d\n$/,
    publish: publishPython('uvicorn', 'h11', 'click', 'asgiref'),
  },
  { pack: 'ruby', app: 'hello-ruby', says: /^hello from ruby, index \d\n$/ },
  { pack: 'ruby', app: 'rack-ruby', says: /^hello from rack by puma, index \d\n$/ },
  { pack: 'go', app: 'hello-go', says: /^hello from go, index \d\n$/ },
  { pack: 'go', app: 'vendor-go', says: /^hello from a vendored module\n$/ },
  { pack: 'java', app: 'hello-java', says: /^hello from java, index \d\n$/ },
  { pack: 'java', app: 'maven-java', says: /^hello from maven, index \d\n$/ },
  {
    pack: 'java',
    app: 'jar-java',
    says: /^hello from a jar, index \d\n$/,
    async build(into) {
      const classes = mkdtempSync(join(tmpdir(), 'peer-jar-'));
      await run('javac', ['--release', '17', '-d', classes, join(sampleApp('jar-java'), 'src', 'Jar.java')]);
      await run('jar', ['--create', '--file', join(into, 'app.jar'), '--main-class', 'Jar', '-C', classes, '.']);
      rmSync(classes, { recursive: true });
    },
  },
  { pack: 'php', app: 'hello-php', says: /^hello from php, index \d\n$/ },
  { pack: 'php', app: 'composer-php', says: /^hello from composer, index \d\n$/ },
  { pack: 'static', app: 'hello-static', says: /hello from static files/ },
  { pack: 'static', app: 'spa-static', says: /hello from a single page/ },
  { pack: 'deno', app: 'hello-deno', says: /^hello from deno, index \d\n$/, publish: publishDeno },
  { pack: 'deno', app: 'npm-deno', says: /^hello from a package, built\n$/, publish: publishDeno },
  { pack: 'bun', app: 'hello-bun', says: /^hello from bun, index \d\n$/, publish: publishBun },
  { pack: 'bun', app: 'packages-bun', says: /^hello from a package\n$/, publish: publishBun },
  { pack: 'procfile', app: 'hello-procfile', says: /^hello from perl, index \d\n$/ },
  { pack: 'procfile', app: 'node-procfile', says: /^hello from a Procfile, index \d\n$/ },
  ...['hello-go', 'vendor-go'].map(
    (source): Sample => ({
      pack: 'binary',
      app: `${source}, built before`,
      says: /^hello from (go, index \d|a vendored module)\n$/,
      async build(into) {
        const env = {
          ...process.env,
          CGO_ENABLED: '0',
          GOCACHE: join(tmpdir(), 'peer-test-go-cache'),
          GOFLAGS: '-buildvcs=false',
        };
        const what = source === 'hello-go' ? '.' : './cmd/web';
        await run('go', ['build', '-o', join(into, 'server'), what], { cwd: sampleApp(source), env });
      },
    }),
  ),
];

/** What is pushed of a sample: a copy of its folder, or what is built from it. */
export const sampleFolder = async (sample: Sample, into: string): Promise<string> => {
  mkdirSync(into, { recursive: true });
  if (sample.build) await sample.build(into);
  else cpSync(sampleApp(sample.app), into, { recursive: true });
  return into;
};
