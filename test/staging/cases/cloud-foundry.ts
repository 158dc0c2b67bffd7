// Cloud Foundry's part of the classic API, rule by rule: buildpacks that supply dependencies, and one that finalizes.

import type { Case, Pack } from './case.ts';
import { releasing, web } from './classic.ts';

const supplying = (supply: string, scripts: Record<string, string> = {}): Pack => ({ scripts: { supply, ...scripts } });
const finalizing = (finalize: string, scripts: Record<string, string> = {}): Pack =>
  web('x', { finalize, compile: 'echo compile >>"$1/order"', ...scripts });

export const CLOUD_FOUNDRY: Case[] = [
  {
    rule: 'all but the last supply, the last supplies and finalizes; none compiles',
    packs: [
      supplying('echo "supply $#: $4" >>"$1/order"', { compile: 'echo compile >>"$1/order"' }),
      finalizing('echo "finalize $#: $4" >>"$1/order"', { supply: 'echo "supply $#: $4" >>"$1/order"' }),
    ],
    want: { files: { 'app/order': 'supply 4: 0\nsupply 4: 1\nfinalize 5: 1\n' } },
  },
  {
    rule: 'each has a folder DEPS/IDX; what is in it is in the droplet at the same path',
    packs: [
      supplying('mkdir "$3/$4/bin"; printf "#!/bin/sh\\necho tool" >"$3/$4/bin/tool"; chmod +x "$3/$4/bin/tool"'),
      finalizing('ls "$3" >"$1/deps"; echo "export PATH=$3/0/bin:\\$PATH" >"$5/deps.sh"', {
        release: 'echo "default_process_types: { web: tool }"',
      }),
    ],
    want: {
      files: { 'app/deps': '0\n1\n', 'deps/0/bin/tool': /tool/ },
      starts: { prints: ['tool'] },
    },
  },
  {
    rule: "the user's variables are in the environment, but for those that would break the build",
    packs: [finalizing('echo "$FROM_USER" >"$1/seen"; echo "$PATH" >"$1/path"')],
    env: { FROM_USER: 'a b', PATH: '/nowhere' },
    want: { files: { 'app/seen': 'a b\n', 'app/path': /^\/opt\/peer\/node\/bin:/ } },
  },
  {
    rule: 'what supply leaves in the cache is there at the next staging',
    packs: [supplying('cat "$2/n" 2>/dev/null >"$1/seen"; echo one >"$2/n"'), finalizing('exit 0')],
    before: 1,
    want: { files: { 'app/seen': 'one\n' } },
  },
  {
    rule: 'supply that fails has an error of its own',
    packs: [supplying('echo "no such version" >&2; exit 4'), finalizing('exit 0')],
    want: { refused: { code: 'supply_failed', says: /supply failed \(exit status 4\).*no such version/ } },
  },
  {
    rule: 'finalize that fails has an error of its own',
    packs: [finalizing('exit 5')],
    want: { refused: { code: 'finalize_failed', says: 'finalize failed (exit status 5)' } },
  },
  {
    rule: 'only the buildpack that finalizes is asked for its release',
    packs: [supplying('exit 0', { release: 'exit 1' }), finalizing('exit 0')],
    want: { processes: { web: 'x' } },
  },
  {
    rule: 'release after finalize that fails has its own error',
    packs: [finalizing('exit 0', { release: 'exit 2' })],
    want: { refused: { code: 'release_failed', says: 'exit status 2' } },
  },
  {
    rule: 'a last buildpack that only compiles is warned of: it cannot use what was supplied',
    packs: [supplying('touch "$3/$4/x"'), web('x', { compile: 'echo compiled >"$1/order"' })],
    want: { files: { 'app/order': 'compiled\n' }, prints: ['has no bin/finalize'] },
  },
  {
    rule: 'a buildpack that only supplies cannot be the last',
    packs: [finalizing('exit 0'), supplying('exit 0')],
    want: { refused: { code: 'buildpack_unknown', says: 'cannot be the last one' } },
  },
  {
    rule: "what a profile script of finalize is called, it never stands in for the platform's own",
    packs: [
      releasing('{ default_process_types: { web: "echo $A" }, config_vars: { A: ours } }', {
        finalize: 'ln -s /etc/hostname "$5/00-config-vars.sh"',
      }),
    ],
    want: { starts: { prints: ['ours'] } },
  },
];
