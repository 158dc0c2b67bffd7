// Which line of a failed build says why: outputs as tools print them, shortened.

import { describe, expect, it } from 'vitest';
import { causeOf } from '../../node/staging/cause.ts';

const OUTPUTS: [tool: string, output: string, cause: string][] = [
  [
    'npm: a version that is not there',
    `npm error code ETARGET
npm error notarget No matching version found for left-pad@^99.0.0.
npm error notarget In most cases you or one of your dependencies are requesting
npm error notarget a package version that doesn't exist.
npm error A complete log of this run can be found in: /scratch/home/.npm/_logs/2026-01-01T00_00_00_000Z-debug-0.log`,
    'npm error notarget No matching version found for left-pad@^99.0.0.',
  ],
  [
    'npm: a lock file that does not fit',
    `npm error code EUSAGE
npm error
npm error \`npm ci\` can only install packages when your package.json and package-lock.json are in sync.
npm error
npm error Missing: greeting@9.0.0 from lock file
npm error
npm error Clean install a project
npm error
npm error Usage:
npm error npm ci
npm error A complete log of this run can be found in: /x.log`,
    'npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync.',
  ],
  [
    'npm: a script of a package',
    `npm error code 1
npm error path /app/node_modules/sharp
npm error command failed
npm error command sh -c node install.js
npm error sharp: Installation error: Invalid Version: undefined
npm error A complete log of this run can be found in: /x.log`,
    'npm error sharp: Installation error: Invalid Version: undefined',
  ],
  [
    'TypeScript behind npm',
    `> app@1.0.0 build
> tsc
src/index.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.
npm error Lifecycle script \`build\` failed with error:
npm error code 2
npm error path /app
npm error workspace app@1.0.0
npm error command failed`,
    "src/index.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.",
  ],
  [
    'pnpm: a script',
    `> build
src/a.ts:1:1 - error TS2304: Cannot find name 'x'.
 ELIFECYCLE  Command failed with exit code 2.`,
    "src/a.ts:1:1 - error TS2304: Cannot find name 'x'.",
  ],
  [
    'Yarn 1: a script',
    `ReferenceError: foo is not defined
    at Object.<anonymous> (/app/build.js:1:1)
    at Module._compile (node:internal/modules/cjs/loader:1:1)
Node.js v24.0.0
error Command failed with exit code 1.
info Visit https://yarnpkg.com/en/docs/cli/run for documentation about this command.`,
    'ReferenceError: foo is not defined',
  ],
  [
    'Vite',
    `vite v7.0.0 building for production...
✓ 2 modules transformed.
✗ Build failed in 30ms
error during build:
Could not resolve "./missing" from "src/main.ts"
file: /app/src/main.ts
    at getRollupError (file:///app/node_modules/rollup/dist/es/shared/parseAst.js:401:41)`,
    'Could not resolve "./missing" from "src/main.ts"',
  ],
  [
    'Next',
    `Failed to compile.
./app/page.tsx:5:3
Type error: Property 'x' does not exist on type '{}'.
Next.js build worker exited with code: 1 and signal: null`,
    "Type error: Property 'x' does not exist on type '{}'.",
  ],
  [
    'Composer',
    `Your requirements could not be resolved to an installable set of packages.
  Problem 1
    - Root composer.json requires acme/none ^1.0, it could not be found in any version
install [--prefer-source] [--prefer-dist] [--dry-run] [--] [<packages>...]`,
    'Your requirements could not be resolved to an installable set of packages.',
  ],
  [
    'Maven',
    `[ERROR] COMPILATION ERROR :
[ERROR] /app/src/main/java/App.java:[3,9] cannot find symbol
[ERROR] Failed to execute goal org.apache.maven.plugins:maven-compiler-plugin:3.11.0:compile: Compilation failure
[ERROR] -> [Help 1]
[ERROR]
[ERROR] To see the full stack trace of the errors, re-run Maven with the -e switch.
[ERROR] [Help 1] http://cwiki.apache.org/confluence/display/MAVEN/MojoFailureException`,
    '[ERROR] /app/src/main/java/App.java:[3,9] cannot find symbol',
  ],
  [
    'Go',
    `# example.org/a
./main.go:5:2: undefined: foo
./main.go:6:2: undefined: bar`,
    './main.go:5:2: undefined: foo',
  ],
  [
    'pip',
    `ERROR: Could not find a version that satisfies the requirement flask==99 (from versions: 3.0.0)
ERROR: No matching distribution found for flask==99
[notice] A new release of pip is available: 23.0 -> 25.0`,
    'ERROR: Could not find a version that satisfies the requirement flask==99 (from versions: 3.0.0)',
  ],
  [
    'pip: a package that does not build',
    `  error: subprocess-exited-with-error
  src/_x.c:4:10: fatal error: Python.h: No such file or directory
note: This error originates from a subprocess, and is likely not a problem with pip.`,
    'src/_x.c:4:10: fatal error: Python.h: No such file or directory',
  ],
  [
    'Bundler',
    `Could not find gem 'none' in rubygems repository https://rubygems.org/ or installed locally.
Run \`bundle install --verbose\``,
    "Could not find gem 'none' in rubygems repository https://rubygems.org/ or installed locally.",
  ],
  [
    'a buildpack, which says itself what it is',
    `npm error code E1
 !     no Node satisfies ">= 99": ask for another version`,
    'no Node satisfies ">= 99": ask for another version',
  ],
  ['nothing that is known', 'one\ntwo', 'two'],
  ['nothing but footers', 'npm error code 1\nnpm error path /app', 'npm error path /app'],
];

describe('the cause of a build that failed', () => {
  it.each(OUTPUTS)('with %s', (_, output, line) => {
    expect(causeOf(output.split('\n'))).toEqual({ line, isNetwork: false });
  });

  it.each([
    'npm error network request to https://registry.npmjs.org/x failed, reason: getaddrinfo ENOTFOUND registry.npmjs.org',
    'fatal: unable to access https://example.org/a.git/: Could not resolve host: example.org',
    'go: example.org/b@v1.0.0: dial tcp 192.0.2.1:443: connect: connection refused',
    'Failed to fetch `Geist` from Google Fonts.',
  ])('is the network where that is: %s', (line) => {
    const around = ['npm error code ENOTFOUND', line, 'Error: something else', 'npm error path /app'];
    expect(causeOf(around)).toEqual({ line, isNetwork: true });
  });

  it('is nothing where nothing was printed', () => {
    expect(causeOf([' ', ''])).toBeUndefined();
  });

  it('is found without colours', () => {
    expect(causeOf(['\u001b[31mError: red\u001b[39m'])?.line).toBe('Error: red');
  });
});
