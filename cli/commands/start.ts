// peer start: runs the daemon, in the foreground or detached, and makes it the API that this user's commands use.

import type { ChildProcess } from 'node:child_process';
import type { StartOptions } from '../../node/daemon/options.ts';
import { writeConfig } from '../config.ts';
import { apiUrl } from '../connection.ts';
import { type Context, flagOption, textOption, textsOption } from '../context.ts';
import {
  isLocalDaemon,
  lastLogLine,
  logBytes,
  logPath,
  type NodeFile,
  READY_TIMEOUT_MS,
  readNodeFile,
  readyNode,
  resolveDataDir,
  spawnDaemon,
} from '../daemon.ts';
import { CliError, UsageError } from '../errors.ts';
import { inviteFrom } from '../invite-source.ts';
import type { Options } from '../parse.ts';
import { createProgress } from '../progress.ts';
import { passphraseFrom } from '../unlock-source.ts';
import { parseChoice, parseHostPort, parseName, parsePairs, parseSize } from '../values.ts';

/** How a daemon ends that was given options which are wrong in themselves (node/main.ts). */
const STATUS_BAD_OPTIONS = 2;

export async function run({ options, output }: Context): Promise<void> {
  const start = startOptions(options);
  const { note } = output;
  if (textOption(options, 'join') === '-' && textOption(options, 'unlock') === 'prompt') {
    throw new UsageError('--join - and --unlock prompt both read stdin: give the invite with --join @FILE');
  }
  const invite = await inviteFrom(textOption(options, 'join'), { env: process.env, stdin: process.stdin, note });
  if (invite !== undefined) start.join = invite;
  const passphrase = await passphraseFrom(textOption(options, 'unlock'), process);
  if (passphrase !== undefined) start.unlock = passphrase;
  const earlier = await readNodeFile(start.dataDir);
  if (earlier !== undefined && (await isLocalDaemon(earlier.pid, start.dataDir))) {
    const message = `a node already runs on ${start.dataDir} (pid ${earlier.pid}): stop it with peer stop, or choose another --data-dir`;
    throw new CliError('already_running', message);
  }
  const ready = (file: NodeFile) => ({ ...publicPart(file), dataDir: start.dataDir });
  if (flagOption(options, 'detach')) {
    const progress = await createProgress(output);
    progress.step(start.join === undefined ? 'starting the node' : 'joining the cluster');
    const file = await startDetached(start).catch((error: unknown) => {
      progress.end('failed');
      throw error;
    });
    await remember(file);
    progress.end('done');
    output.result(ready(file), () => summary(file));
    return;
  }
  const daemon = await spawnDaemon(start, false);
  const exited = exitOf(daemon);
  const file = await Promise.race([readyNode(daemon, start.dataDir, Number.POSITIVE_INFINITY), exited]);
  if (typeof file === 'object' && 'id' in file) {
    await remember(file);
    if (output.json) output.result(ready(file), () => '');
    else output.note(summary(file));
  }
  const status = await exited;
  if (status.code === STATUS_BAD_OPTIONS) throw new UsageError('the daemon refuses its options: see above');
  if (status.code !== 0) throw new CliError('start', `the daemon ended with ${status.text}: see above`);
}

/** What is given on the command line, as the daemon takes it; but for secrets, which need not be there. */
export function startOptions(options: Options): StartOptions {
  const start: StartOptions = { dataDir: resolveDataDir(textOption(options, 'dataDir')) };
  const name = textOption(options, 'name');
  if (name !== undefined) start.name = parseName(name, '--name');
  for (const listener of ['listen', 'link', 'api', 'http'] as const) {
    const address = textOption(options, listener);
    if (address !== undefined) start[listener] = parseHostPort(address, `--${listener}`);
  }
  const advertise = textOption(options, 'advertise');
  if (advertise !== undefined) start.advertise = advertise;
  const runtime = textOption(options, 'runtime');
  if (runtime !== undefined) start.runtime = parseChoice(runtime, '--runtime', ['auto', 'docker', 'process']);
  const memory = textOption(options, 'memory');
  if (memory !== undefined) start.memoryBytes = parseSize(memory, '--memory');
  const blobs = textOption(options, 'blobs');
  if (blobs !== undefined) start.blobsBytes = parseSize(blobs, '--blobs');
  const domain = textOption(options, 'domain');
  if (domain !== undefined) start.domain = domain.toLowerCase();
  const labels = textsOption(options, 'label');
  if (labels !== undefined) start.labels = parsePairs(labels, '--label');
  const networks = textsOption(options, 'allowNetwork');
  if (networks !== undefined) start.allowNetworks = [...networks];
  if (flagOption(options, 'insecureProcessRuntime')) start.insecureProcessRuntime = true;
  return start;
}

async function startDetached(start: StartOptions): Promise<NodeFile> {
  const logStart = await logBytes(start.dataDir);
  const daemon = await spawnDaemon(start, true);
  const file = await readyNode(daemon, start.dataDir, READY_TIMEOUT_MS);
  if (typeof file === 'object') {
    daemon.unref();
    return file;
  }
  if (file === 'timeout') daemon.kill('SIGTERM');
  const said = await lastLogLine(start.dataDir, logStart);
  const last = said?.replace(/^peer: /, '') ?? `see ${logPath(start.dataDir)}`;
  if (daemon.exitCode === STATUS_BAD_OPTIONS) throw new UsageError(last.replace(/ \(bad_options\)$/, ''));
  const what =
    file === 'ended' ? 'the node did not start' : `the node was not ready after ${READY_TIMEOUT_MS / 1000} s`;
  throw new CliError('start', `${what}: ${last}`);
}

/** Its end is ours; a signal to us is meant for it. */
function exitOf(daemon: ChildProcess): Promise<{ code: number; text: string }> {
  let asked = false;
  const forward = (signal: NodeJS.Signals) => {
    asked = true;
    // Ctrl-C on a terminal reaches the daemon by itself.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) daemon.kill(signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, forward);
  return new Promise((resolve, reject) => {
    daemon.once('error', (error) => reject(new CliError('start', `cannot run the daemon: ${error.message}`)));
    daemon.once('exit', (code, signal) => {
      for (const one of signals) process.off(one, forward);
      if (signal !== null && asked) resolve({ code: 0, text: signal });
      else resolve({ code: code ?? 1, text: signal === null ? `status ${code}` : `the signal ${signal}` });
    });
  });
}

/** This user's commands go to the new node from now on. */
async function remember(file: NodeFile): Promise<void> {
  const api = apiUrl(file.api);
  const fingerprint = api.startsWith('https:')
    ? await import('../pinned.ts').then(({ shownFingerprint }) => shownFingerprint(api))
    : undefined;
  await writeConfig({ api, token: file.token, ...(fingerprint === undefined ? {} : { fingerprint }) });
}

function publicPart({ id, name, pid, api, http, link, listen }: NodeFile) {
  return { id, name, pid, api, http, link, listen };
}

const summary = ({ name, pid, api, http }: NodeFile): string =>
  `${name} is ready (pid ${pid}): API ${apiUrl(api)}, apps on http://${http.replace(/^https?:\/\//, '')}`;
