// Finds the line of a failed build's output that says why, among what its tools print around it. Pure.

const COLOURS = /\u001b\[[0-9;]*m/g;

/** Lines that end a failed build and say nothing of why: where logs are, what to run for more, how a tool is used. */
const FOOTERS: readonly RegExp[] = [
  // npm, Yarn and pnpm, of themselves and of the scripts that they run.
  /^npm (?:error|ERR!)\s*(?:$|code\b|errno\b|path\b|command\b|syscall\b|signal\b|workspace\b|location\b|Lifecycle script|A complete log|Exit status|Failed at the|This is probably not a problem|If you need help|Note that you can also|Usage:|Run "npm help|Options:|aliases:|npm ci$|\[-|\d+ verbose)/i,
  /^(?:npm )?(?:ERR_PNPM_RECURSIVE|\s*ELIFECYCLE)/,
  /ELIFECYCLE\b.*(?:Command failed|exit code)/,
  /^(?:error|info) (?:Command failed with exit code|Visit https?:)/i,
  /^➤ YN0000: (?:Failed with errors|└|┌|Done)/,
  // Maven, Gradle, Composer, pip, Bundler, make.
  /^\[ERROR\]\s*(?:$|To see the full|Re-run Maven|For more information|\[Help|After correcting|-> \[Help)/,
  /^(?:\* (?:Try|Get more help|Where)|> Run with|BUILD FAILED|FAILURE: Build failed|Get more help at)/,
  /^(?:install|update|require) \[--/,
  /^(?:note: This error originates|\[notice\]|note: This is an issue with the package|hint: See above)/,
  /^(?:In Gemfile:|Run `bundle install|make(?:\[\d+\])?: \*\*\*)/,
  // Frames of stacks, and what programs print as they end.
  /^(?:at\b.*(?::\d+:\d+\)?$|\(node:|<anonymous>)|Node\.js v\d|\^+$|[{}[\]],?$|at ignore-listed frames)/,
  /^(?:exit status|exited with|Error: Command failed|error: script "[^"]*" exited with)\b/i,
];

/** What says why, the plainest first; of each the first line. */
const CAUSES: readonly RegExp[] = [
  // Compilers and bundlers: a place, and what is wrong there.
  /^\S+\(\d+,\d+\): error TS\d+:/,
  /^\S+\.\w+:\d+:\d+ - error TS\d+:/,
  /^\[ERROR\] \/?\S+:\[\d+,\d+\]/,
  /^\S+\.(?:go|java|rs|c|cc|cpp|h|kt|scala|swift):\d+(?::\d+)?:\s+\S/,
  /^error(?:\[E\d+\]):/,
  /^(?:Type error|Module not found|ModuleNotFoundError|Cannot find module|Could not resolve|Failed to resolve|Failed to fetch)\b/i,
  // Package managers.
  /^npm (?:error|ERR!) (?:notarget No matching|404 Not Found|`?npm ci`? can only|Missing:|Invalid:|ERESOLVE|Could not resolve)/i,
  /^npm (?:error|ERR!) \S/i,
  /^ERR_PNPM_\w+/,
  /^➤ YN\d+: .*(?:error|can't|cannot|not found|would have been)/i,
  /^error (?:An unexpected error|Couldn't find|Your lockfile|\S+@\S+:|.*incompatible)/i,
  /^ERROR: (?:Could not find a version|No matching distribution|Failed building|Could not build|THESE PACKAGES)/,
  /^(?:Could not find (?:gem|compatible versions)|Your bundle|Your Ruby version|An error occurred while installing)/,
  /^(?:Your requirements could not be resolved|- Root composer\.json requires|Problem \d+$|.*lock file is not up to date)/,
  /^\[ERROR\] (?:Failed to execute goal|Non-resolvable|Could not resolve|The build could not read)/,
  // What a language says of an error.
  /^(?:Uncaught )?(?:[A-Z]\w*)?(?:Error|Exception)(?: \[\w+\])?: \S/,
  /^(?:fatal|error|panic|err):\s+\S/i,
  /\berror\b(?!s?[-_ ]free)/i,
  /\b(?:failed|cannot|not found|missing|denied|refused)\b/i,
];

const NETWORK =
  /\b(?:ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|Could not resolve host|Temporary failure in name resolution|Name or service not known|Network is unreachable|No route to host|Connection (?:refused|timed out|reset)|Failed to establish a new connection|dial tcp|lookup \S+: no such host|fetch failed|Failed to fetch `)/i;

export type Cause = {
  line: string;
  /** The network was not there, or not what was asked for on it. */
  isNetwork: boolean;
};

/** `lines`: the end of the output, as it was printed. Undefined: nothing was. */
export function causeOf(lines: readonly string[]): Cause | undefined {
  const shown = lines.map((line) => line.replace(COLOURS, '').trim()).filter((line) => line !== '');
  const complaint = shown.findLast((line) => line.startsWith('! '))?.replace(/^!\s+/, '');
  const telling = shown.filter((line) => !line.startsWith('! ') && !FOOTERS.some((footer) => footer.test(line)));
  const network = telling.find((line) => NETWORK.test(line));
  const found = CAUSES.map((cause) => telling.find((line) => cause.test(line))).find((line) => line !== undefined);
  // What a buildpack itself says of it is meant to be read.
  const line = complaint ?? network ?? found ?? telling.at(-1) ?? shown.at(-1);
  return line === undefined ? undefined : { line, isNetwork: NETWORK.test(line) };
}
