// The Buildpack API of Cloud Native Buildpacks, rule by rule
// (https://github.com/buildpacks/spec/blob/main/buildpack.md): detection and the build plan, layers and their
// environment, what starts, and what is refused.

import type { Case, Pack } from './case.ts';
import { web } from './classic.ts';

type About = { id?: string; api?: string; toml?: string; detect?: string; files?: Record<string, string> };

/** A buildpack whose bin/build has this body; it detects unless told otherwise. */
const pack = (
  build: string,
  { id = 'test/pack', api = '0.10', toml = '', detect = 'exit 0', files }: About = {},
): Pack => ({
  scripts: { detect, build },
  files: { 'buildpack.toml': descriptor(id, api, toml), ...files },
});
const descriptor = (id: string, api = '0.10', rest = ''): string =>
  `api = "${api}"\n[buildpack]\nid = "${id}"\nversion = "1.0.0"\n${rest}`;

/** Lines of bin/build: a process of type web, a layer with its types. */
const webProcess = (...words: string[]): string =>
  `cat >>"$CNB_LAYERS_DIR/launch.toml" <<'END'\n[[processes]]\ntype = "web"\ncommand = ${JSON.stringify(words)}\nEND`;
const layer = (name: string, ...types: string[]): string =>
  `mkdir -p "$CNB_LAYERS_DIR/${name}"; printf '[types]\\n${types.map((type) => `${type} = true`).join('\\n')}\\n' >>"$CNB_LAYERS_DIR/${name}.toml"`;
const envFile = (path: string, value: string): string =>
  `mkdir -p "$(dirname "$CNB_LAYERS_DIR/${path}")"; printf '%s' '${value}' >"$CNB_LAYERS_DIR/${path}"`;
const lines = (...parts: string[]): string => parts.join('\n');

const provides = (...names: string[]): string => names.map((name) => `[[provides]]\\nname = \\"${name}\\"\\n`).join('');
const requires = (...names: string[]): string => names.map((name) => `[[requires]]\\nname = \\"${name}\\"\\n`).join('');
const planning = (plan: string): string => `printf "${plan}" >"$CNB_BUILD_PLAN_PATH"`;

/** A composite buildpack with its parts in folders of its own. */
const composite = (order: string, parts: Record<string, Pack>): Pack => ({
  scripts: {},
  files: Object.assign(
    { 'buildpack.toml': descriptor('test/all', '0.10', order) },
    ...Object.entries(parts).map(([name, { scripts, files }]) =>
      Object.fromEntries([
        ...Object.entries(scripts).map(([script, body]) => [`parts/${name}/bin/${script}*`, `#!/bin/bash\n${body}\n`]),
        ...Object.entries(files ?? {}).map(([file, content]) => [`parts/${name}/${file}`, content]),
      ]),
    ),
  ),
});
const group = (...entries: string[]): string =>
  `[[order]]\n${entries.map((entry) => `[[order.group]]\n${entry}\n`).join('')}`;
const named = (id: string): string => `id = "test/${id}"\nversion = "1.0.0"`;
const optional = (id: string): string => `${named(id)}\noptional = true`;
const saying = (id: string, about: About = {}): Pack =>
  pack(lines(`echo ${id} >>order`, webProcess(id)), { id: `test/${id}`, ...about });

