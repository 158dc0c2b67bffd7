// The classic buildpack API, rule by rule (Heroku's Dev Center, "Buildpack API"), and where its buildpacks come from.
// Numbers are those of the cases that users of such platforms know.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Case, Pack } from './case.ts';

/** A buildpack that prints this YAML at release. */
export const releasing = (yaml: string, scripts: Record<string, string> = {}, files = {}): Pack => ({
  scripts: { compile: 'exit 0', release: `cat <<'END'\n${yaml}\nEND`, ...scripts },
  files,
});
export const web = (command: string, scripts: Record<string, string> = {}, files = {}): Pack =>
  releasing(`default_process_types: { web: "${command}" }`, scripts, files);
const plain = (compile: string, files = {}): Pack => ({ scripts: { compile }, files });
const builtin = (name: string, detect: string): Pack => web(name, { detect });

export const CLASSIC: Case[] = [
  {
    rule: '1: what was built starts, with its files and its port',
    packs: [web('cat made; echo port $PORT', { compile: 'echo built >"$1/made"' })],
    want: { files: { 'app/made': 'built\n' }, starts: { prints: ['built', 'port 20001'] } },
  },
  {
    rule: '2: no buildpack detects: the error names those that were asked',
    builtins: { one: builtin('one', 'exit 1'), two: builtin('two', 'exit 1') },
    want: { refused: { code: 'no_buildpack', says: 'one, two' } },
  },
  {
    rule: '3: two detect: the first in order is taken, and the name it prints is shown',
    builtins: {
      one: builtin('one', 'exit 1'),
      two: builtin('two', 'echo Two'),
      three: builtin('three', 'echo Three'),
    },
    want: { processes: { web: 'two' }, prints: ['Detected: Two'] },
  },
  {
    rule: '4: a buildpack that is named is not asked to detect',
    packs: [web('named', { detect: 'exit 1' })],
    want: { processes: { web: 'named' } },
  },
  {
    rule: '5: a detect that is not executable: a warning, and the next is asked',
    builtins: { one: { scripts: {}, files: { 'bin/detect': 'exit 0' } }, two: builtin('two', 'exit 0') },
    want: { processes: { web: 'two' }, prints: ['one is skipped: its bin/detect is not executable'] },
  },
  {
    rule: '6: compile exits 1: a named error with the end of what it printed',
    packs: [plain('echo one; echo "no rule to make target" >&2; exit 1')],
    want: { refused: { code: 'compile_failed', says: /exit status 1.*no rule to make target/ } },
  },
  {
    rule: '7: release exits 1: a named error',
    packs: [{ scripts: { compile: 'exit 0', release: 'echo why >&2; exit 1' } }],
    want: { refused: { code: 'release_failed', says: /exit status 1.*why/ } },
  },
  {
    rule: '8: release prints what is not YAML: a named error',
    packs: [releasing('[')],
    want: { refused: { code: 'release_not_yaml', says: 'bin/release' } },
  },
  {
    rule: '8: release prints a list: a named error',
    packs: [releasing('- a')],
    want: { refused: { code: 'release_not_yaml', says: 'mapping' } },
  },
  {
    rule: '9: no bin/release: the Procfile alone says what runs',
    app: { Procfile: 'web: mine' },
    packs: [plain('exit 0')],
    want: { processes: { web: 'mine' } },
  },
  {
    rule: '10: an empty release and no Procfile: no start command, by name',
    packs: [releasing('--- {}')],
    want: { refused: { code: 'no_start_command', says: '--command' } },
  },
  {
    rule: '11: the Procfile beats the release per process type',
    app: { Procfile: 'web: mine' },
    packs: [releasing('default_process_types: { web: theirs, console: c }')],
    want: { processes: { web: 'mine', console: 'c' } },
  },
  {
    rule: "12: a Procfile with a worker only keeps the release's web",
    app: { Procfile: 'worker: mine' },
    packs: [web('theirs')],
    want: { processes: { web: 'theirs', worker: 'mine' } },
  },
  {
    rule: '13: a Procfile that is a YAML list is refused, by line',
    app: { Procfile: '- web: x\n' },
    packs: [web('x')],
    want: { refused: { code: 'procfile_invalid', says: 'Procfile line 1' } },
  },
  {
    rule: '14: --command beats the Procfile and the release',
    app: { Procfile: 'web: theirs' },
    packs: [web('theirs too')],
    command: 'mine',
    want: { processes: { web: 'mine' } },
  },
  {
    rule: '15: the second staging sees what the first left in CACHE_DIR',
    packs: [web('x', { compile: 'cat "$2/n" 2>/dev/null >"$1/seen"; echo one >>"$2/n"' })],
    before: 2,
    want: { files: { 'app/seen': 'one\none\n' } },
  },
  {
    rule: '16: url#branch is that branch',
    named: async (at) => [
      `${await at.git(web('x', { compile: 'cat branch >"$1/branch"' }, { branch: 'main' }), async (repository, git) => {
        await git('checkout', '-qb', 'feature/x');
        writeFileSync(join(repository, 'branch'), 'feature');
        await git('commit', '-qam', 'two');
        await git('checkout', '-q', 'main');
      })}#feature/x`,
    ],
    want: { files: { 'app/branch': 'feature' } },
  },
  {
    rule: '16: a url alone is its default branch, with its submodules, and no more than the last commit',
    named: async (at) => {
      const part = await at.git(plain('exit 0', { 'part.txt': 'of a submodule' }));
      const compile =
        'cat part/part.txt >"$1/part"; git -c safe.directory="*" -C . rev-list --count HEAD >"$1/commits"';
      return [
        await at.git(web('x', { compile }), async (_repository, git) => {
          await git('submodule', '--quiet', 'add', part, 'part');
          await git('commit', '-qm', 'two');
        }),
      ];
    },
    want: { files: { 'app/part': 'of a submodule', 'app/commits': '1\n' } },
  },
  {
    rule: '17: a ref that does not exist fails by name',
    named: async (at) => [`${await at.git(web('x'))}#no-such-branch`],
    want: { refused: { code: 'buildpack_fetch_failed', says: 'no-such-branch' } },
  },
  {
    rule: '17: a repository that does not exist fails by name',
    named: async (at) => [`${await at.git(web('x'))}-missing`],
    want: { refused: { code: 'buildpack_fetch_failed', says: '-missing' } },
  },
  {
    rule: '17: a host that does not answer fails by name',
    named: async () => ['http://127.0.0.1:1/pack'],
    want: { refused: { code: 'buildpack_fetch_failed', says: 'http://127.0.0.1:1/pack' } },
  },
  {
    rule: '18: an endless compile is ended at the limit',
    packs: [plain('echo going; while :; do sleep 1; done')],
    timeLimitMs: 1_500,
    want: { refused: { code: 'time_limit', says: 'going' } },
  },
  {
    rule: '21: what one buildpack exports the next one sees, search paths too',
    packs: [
      plain('echo "export FROM_FIRST=\\"it works\\"; export PATH=\\"/first/bin:\\$PATH\\"" >export'),
      web('x', { compile: 'echo "$FROM_FIRST $(cut -d: -f1 <<<"$PATH")" >"$1/seen"' }),
    ],
    want: { files: { 'app/seen': 'it works /first/bin\n' } },
  },
  {
    rule: '22: config vars are files in ENV_DIR, as they are, and not in the environment',
    packs: [web('x', { compile: 'cat "$3/SECRET" "$3/EMPTY" >"$1/seen"; ls "$3" >"$1/names"; env >"$1/env"' })],
    env: { SECRET: 'a\nb "c"', EMPTY: '', '../escape': 'x', 'a/b': 'x' },
    want: { files: { 'app/seen': 'a\nb "c"', 'app/names': 'EMPTY\nSECRET\n', 'app/env': /^(?!(.|\n)*SECRET)/ } },
  },
  {
    rule: '23: at the start: config vars, then .profile.d, then .profile, then the command',
    app: {
      '.profile.d/b.sh': 'order="$order b"',
      '.profile.d/a.sh': 'order="$order a($FROM_PACK)"',
      '.profile.d/c.txt': 'order="$order c"',
      '.profile': 'export order="$order .profile"',
    },
    packs: [releasing('{ default_process_types: { web: "echo $order" }, config_vars: { FROM_PACK: "va lue" } }')],
    want: { starts: { prints: ['a(va lue) b .profile\n'] } },
  },
  {
    rule: '23: what the user sets wins over config vars; PATH is extended',
    packs: [
      releasing(
        '{ default_process_types: { web: "echo $FROM_USER $PATH" }, config_vars: { FROM_USER: pack, PATH: /app/bin } }',
      ),
    ],
    want: { starts: { prints: [/^user \/app\/bin:.*\/usr\/bin/m] } },
  },
  {
    rule: '24: file names in UTF-8 survive, with executable bits',
    app: { 'caf\u00e9/\u65e5\u672c\u8a9e.txt': 'ja', 'run*': '#!/bin/sh\necho ran' },
    packs: [web('./run && cat caf\u00e9/\u65e5\u672c\u8a9e.txt', { compile: '[ -x "$1/run" ]' })],
    want: { starts: { prints: ['ran\nja'] } },
  },
  {
    rule: '25: VCAP_APPLICATION and VCAP_SERVICES are JSON, CF_INSTANCE_* and DYNO are set',
    packs: [
      web(
        "node -e 'const {name} = JSON.parse(process.env.VCAP_APPLICATION); JSON.parse(process.env.VCAP_SERVICES); console.log(name, process.env.CF_INSTANCE_INDEX, process.env.DYNO)'",
      ),
    ],
    want: { starts: { prints: ['test 0 web.1'] } },
  },
  {
    rule: '26: STACK and CF_STACK are set for every script, and the same',
    packs: [
      web('x', { compile: 'echo "$STACK" >"$1/stack"; [ -n "$STACK" ] && [ "$STACK" = "$CF_STACK" ] || exit 1' }),
    ],
    want: { files: { 'app/stack': /^[a-z]+[\d.]*-(x64|arm64)\n$/ } },
  },
  {
    rule: "scripts run in their buildpack's own folder, which they may write to",
    packs: [
      web('x', { compile: 'cat data/file >"$1/seen"; echo changed >data/file' }, { 'data/file': 'from the pack' }),
    ],
    want: { files: { 'app/seen': 'from the pack' } },
  },
  {
    rule: 'detect is given the app',
    app: { marker: '' },
    builtins: { one: builtin('one', '[ -f "$1/marker" ]') },
    want: { processes: { web: 'one' } },
  },
  {
    rule: 'the last buildpack with a bin/release wins, one without does not undo it',
    packs: [web('first'), web('second'), plain('exit 0')],
    want: { processes: { web: 'second' } },
  },
  {
    rule: 'of several buildpacks the one that fails is named',
    packs: [plain('exit 0'), plain('exit 7')],
    want: { refused: { code: 'compile_failed', says: /folder-\d+: compile failed \(exit status 7\)/ } },
  },
  {
    rule: 'an export that ends the shell fails the build',
    packs: [plain('echo "exit 3" >export'), plain('exit 0')],
    want: { refused: { code: 'compile_failed', says: 'exit status 3' } },
  },
  {
    rule: 'a compile that is not executable fails by name',
    packs: [{ scripts: {}, files: { 'bin/compile': 'exit 0' } }],
    want: { refused: { code: 'compile_failed', says: 'exit status 126' } },
  },
  {
    rule: '.buildpacks names buildpacks, one a line, in order',
    appFiles: async (at) => ({
      '.buildpacks': [
        '# first this',
        await at.git(plain('echo 1 >>"$1/order"')),
        '',
        await at.archive(web('x', { compile: 'echo 2 >>"$1/order"' })),
      ].join('\n'),
    }),
    want: { files: { 'app/order': '1\n2\n' }, prints: ['Buildpacks from .buildpacks'] },
  },
  {
    rule: 'app.json names buildpacks, by the names that Heroku gives them too',
    app: {
      'app.json': '{ "name": "x", "buildpacks": [{ "url": "heroku/ruby" }, { "url": "urn:buildpack:heroku/go" }] }',
    },
    builtins: { go: web('go', { compile: 'echo go >>"$1/order"' }), ruby: plain('echo ruby >>"$1/order"') },
    want: { files: { 'app/order': 'ruby\ngo\n' }, prints: ['Buildpacks from app.json'] },
  },
  {
    rule: 'the names that Cloud Foundry gives to built-in buildpacks are known',
    builtins: { static: web('static'), nodejs: web('nodejs') },
    named: async () => ['staticfile_buildpack', 'nodejs_buildpack'],
    want: { processes: { web: 'nodejs' } },
  },
  {
    rule: '--buildpack beats .buildpacks, which beats app.json, which beats detect',
    app: { '.buildpacks': 'https://127.0.0.1:1/no\n', 'app.json': '{ "buildpacks": [{ "url": "nobody/x" }] }' },
    packs: [web('named')],
    want: { processes: { web: 'named' } },
  },
  {
    rule: "a path in .buildpacks is refused: it would be one of the node's",
    app: { '.buildpacks': '/srv/packs/mine\n' },
    want: { refused: { code: 'buildpack_unknown', says: '.buildpacks names "/srv/packs/mine"' } },
  },
  {
    rule: 'an app.json that is not JSON is refused',
    app: { 'app.json': '{ "buildpacks": ' },
    want: { refused: { code: 'app_json_invalid', says: 'not valid JSON' } },
  },
  {
    rule: 'an app.json whose buildpacks are of another shape is refused',
    app: { 'app.json': '{ "buildpacks": ["heroku/nodejs"] }' },
    want: { refused: { code: 'app_json_invalid', says: 'url' } },
  },
  {
    rule: 'a .tgz by its URL; a single folder in it is the buildpack',
    named: async (at) => [await at.archive(web('x', { compile: 'echo tgz >"$1/from"' }), { within: 'pack-1.0' })],
    want: { files: { 'app/from': 'tgz\n' } },
  },
  {
    rule: 'a URL that leads to no archive fails by name',
    named: async (at) => [await at.server({ status: 200, body: '<html>' })],
    want: { refused: { code: 'buildpack_fetch_failed', says: 'not a gzip-compressed tar' } },
  },
  {
    rule: 'a server that does not have the archive fails by name',
    named: async (at) => [await at.server({ status: 404, body: '' })],
    want: { refused: { code: 'buildpack_fetch_failed', says: 'the server answered 404' } },
  },
  {
    rule: 'a buildpack that came with the push',
    named: async (at) => [await at.upload(web('x', { compile: 'echo uploaded >"$1/from"' }), 'mine')],
    want: { files: { 'app/from': 'uploaded\n', 'staging_info.json': /"buildpack":"mine"/ } },
  },
  {
    rule: 'an upload that is no buildpack fails by name',
    named: async (at) => [await at.upload(Buffer.from('no archive'), 'mine')],
    want: { refused: { code: 'buildpack_fetch_failed', says: 'buildpack mine' } },
  },
  {
    rule: 'an upload that this node does not have fails by name',
    named: async () => [`upload:sha256:${'0'.repeat(64)}:mine`],
    want: { refused: { code: 'buildpack_unknown', says: 'push again' } },
  },
  {
    rule: 'a repository that is no buildpack is refused',
    named: async (at) => [await at.git({ scripts: {}, files: { 'readme.md': '' } })],
    want: { refused: { code: 'buildpack_unknown', says: 'no bin/compile' } },
  },
  {
    rule: 'a name that nobody knows is refused, with those that are',
    builtins: { nodejs: web('x') },
    named: async () => ['no-such-pack'],
    want: { refused: { code: 'buildpack_unknown', says: 'expected one of nodejs' } },
  },
  {
    rule: 'a Procfile that leads out of the app shows nothing of the node',
    packs: [web('x', { compile: 'ln -s /etc/shadow "$1/Procfile"' })],
    want: { processes: { web: 'x' } },
  },
  {
    rule: 'whatever modes a compile sets, the droplet can be packed',
    packs: [
      web('x', {
        compile:
          'mkdir -p "$1/closed/in"; echo x >"$1/closed/in/file"; chmod 0 "$1/closed/in/file" "$1/closed/in" "$1/closed"',
      }),
    ],
    want: { files: { 'app/closed/in/file': 'x\n' } },
  },
];
