// peer service connect: the client that people use with the kind, or a tunnel on this machine, with credentials that
// end with the command.

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import { basename } from 'node:path';
import type { Client } from '../client.ts';
import { type Context, flagOption } from '../context.ts';
import { CliError, UsageError } from '../errors.ts';
import type { Output } from '../output.ts';
import { parseNameOrId, parseWhole } from '../values.ts';
import { CLIENTS, type ClientCall, findProgram, uriOf, withFile } from './clients.ts';
import { statusOf } from './manage.ts';
import { listenForTunnel, openServiceSession, type ServiceSession, type Tunnel } from './tunnel.ts';

const { signals } = constants;
const PORT_MAX = 65_535;
/** A client that does not end when it is asked to. */
const KILL_DELAY_MS = 5_000;

export async function connect([given, ...rest]: readonly (string | undefined)[], context: Context): Promise<void> {
  const { options, client, output } = context;
  const name = parseNameOrId(given!, 'service');
  const words = rest as string[];
  const wantsTunnel = flagOption(options, 'tunnel');
  if (wantsTunnel && words.length > 1) {
    throw new UsageError(
      `${JSON.stringify(words[1])} is one argument too many: peer service connect NAME --tunnel [PORT]`,
    );
  }
  if (output.json && !wantsTunnel)
    throw new UsageError('--json goes with --tunnel: a client has the terminal to itself');
  const [port = '0'] = wantsTunnel ? words : [];
  const listen = parseWhole(port, '--tunnel', { min: 0, max: PORT_MAX });
  const connected = await client();
  const { kind } = await statusOf(connected, name);
  const program = wantsTunnel ? undefined : await programFor(kind, words, output);
  const path = `/v1/services/${encodeURIComponent(name)}`;
  const tunnel = await listenForTunnel(listen, { client: connected, path, note: output.note });
  try {
    await attended(connected, path, async (session) => {
      tunnel.serve(session);
      if (program === undefined) await untilEnded({ name, kind, session, tunnel, output });
      else await runClient(program, { call: CLIENTS[kind]!.call(session.access, tunnel.endpoint), words, session });
    });
  } finally {
    tunnel.close();
  }
}

/** Undefined: there is none, and a tunnel is what can be had. */
async function programFor(kind: string, words: readonly string[], output: Output): Promise<string | undefined> {
  const known = Object.hasOwn(CLIENTS, kind) ? CLIENTS[kind] : undefined;
  const program = known === undefined ? undefined : await findProgram(known.programs);
  if (program !== undefined) return program;
  const why =
    known === undefined
      ? `${kind} has no client for the command line`
      : `this machine has no ${known.programs.join(' and no ')} (Debian: ${known.package})`;
  if (words.length > 0) throw new CliError('no_client', `${why}: --tunnel [PORT] opens a way for another program`);
  output.note(`${why}: here is a tunnel instead`);
  return undefined;
}

async function attended(client: Client, path: string, work: (session: ServiceSession) => Promise<void>): Promise<void> {
  const session = await openServiceSession(client, path);
  try {
    await work(session);
  } finally {
    await session.close();
  }
}

type Opened = { name: string; kind: string; session: ServiceSession; tunnel: Tunnel; output: Output };

/** Until a signal, or the node, ends it. */
async function untilEnded({ name, kind, session, tunnel, output }: Opened): Promise<void> {
  const { access, node } = session;
  const { endpoint } = tunnel;
  const uri = uriOf(kind, access, endpoint) ?? null;
  const document = { service: name, kind, node, ...endpoint, ...access, uri };
  output.result(document, () =>
    [
      `${name} (${kind}, on ${node}) is at ${endpoint.host}:${endpoint.port} until this command ends (Ctrl-C)`,
      ...(uri === null ? [] : [`url       ${uri}`]),
      `user      ${access.user}`,
      `password  ${access.password}`,
      `database  ${access.database}`,
    ].join('\n'),
  );
  const stopping = signalled(['SIGINT', 'SIGTERM', 'SIGHUP']);
  try {
    const why = await Promise.race([stopping.signal, session.ended]);
    if (why !== undefined) throw new CliError('session_ended', `the tunnel to ${name} has ended: ${why}`);
    output.note('the tunnel and its credentials have ended');
  } finally {
    stopping.forget();
  }
}

/** With this terminal. Its exit status is this command's. */
async function runClient(
  program: string,
  { call, words, session }: { call: ClientCall; words: readonly string[]; session: ServiceSession },
): Promise<void> {
  // Ctrl-C is for the client, which the terminal sends it to as well.
  const ignore = (): void => {};
  process.on('SIGINT', ignore);
  const stopping = signalled(['SIGTERM', 'SIGHUP']);
  try {
    const env = { ...process.env, ...call.env };
    const [code, lost] = await withFile(call, async (args) => {
      const child = spawn(program, [...args, ...words], { stdio: 'inherit', env });
      return Promise.race([
        exitOf(child, basename(program)).then((status) => [status, undefined] as const),
        stopping.signal.then(() => ended(child, undefined)),
        session.ended.then(
          (why) => ended(child, new CliError('session_ended', `the session has ended: ${why}`)),
          (error: Error) => ended(child, error),
        ),
      ]);
    });
    if (lost !== undefined) throw lost;
    process.exitCode = code;
  } finally {
    stopping.forget();
    process.removeListener('SIGINT', ignore);
  }
}

async function ended(child: ChildProcess, why: Error | undefined): Promise<readonly [number, Error | undefined]> {
  const exited = child.exitCode !== null || child.signalCode !== null ? undefined : once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), KILL_DELAY_MS);
  await exited;
  clearTimeout(timer);
  return [1, why];
}

async function exitOf(child: ChildProcess, name: string): Promise<number> {
  try {
    const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
    // As shells have it.
    return code ?? 128 + (signal === null ? 0 : signals[signal]);
  } catch (error) {
    throw new CliError('no_client', `${name} could not be started: ${(error as Error).message}`, { cause: error });
  }
}

/** Resolves with nothing at the first of them. */
function signalled(signals: readonly NodeJS.Signals[]): { signal: Promise<undefined>; forget: () => void } {
  let onSignal = (): void => {};
  const signal = new Promise<undefined>((resolve) => {
    onSignal = () => resolve(undefined);
  });
  for (const one of signals) process.once(one, onSignal);
  return {
    signal,
    forget: () => {
      for (const one of signals) process.removeListener(one, onSignal);
    },
  };
}