const DETECTION: Case[] = [
  {
    rule: 'detect and build run in the app, with the variables and the arguments of the API',
    packs: [
      pack(
        lines(
          'echo "$PWD $# $([ "$1" = "$CNB_LAYERS_DIR" ] && [ "$2" = "$CNB_PLATFORM_DIR" ] && [ "$3" = "$CNB_BP_PLAN_PATH" ] && echo same)" >build-arguments',
          '[ -f "$CNB_BUILDPACK_DIR/buildpack.toml" ] && echo "$CNB_LAYERS_DIR $CNB_TARGET_OS $CNB_STACK_ID" >variables',
          webProcess('x'),
        ),
        {
          detect: '[ "$1" = "$CNB_PLATFORM_DIR" ] && [ "$2" = "$CNB_BUILD_PLAN_PATH" ] && [ "$PWD" = /app ] || exit 1',
        },
      ),
    ],
    want: {
      files: {
        'app/build-arguments': '/app 3 same\n',
        'app/variables': /^\/layers\/test_pack linux [a-z]+[\d.]*-\w+\n$/,
      },
      processes: { web: 'x' },
    },
  },
  {
    rule: 'a buildpack of an older API finds everything in its arguments',
    packs: [
      pack('printf "[[processes]]\\ntype = \\"web\\"\\ncommand = \\"echo $(ls "$2")\\"\\n" >"$1/launch.toml"', {
        api: '0.6',
      }),
    ],
    want: { processes: { web: 'echo env' } },
  },
  {
    rule: 'detect that exits 100: not recognised, even when the buildpack was named',
    packs: [pack('exit 0', { detect: 'exit 100' })],
    want: { refused: { code: 'no_buildpack', says: 'test/pack@1.0.0 does not recognise it' } },
  },
  {
    rule: 'detect with another status is an error, and what it printed is shown',
    packs: [pack('exit 0', { detect: 'echo "cannot read it" >&2; exit 2' })],
    want: { refused: { code: 'no_buildpack', says: 'ended with exit status 2' }, prints: ['cannot read it'] },
  },
  {
    rule: 'the first group of an order that detects is taken',
    packs: [
      composite(group(named('a'), named('b')) + group(named('b'), named('c')), {
        a: saying('a', { detect: 'exit 100' }),
        b: saying('b'),
        c: saying('c'),
      }),
    ],
    want: {
      files: { 'app/order': 'b\nc\n' },
      processes: { web: 'c' },
      prints: ['Detected: test/b@1.0.0, test/c@1.0.0'],
    },
  },
  {
    rule: 'an optional buildpack that does not detect drops out of its group',
    packs: [composite(group(optional('a'), named('b')), { a: saying('a', { detect: 'exit 100' }), b: saying('b') })],
    want: { files: { 'app/order': 'b\n' } },
  },
  {
    rule: 'composites in composites stand for their groups, depth first',
    packs: [
      composite(group(named('a'), named('inner')), {
        a: saying('a'),
        inner: {
          scripts: {},
          files: { 'buildpack.toml': descriptor('test/inner', '0.10', group(named('c')) + group(named('b'))) },
        },
        b: saying('b'),
        c: saying('c', { detect: 'exit 100' }),
      }),
    ],
    want: { files: { 'app/order': 'a\nb\n' } },
  },
  {
    rule: 'a part that is not there is refused, by its name',
    packs: [composite(group(named('missing')), { a: saying('a') })],
    want: { refused: { code: 'buildpack_invalid', says: 'test/all@1.0.0 needs test/missing@1.0.0' } },
  },
  {
    rule: 'an order that contains itself is refused',
    packs: [composite(group(named('all')), {})],
    want: { refused: { code: 'buildpack_invalid', says: 'contains itself' } },
  },
  {
    rule: 'several named buildpacks are one group in their order; a part may come from any of them',
    packs: [composite(group(named('b')), {}), saying('b'), saying('c')],
    want: { files: { 'app/order': 'b\nb\nc\n' } },
  },
  {
    rule: 'from git, as a whole repository with its parts',
    named: async (at) => [await at.git(composite(group(named('a')), { a: saying('a') }))],
    want: { files: { 'app/order': 'a\n' } },
  },
  {
    rule: 'from a .tgz by its URL',
    named: async (at) => [await at.archive(saying('a'))],
    want: { files: { 'app/order': 'a\n' } },
  },
  {
    rule: 'classic and Cloud Native Buildpacks together are refused',
    packs: [web('x'), saying('a')],
    want: { refused: { code: 'buildpack_unknown', says: 'cannot be used together' } },
  },
  {
    rule: 'an API that is not known is refused, with those that are',
    packs: [pack('exit 0', { api: '0.2' })],
    want: { refused: { code: 'buildpack_invalid', says: '0.5 to 0.12' } },
  },
  {
    rule: 'a buildpack.toml that is no TOML is refused',
    packs: [pack('exit 0', { toml: '[[[' })],
    want: { refused: { code: 'buildpack_invalid', says: 'not valid TOML' } },
  },
  {
    rule: 'a buildpack without bin/build is refused',
    packs: [{ scripts: { detect: 'exit 0' }, files: { 'buildpack.toml': descriptor('test/pack') } }],
    want: { refused: { code: 'buildpack_invalid', says: 'bin/build is missing' } },
  },
  {
    rule: 'a buildpack for other machines does not detect',
    packs: [pack('exit 0', { toml: '[[targets]]\nos = "windows"\n' })],
    want: { refused: { code: 'no_buildpack', says: 'as a target' } },
  },
];

