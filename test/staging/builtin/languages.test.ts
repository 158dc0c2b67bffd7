// What the buildpacks of further languages read, choose and refuse. That each serves its sample apps is in
// e2e/samples.test.ts.

import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { asAppId } from '../../../crdt/ids.ts';
import type { Files } from '../harness.ts';
import { createPacks, json } from './packs.ts';

const packs = createPacks();
const GO = 'package main\n\nfunc main() { println("hello") }\n';
const JAVA = 'public class Main { public static void main(String[] arguments) { System.out.println("hello"); } }\n';
const NOT_EMPTY = { 'index.php': '' };

describe('a version that cannot be had', () => {
  beforeAll(() => {
    packs.registry.npm(process.arch === 'x64' ? '@deno/linux-x64-glibc' : '@deno/linux-arm64-glibc', '2.9.6', {
      deno: '',
    });
    packs.registry.npm(process.arch === 'x64' ? '@oven/bun-linux-x64-baseline' : '@oven/bun-linux-aarch64', '1.4.5', {
      'bin/bun': '',
    });
  });

  it.each<[string, Files, RegExp]>([
    [
      'ruby: .ruby-version',
      { 'config.ru': '', '.ruby-version': '1.8.7\n' },
      /no Ruby "~> 1\.8\.0" \(\.ruby-version\) on this node; there is \d/,
    ],
    ['ruby: Gemfile', { Gemfile: "ruby '>= 99'\n" }, /no Ruby ">= 99" \(Gemfile\) on this node; there is \d/],
    [
      'go: go.mod',
      { 'go.mod': 'module example.org/a\n\ngo 1.999\n', 'a.go': GO },
      /no Go 1\.999 \(go\.mod\) on this node; there are: 1\./,
    ],
    [
      'java: system.properties',
      { 'Main.java': JAVA, 'system.properties': 'java.runtime.version=5\n' },
      /no Java 5 \(system\.properties\) on this node; there are: \d/,
    ],
    [
      'java: pom.xml',
      { 'pom.xml': '<project><properties><maven.compiler.release>99</maven.compiler.release></properties></project>' },
      /no Java 99 \(pom\.xml\) on this node; there are: \d/,
    ],
    [
      'php: composer.json',
      { ...NOT_EMPTY, 'composer.json': json({ require: { php: '^5.6 || ~7.1' } }) },
      /no PHP "\^5\.6 \|\| ~7\.1" \(composer\.json\) on this node; there is 8/,
    ],
    [
      'deno: .deno-version',
      { 'deno.json': '{}', 'main.ts': '', '.deno-version': '1.0.0\n' },
      /no Deno satisfies "1\.0\.0" \(\.deno-version\); there are, among others: 2\.9\.6/,
    ],
    [
      'bun: .bun-version',
      { 'index.ts': '', '.bun-version': '0.1.0\n' },
      /no Bun satisfies "0\.1\.0" \(\.bun-version\); there are, among others: 1\.4\.5/,
    ],
    [
      'bun: package.json',
      { 'index.ts': '', 'package.json': json({ packageManager: 'bun@9.9.9' }) },
      /no Bun satisfies "9\.9\.9" \("packageManager" in package\.json\)/,
    ],
  ])('%s', async (_name, files, message) => {
    expect(await packs.failing(files)).toMatchObject({
      code: 'compile_failed',
      message: expect.stringMatching(message),
    });
  });
});

