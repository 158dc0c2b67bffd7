// The script that the droplet carries to set up its layers when the app starts: what the launcher of the specification
// does, for any runtime that sources profile scripts. Pure but for listing the layers.

import { join } from 'node:path';
import { type Change, filesIn, foldersIn, launchChanges } from './environment.ts';
import { quoted } from './processes.ts';

/** Of one buildpack, in the order of the group. */
export type LaunchPart = { api: number; layers: readonly string[] };

/** From this API on buildpacks have no profile scripts. */
const API_WITHOUT_PROFILES = 9;

export const launchScript = (parts: readonly LaunchPart[]): string => {
  const lines: string[] = [];
  for (const { layers } of parts) {
    for (const { change, process } of launchChanges(layers)) lines.push(only(process, changeLine(change)));
  }
  for (const { layers } of parts) {
    for (const layer of layers) lines.push(...inFolderAndProcesses(join(layer, 'exec.d'), 'cnb_exec'));
  }
  for (const { api, layers } of parts) {
    if (api >= API_WITHOUT_PROFILES) continue;
    for (const layer of layers) lines.push(...inFolderAndProcesses(join(layer, 'profile.d'), '.'));
  }
  return lines.length === 0 ? '' : `${FUNCTIONS}${lines.join('\n')}\n${FORGET}`;
};

const changeLine = ({ action, name, value, delimiter }: Change): string =>
  `cnb_${action} ${name} ${quoted(value)} ${quoted(delimiter) || "''"}`;

const inFolderAndProcesses = (folder: string, verb: string): string[] => [
  ...filesIn(folder).map((file) => `${verb} ${quoted(join(folder, file))}`),
  ...foldersIn(folder).flatMap((process) =>
    filesIn(join(folder, process)).map((file) => only(process, `${verb} ${quoted(join(folder, process, file))}`)),
  ),
];

/** The runtime says in DYNO which process this is: `web.1`. */
const only = (process: string | undefined, line: string): string =>
  process === undefined ? line : `if [ "\${DYNO%.*}" = ${quoted(process)} ]; then ${line}; fi`;

/**
 * Functions of the script. cnb_exec runs one executable and takes the variables that it writes to descriptor 3: a
 * table of strings in TOML, read here by its grammar for keys and strings, since nothing but bash is sure to be there.
 */
const FUNCTIONS = String.raw`# Sets up the layers of this droplet's Cloud Native Buildpacks.
cnb_prepend() { export "$1=$2\${!1:+$3\${!1}}"; }
cnb_append() { export "$1=\${!1:+\${!1}$3}$2"; }
cnb_override() { export "$1=$2"; }
cnb_default() { [ -n "\${!1}" ] || export "$1=$2"; }
cnb_exec() {
  local output status
  { output=$("$1" 3>&1 >&4 4>&-); status=$?; } 4>&1
  if [ $status -ne 0 ]; then
    echo "peer: $1 ended with exit status $status" >&2
    exit 1
  fi
  cnb_variables "$1" "$output"
}
cnb_variables() {
  local text=$2 key value
  local blank='^[[:space:]]+' comment='^#[^
]*' pair='^["'\'']?([A-Za-z0-9_-]+)["'\'']?[[:blank:]]*=[[:blank:]]*'
  local basic='^"(([^"\
]|\\.)*)"' literal="^'([^'
]*)'"
  while [ -n "$text" ]; do
    if [[ $text =~ $blank || $text =~ $comment ]]; then
      text=\${text:\${#BASH_REMATCH[0]}}
      continue
    fi
    [[ $text =~ $pair ]] || cnb_not_toml "$1" "$text"
    key=\${BASH_REMATCH[1]}
    text=\${text:\${#BASH_REMATCH[0]}}
    if [[ $text == '"""'* ]]; then
      text=\${text:3}
      text=\${text#$'\n'}
      value=
      while [[ $text == *'"""'* ]]; do
        value+=\${text%%'"""'*}
        text=\${text#*'"""'}
        [[ $value =~ (^|[^\\])(\\\\)*\\$ ]] || break
        value+='"""'
      done
      printf -v value '%b' "\${value//\\\"/\"}"
    elif [[ $text == "'''"* ]]; then
      text=\${text:3}
      text=\${text#$'\n'}
      value=\${text%%"'''"*}
      text=\${text#*"'''"}
    elif [[ $text =~ $basic ]]; then
      text=\${text:\${#BASH_REMATCH[0]}}
      value=\${BASH_REMATCH[1]}
      printf -v value '%b' "\${value//\\\"/\"}"
    elif [[ $text =~ $literal ]]; then
      text=\${text:\${#BASH_REMATCH[0]}}
      value=\${BASH_REMATCH[1]}
    else
      cnb_not_toml "$1" "$text"
    fi
    [[ $key =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]] || cnb_not_toml "$1" "$key"
    export "$key=$value"
  done
}
cnb_not_toml() {
  echo "peer: $1 wrote no TOML with strings to descriptor 3: \${2:0:80}" >&2
  exit 1
}
`.replaceAll('\\${', '${');

const FORGET = 'unset -f cnb_prepend cnb_append cnb_override cnb_default cnb_exec cnb_variables cnb_not_toml\n';