const PLAN: Case[] = [
  {
    rule: 'what a later buildpack requires is in the plan of the one that provides it, and of no other',
    packs: [
      pack('cp "$CNB_BP_PLAN_PATH" plan-a', { id: 'test/a', detect: planning(provides('node')) }),
      pack(lines('cp "$CNB_BP_PLAN_PATH" plan-b', webProcess('x')), {
        id: 'test/b',
        detect: planning(`${requires('node')}[requires.metadata]\\nversion = \\"24\\"\\n`),
      }),
    ],
    want: { files: { 'app/plan-a': /name = "node"\n(.*\n)*version = "24"/, 'app/plan-b': /^(?!.*node)/ } },
  },
  {
    rule: 'what is required must be provided by the same or an earlier buildpack',
    packs: [pack('exit 0', { detect: planning(requires('node')) })],
    want: { refused: { code: 'no_buildpack', says: 'requires node, which nothing before it provides' } },
  },
  {
    rule: 'what is provided must be required by the same or a later buildpack',
    packs: [pack('exit 0', { detect: planning(provides('node')) })],
    want: { refused: { code: 'no_buildpack', says: 'provides node, which nothing after it requires' } },
  },
  {
    rule: 'an optional buildpack that provides what nobody requires drops out',
    packs: [
      composite(group(optional('a'), named('b')), {
        a: saying('a', { detect: planning(provides('node')) }),
        b: saying('b'),
      }),
    ],
    want: { files: { 'app/order': 'b\n' } },
  },
  {
    rule: 'an alternative plan in [[or]] is tried when the first does not resolve',
    packs: [
      saying('a', { detect: planning(`${provides('node')}[[or]]\\n[[or.provides]]\\nname = \\"npm\\"\\n`) }),
      saying('b', { detect: planning(requires('npm')) }),
    ],
    want: { files: { 'app/order': 'a\nb\n' } },
  },
  {
    rule: 'what a buildpack says is unmet is in the plan of the next that provides it',
    packs: [
      pack('printf "[[unmet]]\\nname = \\"node\\"\\n" >"$CNB_LAYERS_DIR/build.toml"', {
        id: 'test/a',
        detect: planning(provides('node')),
      }),
      pack('cp "$CNB_BP_PLAN_PATH" plan-b', { id: 'test/b', detect: planning(provides('node')) }),
      pack(webProcess('x'), { id: 'test/c', detect: planning(requires('node')) }),
    ],
    want: { files: { 'app/plan-b': /name = "node"/ } },
  },
];