describe('an app that says nothing to run, or says it wrongly', () => {
  it.each<[string, Files, RegExp | 'no_start_command']>([
    [
      'go: several commands, of which none is known to take requests',
      { 'go.mod': 'module example.org/a\n', 'cmd/seed/a.go': GO, 'cmd/migrate/a.go': GO },
      /several commands \((?:seed, migrate|migrate, seed)\), and none is called web or server: .* web: \.\/bin\//,
    ],
    [
      'go: two commands of one name',
      { 'go.mod': 'module example.org/a\n', 'cmd/seed/a.go': GO, 'tools/seed/a.go': GO },
      /several commands are called seed \(example\.org\/a\/\w+\/seed, example/,
    ],
    ['go: no package main', { 'go.mod': 'module example.org/a\n', 'a.go': 'package a\n' }, /no package main/],
    ['go: no module', { 'go.mod': 'what\n', 'a.go': GO }, /could not be read: .*go\.mod/],
    [
      'go: code that does not compile',
      { 'go.mod': 'module example.org/a\n', 'a.go': `${GO}what` },
      /expected declaration|syntax error/,
    ],
    ['java: no main method', { 'A.java': 'class A {}\n' }, /no class has a public static void main/],
    ['java: Gradle', { 'build.gradle': '', 'src/main/java/A.java': JAVA }, /Gradle is not run here/],
    ['java: code that does not compile', { 'A.java': 'class {}\n' }, /error/],
    [
      'ruby: a gem that is nowhere',
      { Gemfile: 'source "http://127.0.0.1:9"\ngem "no-such-gem"\n' },
      /ruby: compile failed/,
    ],
    ['ruby: only a Gemfile', { Gemfile: '' }, 'no_start_command'],
    ['php: no JSON', { ...NOT_EMPTY, 'composer.json': '{' }, /composer\.json is not valid JSON/],
    ['deno: no JSON', { 'deno.json': '{' }, /deno\.json is not valid/],
    ['bun: no JSON', { 'bun.lock': '', 'package.json': '{' }, /package\.json is not valid JSON/],
  ])('%s', async (_name, files, message) => {
    const failure = await packs.failing(files);
    if (message === 'no_start_command') expect(failure.code).toBe(message);
    else expect(failure).toMatchObject({ code: 'compile_failed', message: expect.stringMatching(message) });
  });
});

describe('a pack that is named for a folder that is not its own', () => {
  it.each<[pack: string, message: RegExp]>([
    ['nodejs', /there is no package\.json here: add one/],
    ['go', /there is no go\.mod here: add one/],
    ['java', /no jar here names its main class/],
  ])('%s says what is missing', async (pack, message) => {
    const failure = await packs.failing({ readme: '' }, { buildpacks: [pack] });
    expect(failure).toMatchObject({ code: 'compile_failed', message: expect.stringMatching(message) });
  });

  it.each(['ruby', 'python', 'bun', 'procfile'])('%s leaves it to the command that is given', async (pack) => {
    expect(await packs.failing({ readme: '' }, { buildpacks: [pack] })).toMatchObject({ code: 'no_start_command' });
  });
});

describe('ruby', () => {
  it('runs a Rack application that has no Gemfile', async () => {
    const { droplet, output } = await packs.stage({ 'config.ru': 'run ->(env) { [200, {}, ["hello"]] }\n' });
    expect(output).toContain('No gems to install');
    expect(droplet.processes.web).toMatch(/^(puma|rackup) /);
  });

  it('takes the gems of an unchanged lock file from the cache', async () => {
    const app = { id: asAppId('ruby-cache'), name: 'a' };
    expect((await packs.stage('hello-ruby', { app })).output).toContain('Installing gems');
    expect((await packs.stage('hello-ruby', { app })).output).toContain('Gems from the cache');
  });

  it('compiles the assets when there is a task for it', async () => {
    const { content } = await packs.stage({
      Gemfile: 'gem "rake"\n',
      'app.rb': '',
      Rakefile: 'namespace(:assets) { task(:precompile) { File.write("made.css", ENV["RAILS_ENV"]) } }\n',
    });
    expect(content.read('app/made.css')).toBe('production');
  });
});

describe('php', () => {
  it('sends what is no file to index.php, and shows nothing that is hidden or the app\u2019s own', async () => {
    const app = await packs.start(await packs.stage('hello-php'));
    expect(await packs.get(`${app.url}/some/page?a=b`)).toBe('asked for /some/page with {"a":"b"}\n');
    expect(await packs.get(`${app.url}/style.css`)).toContain('font-family');
    for (const path of ['/.peer/php/php.ini', '/.profile.d/php.sh', '/vendor/autoload.php', '/composer.json']) {
      expect((await fetch(app.url + path)).status, path).toBe(404);
    }
  });

  it('serves the folder that DOCUMENT_ROOT names', async () => {
    const files = { 'composer.json': '{}', 'site/index.php': '<?php echo "from the site";' };
    const staged = await packs.stage(files, { env: { DOCUMENT_ROOT: 'site' } });
    expect(await packs.get((await packs.start(staged)).url)).toBe('from the site');
    const failure = await packs.failing(files, { env: { DOCUMENT_ROOT: 'gone' } });
    expect(failure.message).toContain('the folder "gone" does not exist');
  });
});

describe('java', () => {
  it('makes a runtime of just the modules that the app needs, once', async () => {
    const app = { id: asAppId('java-cache'), name: 'a' };
    const first = await packs.stage({ 'Main.java': JAVA }, { app });
    expect(first.output).toMatch(/Making a Java runtime: java\.base,/);
    expect(first.output).not.toContain('java.desktop');
    expect(first.droplet.processes).toEqual({ web: 'java -cp target/classes Main' });
    expect((await packs.stage({ 'Main.java': JAVA }, { app })).output).not.toContain('Making a Java runtime');
  });
});

describe('binary', () => {
  it('refuses a program for another kind of processor', async () => {
    const folder = packs.harness.folder({ 'read-me.txt': '' });
    const program = readFileSync('/bin/true');
    // The processor in an ELF header: RISC-V, or x86-64 where this is RISC-V.
    program.writeUInt16LE(program.readUInt16LE(18) === 243 ? 62 : 243, 18);
    writeFileSync(join(folder, 'server'), program, { mode: 0o755 });
    expect(await packs.failing(folder)).toMatchObject({
      code: 'compile_failed',
      message: expect.stringContaining('server is for another kind of processor'),
    });
  });

  it('carries the libraries of a program that is linked with some', async () => {
    const folder = packs.harness.folder({});
    copyFileSync('/usr/bin/git', join(folder, 'tool'));
    chmodSync(join(folder, 'tool'), 0o755);
    const staged = await packs.stage(folder);
    expect(staged.droplet.processes).toEqual({ web: './tool' });
    const linked = execFileSync('ldd', ['/usr/bin/git']).toString();
    const wanted = [...linked.matchAll(/(libpcre[^ ]*|libz[^ ]*) =>/g)].map(
      (match) => `app/.peer/binary/lib/${match[1]}`,
    );
    expect(wanted.length).toBeGreaterThan(0);
    expect(staged.content.files()).toEqual(expect.arrayContaining(wanted));
  });
});
