// The command `peer`: parses, runs one command, and turns every failure into one line and an exit status.

import { nameOf } from './commands.ts';
import { CliError } from './errors.ts';
import { helpText } from './help.ts';
import { loadCommand } from './loaders.ts';
import { createOutput } from './output.ts';
import { parse } from './parse.ts';

async function main(argv: readonly string[]): Promise<void> {
  if (argv.length === 1 && (argv[0] === '--version' || argv[0] === '-v')) return main(['version']);
  const parsed = parse(argv);
  if (parsed.kind === 'help') {
    const help = helpText(parsed.command);
    return createOutput({ json: parsed.json }).result({ help }, () => help);
  }
  const { command, args, options } = parsed;
  const { run } = await loadCommand(nameOf(command));
  await run({
    args,
    options,
    output: createOutput({ json: options.json === true }),
    async client() {
      const [{ resolveConnection }, { createClient }] = await Promise.all([
        import('./connection.ts'),
        import('./client.ts'),
      ]);
      return createClient(await resolveConnection(options));
    },
  });
}

function fail(error: unknown, argv: readonly string[]): void {
  const known = error instanceof CliError;
  const code = known ? error.code : 'internal';
  const text = error instanceof Error ? error.message : String(error);
  const message = known ? text : `unexpected failure: ${text}`;
  const output = createOutput({ json: argv.includes('--json') });
  const mayHold = known && error.mayHold ? { mayHold: true } : {};
  const retry = known && error.retry !== undefined ? { retry: error.retry } : {};
  if (output.json) output.result({ error: { code, message, ...retry, ...mayHold } }, () => '');
  output.note(`${output.errorColours.red('peer:')} ${message.replace(/\s*\n\s*/g, ' ')}`);
  if (!known && process.env.PEER_DEBUG) console.error(error);
  process.exitCode = known ? error.exitStatus : 1;
}

// Whoever reads has seen enough: `peer logs APP | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1));

const argv = process.argv.slice(2);
try {
  await main(argv);
} catch (error) {
  fail(error, argv);
}