const LAYERS: Case[] = [
  {
    rule: 'build that fails has an error of its own, with the end of what it printed',
    packs: [pack('echo "no such version" >&2; exit 3')],
    want: {
      refused: {
        code: 'build_failed',
        says: /test\/pack@1\.0\.0: bin\/build failed \(exit status 3\): no such version/,
      },
    },
  },
  {
    rule: 'only launch layers are in the droplet, and an instance finds them where they were built',
    packs: [
      pack(
        lines(
          layer('tool', 'launch'),
          'mkdir "$CNB_LAYERS_DIR/tool/bin"; printf "#!/bin/sh\\ncat $CNB_LAYERS_DIR/tool/data" >"$CNB_LAYERS_DIR/tool/bin/tool"',
          'chmod +x "$CNB_LAYERS_DIR/tool/bin/tool"; echo from the layer >"$CNB_LAYERS_DIR/tool/data"',
          layer('compiler', 'build', 'cache'),
          'echo x >"$CNB_LAYERS_DIR/compiler/x"',
          webProcess('tool'),
        ),
      ),
    ],
    want: {
      files: { 'layers/test_pack/tool/data': 'from the layer\n' },
      missing: ['layers/test_pack/compiler', 'layers/test_pack/tool.toml'],
      starts: { prints: ['from the layer'] },
    },
  },
  {
    rule: 'build layers lead the paths of later buildpacks; those of the launch alone do not',
    packs: [
      pack(
        lines(
          layer('both', 'build', 'launch'),
          'mkdir -p "$CNB_LAYERS_DIR"/both/{bin,lib,include,pkgconfig}; touch "$CNB_LAYERS_DIR"/both/{bin,lib}/x',
          layer('launch', 'launch').replaceAll('launch"', 'later"').replaceAll('launch.toml', 'later.toml'),
          'mkdir "$CNB_LAYERS_DIR/later/bin"; touch "$CNB_LAYERS_DIR/later/bin/x"',
        ),
        { id: 'test/a' },
      ),
      pack(
        lines(
          'echo "$PATH" >path; echo "$LD_LIBRARY_PATH $LIBRARY_PATH $CPATH $PKG_CONFIG_PATH" >others',
          webProcess('bash', '-c', 'echo $PATH $LD_LIBRARY_PATH'),
        ),
        { id: 'test/b' },
      ),
    ],
    want: {
      files: {
        'app/path': /^\/layers\/test_a\/both\/bin:\/opt\/peer\/node\/bin:/,
        'app/others': ['lib', 'lib', 'include', 'pkgconfig']
          .map((dir) => `/layers/test_a/both/${dir}`)
          .join(' ')
          .concat('\n'),
      },
      starts: {
        prints: [
          /^\/layers\/test_a\/both\/bin:\/layers\/test_a\/later\/bin:\/usr\/local\/bin.* \/layers\/test_a\/both\/lib$/m,
        ],
      },
    },
  },
  {
    rule: 'env files override, append, prepend with a delimiter, and stand in for what is not set',
    packs: [
      pack(
        lines(
          layer('one', 'launch'),
          envFile('one/env/PLAIN', "it's $HOME"),
          envFile('one/env/LIST', 'b'),
          envFile('one/env/GIVEN.default', 'first'),
          envFile('one/env/OVER.override', 'one'),
          layer('two', 'launch'),
          envFile('two/env/LIST.prepend', 'a'),
          envFile('two/env/LIST.append', 'c'),
          envFile('two/env/LIST.delim', ', '),
          envFile('two/env/GIVEN.default', 'second'),
          envFile('two/env/OVER.override', 'two'),
          webProcess('bash', '-c', 'echo "$PLAIN|$LIST|$GIVEN|$OVER"'),
        ).replaceAll("it's", `it'\\''s`),
      ),
    ],
    want: { starts: { prints: ["it's $HOME|a, b, c|first|two\n"] } },
  },
  {
    rule: 'env.build is for later buildpacks, env.launch for the app, env.launch/<type> for its processes',
    packs: [
      pack(
        lines(
          layer('one', 'build', 'launch'),
          envFile('one/env.build/A', 'at the build'),
          envFile('one/env.launch/A', 'at the launch'),
          envFile('one/env.launch/worker/B', 'of a worker'),
        ),
        { id: 'test/a' },
      ),
      pack(
        lines(
          'echo "$A" >seen',
          webProcess('bash', '-c', 'echo "$A|$B"'),
          webProcess('bash', '-c', 'echo "$A|$B"').replace('"web"', '"worker"'),
        ),
        { id: 'test/b' },
      ),
    ],
    want: {
      files: { 'app/seen': 'at the build\n' },
      starts: { process: 'worker', prints: ['at the launch|of a worker\n'] },
    },
  },
  {
    rule: "the user's variables are files and variables; with clear-env they are only files",
    packs: [
      pack('echo "$MINE" >a; cat "$CNB_PLATFORM_DIR/env/MINE" >>a', { id: 'test/a' }),
      pack(lines('echo "$MINE" >b; cat "$CNB_PLATFORM_DIR/env/MINE" >>b', webProcess('x')), {
        id: 'test/b',
        toml: 'clear-env = true\n',
      }),
    ],
    env: { MINE: 'x y' },
    want: { files: { 'app/a': 'x y\nx y', 'app/b': '\nx y' } },
  },
  {
    rule: 'a cached layer is there again, with its metadata and without its types; other layers are not',
    packs: [
      pack(
        lines(
          'cat "$CNB_LAYERS_DIR"/*.toml 2>/dev/null >seen; ls "$CNB_LAYERS_DIR" >names; cat "$CNB_LAYERS_DIR/kept/n" >>count 2>/dev/null',
          layer('kept', 'cache'),
          'printf "[metadata]\\nversion = \\"7\\"\\n" >>"$CNB_LAYERS_DIR/kept.toml"; echo one >>"$CNB_LAYERS_DIR/kept/n"',
          layer('gone', 'build'),
          webProcess('x'),
        ).replace("printf '[types]\\ncache", 'rm -f "$CNB_LAYERS_DIR/kept.toml"; printf \'[types]\\ncache'),
      ),
    ],
    before: 2,
    want: {
      files: {
        'app/count': 'one\none\n',
        'app/names': 'kept\nkept.toml\n',
        'app/seen': /^(?!(.|\n)*cache)(.|\n)*version = "7"/,
      },
      missing: ['layers'],
    },
  },
  {
    rule: 'a layer only for the launch comes back as metadata; what is not made again is that of the build before',
    packs: [
      pack(
        lines(
          'if [ -f "$CNB_LAYERS_DIR/app.toml" ]; then [ ! -d "$CNB_LAYERS_DIR/app" ] || exit 1; else mkdir "$CNB_LAYERS_DIR/app"; echo made >"$CNB_LAYERS_DIR/app/file"; fi',
          'printf "[types]\\nlaunch = true\\n" >"$CNB_LAYERS_DIR/app.toml"',
          webProcess('cat', '/layers/test_pack/app/file'),
        ),
      ),
    ],
    before: 2,
    want: { starts: { prints: ['made'] } },
  },
  {
    rule: 'a launch layer that nothing ever made is refused',
    packs: [pack('printf "[types]\\nlaunch = true\\n" >"$CNB_LAYERS_DIR/app.toml"')],
    want: { refused: { code: 'buildpack_invalid', says: 'layer app is for the launch, but it was not made' } },
  },
  {
    rule: 'a layer of no type is out of the way of the next buildpack',
    packs: [
      pack('mkdir "$CNB_LAYERS_DIR/scratch"', { id: 'test/a' }),
      pack(lines('ls "$CNB_LAYERS_DIR/../test_a" >seen', webProcess('x')), { id: 'test/b' }),
    ],
    want: { files: { 'app/seen': 'scratch.ignore\n' }, missing: ['layers'] },
  },
  {
    rule: 'store.toml is there at the next build',
    packs: [
      pack(
        lines(
          'cat "$CNB_LAYERS_DIR/store.toml" >seen 2>/dev/null; printf "[metadata]\\nn = 1\\n" >"$CNB_LAYERS_DIR/store.toml"',
          webProcess('x'),
        ),
      ),
    ],
    before: 1,
    want: { files: { 'app/seen': /n = 1/ } },
  },
  {
    rule: 'before API 0.6 the types of a layer stand at the top of its file',
    packs: [
      pack(
        lines(
          'mkdir "$1/tool"; echo x >"$1/tool/x"; echo "launch = true" >"$1/tool.toml"',
          'printf "[[processes]]\\ntype = \\"web\\"\\ncommand = \\"x\\"\\n" >"$1/launch.toml"',
        ),
        { api: '0.5' },
      ),
    ],
    want: { files: { 'layers/test_pack/tool/x': 'x\n' } },
  },
  {
    rule: 'a layer file that is no TOML is refused',
    packs: [pack('mkdir "$CNB_LAYERS_DIR/x"; echo "[[[" >"$CNB_LAYERS_DIR/x.toml"')],
    want: { refused: { code: 'buildpack_invalid', says: 'x.toml is not valid TOML' } },
  },
];

