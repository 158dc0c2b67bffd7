// The daemon's process: reads its options, starts the node, and ends it on signals. The parts are wired in
// daemon/start-node.ts.

import { flushCompileCache } from 'node:module';
import { FROM_STDIN, OptionsError, parseStartOptions, STDIN_BYTES_MAX, withSecrets } from './daemon/options.ts';
import { recallOptions } from './daemon/remembered-options.ts';
import { startNode } from './daemon/start-node.ts';
import { createLog } from './lib/log.ts';
import { survivor } from './lib/unexpected.ts';

const log = createLog((line) => process.stderr.write(line));
// A full disk behind the log, or a terminal that has gone, must not end the node. What cannot be written is lost.
process.stderr.on('error', () => {});

/** One clear line, then status 1, or 2 for options that are wrong in themselves: nothing was left half done. */
function fail(error: unknown): never {
  const { message, code } = error as { message?: string; code?: string };
  process.stderr.write(`peer: ${message ?? String(error)}${code === undefined ? '' : ` (${code})`}\n`);
  process.exit(error instanceof OptionsError ? 2 : 1);
}

async function readStdin(bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > bytesMax) break;
  }
  return Buffer.concat(chunks).toString('utf8').trim();
}

let node: Awaited<ReturnType<typeof startNode>>;
try {
  let given = JSON.parse(process.argv[2] ?? '{}') as { dataDir?: unknown; join?: unknown; unlock?: unknown };
  const isSecret = given.join === FROM_STDIN || given.unlock === FROM_STDIN;
  if (isSecret) given = withSecrets(given, await readStdin(STDIN_BYTES_MAX));
  const remembered = typeof given.dataDir === 'string' ? await recallOptions(given.dataDir) : {};
  node = await startNode(parseStartOptions(given, remembered), log);
} catch (error) {
  fail(error);
}

const survive = survivor({ log, nowMs: () => performance.now(), giveUp: () => process.exit(1) });
process.on('uncaughtException', survive);
process.on('unhandledRejection', survive);

// A daemon is rarely ended in the way that would keep its compiled code for the next start.
flushCompileCache();

// Ctrl-C ends the node and its instances. TERM ends the daemon alone, as a service manager does for an upgrade: what
// runs is adopted by the next start.
process.once('SIGINT', () => void node.stop({ keepInstances: false }));
process.once('SIGTERM', () => void node.stop({ keepInstances: true }));
process.once('SIGHUP', () => void node.stop({ keepInstances: true }));

await node.stopped;
process.exit(0);