/** A script in exec.d of a launch layer. */
const execD = (body: string, path = 'exec.d/one'): string =>
  lines(
    `[ -f "$CNB_LAYERS_DIR/env.toml" ] || { ${layer('env', 'launch')}; }`,
    `mkdir -p "$(dirname "$CNB_LAYERS_DIR/env/${path}")"; cat >"$CNB_LAYERS_DIR/env/${path}" <<'END'\n#!/bin/bash\n${body}\nEND`,
    `chmod +x "$CNB_LAYERS_DIR/env/${path}"`,
  );

const LAUNCH: Case[] = [
  {
    rule: 'a command is words, with the arguments after them, and no shell changes one',
    packs: [
      pack(
        `cat >"$CNB_LAYERS_DIR/launch.toml" <<'END'\n[[processes]]\ntype = "web"\ncommand = ["printf", "[%s]"]\nargs = ["a b", "$HOME", "it's"]\nEND`,
      ),
    ],
    want: { starts: { prints: ["[a b][$HOME][it's]"] } },
  },
  {
    rule: 'a process starts in its working-dir, else in the app',
    packs: [
      pack(
        lines(
          webProcess('pwd'),
          'echo \'working-dir = "/layers"\' >>"$CNB_LAYERS_DIR/launch.toml"',
          layer('x', 'launch'),
          'touch "$CNB_LAYERS_DIR/x/x"',
        ),
      ),
    ],
    want: { starts: { prints: ['/layers\n'] } },
  },
  {
    rule: 'the default process is the web process when none is called so',
    packs: [
      pack(
        lines(webProcess('main').replace('"web"', '"jar"'), 'echo "default = true" >>"$CNB_LAYERS_DIR/launch.toml"'),
      ),
    ],
    want: { processes: { web: 'main', jar: 'main' } },
  },
  {
    rule: 'a later buildpack replaces a process of the same type',
    packs: [pack(webProcess('first'), { id: 'test/a' }), pack(webProcess('second'), { id: 'test/b' })],
    want: { processes: { web: 'second' } },
  },
  {
    rule: "the app's Procfile beats the buildpacks' processes",
    app: { Procfile: 'web: mine' },
    packs: [pack(webProcess('theirs'))],
    want: { processes: { web: 'mine' } },
  },
  {
    rule: 'no process at all: no start command, by name',
    packs: [pack('exit 0')],
    want: { refused: { code: 'no_start_command', says: '--command' } },
  },
  {
    rule: 'before API 0.9 a command goes through a shell, and each argument is evaluated as one word',
    packs: [
      pack(
        `printf '[[processes]]\\ntype = "web"\\ncommand = "printf"\\nargs = ["[%%s]", "$FROM_USER x"]\\n' >"$1/launch.toml"`,
        { api: '0.8' },
      ),
    ],
    want: { starts: { prints: ['[user x]'] } },
  },
  {
    rule: 'a process that is no table of the API is refused',
    packs: [pack('printf "[[processes]]\\ntype = \\"web\\"\\ncommand = \\"text\\"\\n" >"$CNB_LAYERS_DIR/launch.toml"')],
    want: { refused: { code: 'buildpack_invalid', says: 'should be a list of words' } },
  },
  {
    rule: 'exec.d sets variables with what it writes to descriptor 3, whatever strings TOML has',
    packs: [
      pack(
        lines(
          execD(
            [
              'echo logged',
              "cat >&3 <<'TOML'",
              '# a comment',
              'BASIC = "a \\"quoted\\" \\u00e9 # no comment" # a comment',
              "LITERAL = 'C:\\path'",
              'MULTI = """',
              'two',
              'lines"""',
              '"QUOTED" = "$HOME"',
              'TOML',
            ].join('\n'),
          ),
          webProcess('bash', '-c', 'echo "$BASIC|$LITERAL|$MULTI|$QUOTED"'),
        ),
      ),
    ],
    want: { starts: { prints: ['logged', 'a "quoted" \u00e9 # no comment|C:\\path|two\nlines|$HOME\n'] } },
  },
  {
    rule: 'exec.d sees what layers set; one for a process runs for that alone',
    packs: [
      pack(
        lines(
          execD('echo "A = \\"$A again\\"" >&3'),
          envFile('env/env.launch/A', 'once'),
          execD('echo "A = \\"never\\"" >&3', 'exec.d/worker/two'),
          webProcess('bash', '-c', 'echo "$A"'),
        ),
      ),
    ],
    want: { starts: { prints: ['once again\n'] } },
  },
  {
    rule: 'exec.d that fails stops the start',
    packs: [pack(lines(execD('exit 4'), webProcess('echo', 'started')))],
    want: { starts: { exit: 1, prints: ['exec.d/one ended with exit status 4', /^(?!(.|\n)*started)/] } },
  },
  {
    rule: 'exec.d that writes no TOML stops the start',
    packs: [pack(lines(execD('echo "A = 1" >&3'), webProcess('echo', 'started')))],
    want: { starts: { exit: 1, prints: ['wrote no TOML with strings'] } },
  },
  {
    rule: 'the profile script of the app comes after the layers',
    app: { '.profile': 'A="$A and .profile"' },
    packs: [pack(lines(layer('x', 'launch'), envFile('x/env/A', 'layer'), webProcess('bash', '-c', 'echo "$A"')))],
    want: { starts: { prints: ['layer and .profile\n'] } },
  },
];

export const CLOUD_NATIVE: Case[] = [...DETECTION, ...PLAN, ...LAYERS, ...LAUNCH];
