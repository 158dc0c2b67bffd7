// Traces: files in which commands to one core stand at the beginning of a line, each followed by its decisions,
// indented. This plays the commands and writes the whole file as it should be. `#` begins a comment. COMMANDS lists
// them.

import { asNodeId, type InstanceId } from '../../crdt/ids.ts';
import type { MemberStatus } from '../../node/core/types.ts';
import { TracePlayer } from './trace-player.ts';
import { incarnationOf } from './trace-text.ts';
import { numberOf, oneOf, word } from './trace-words.ts';

/** The file's text with the decisions of the core as it is. Throws, with the line's number, on what is no command. */
export function playTrace(text: string): string {
  const player = new TracePlayer();
  const lines: string[] = [];
  for (const [at, line] of text.split('\n').entries()) {
    if (line.startsWith(' ')) continue;
    lines.push(line);
    if (line === '' || line.startsWith('#')) continue;
    try {
      lines.push(...decisionsOn(player, line).map((decision) => `  ${decision}`));
    } catch (error) {
      throw new Error(`line ${at + 1}, ${line}: ${(error as Error).message}`, { cause: error });
    }
  }
  return lines.join('\n');
}

type Arguments = { words: string[]; options: Map<string, string> };
type Command = (player: TracePlayer, args: Arguments) => string[];

const COMMANDS: Record<string, Command> = {
  // cluster self=a nodes=a,b,c [memory=MIB] [CONFIG=NUMBER…]: what there is before the node starts.
  cluster: (player, { options }) => player.cluster(options),
  // app NAME [instances=1] [release=1] [memory=MIB] [partition=fence] [strategy=recreate] [surge=1]: as it is wanted.
  app: (player, { words, options }) => player.wants(word(words, 0), options),
  // drain NODE…
  drain: (player, { words }) => player.drains(words.map(asNodeId)),
  // start [APP/INDEX[@RELEASE]…]: the node starts and finds those running.
  start: (player, { words }) => player.start(words),
  // until MS [NODE…]: time goes on, the core is called whenever it asked for that; those nodes are heard every second.
  until: (player, { words }) => player.until(numberOf(word(words, 0)), words.slice(1).map(asNodeId)),
  // late MS: the node's loop stands still for so long.
  late: (player, { words }) => player.late(numberOf(word(words, 0))),
  // connected NODE…, disconnected NODE…, probe-succeeded NODE…, probe-failed NODE refused|timeout|error
  connected: (player, { words }) => words.flatMap((one) => player.post({ type: 'connected', node: asNodeId(one) })),
  disconnected: (player, { words }) =>
    words.flatMap((one) => player.post({ type: 'disconnected', node: asNodeId(one) })),
  'probe-succeeded': (player, { words }) =>
    words.flatMap((one) => player.post({ type: 'probeSucceeded', node: asNodeId(one) })),
  'probe-failed': (player, { words }) =>
    player.post({
      type: 'probeFailed',
      node: asNodeId(word(words, 0)),
      reason: oneOf(word(words, 1), ['refused', 'timeout', 'error']),
    }),
  // report NODE [APP/INDEX[@RELEASE]=STATE[,FIELD:VALUE…]…|nothing] [FIELD=VALUE…]: else as the one before.
  report: (player, { words, options }) => player.reports(asNodeId(word(words, 0)), words.slice(1), options),
  // membership NODE says NODE [INCARNATION] is suspect|alive|dead|left [refused]
  membership: (player, { words }) => player.claims(words),
  // belief STATUS INCARNATION SEQUENCE: what another node believes of this one.
  belief: (player, { words }) =>
    player.post({
      type: 'beliefHeard',
      belief: {
        status: oneOf<MemberStatus>(word(words, 0), ['alive', 'suspect', 'dead', 'left']),
        incarnation: incarnationOf(word(words, 1)),
        sequence: numberOf(word(words, 2)),
      },
    }),
  // launched ID PORT, ready ID…, unhealthy ID REASON, exited ID REASON
  launched: (player, { words }) =>
    player.post({ type: 'instanceLaunched', id: idOf(words), port: numberOf(word(words, 1)) }),
  ready: (player, { words }) => words.flatMap((id) => player.post({ type: 'instanceReady', id: id as InstanceId })),
  unhealthy: (player, { words }) =>
    player.post({ type: 'instanceUnhealthy', id: idOf(words), reason: words.slice(1).join(' ') }),
  exited: (player, { words }) =>
    player.post({ type: 'instanceExited', id: idOf(words), reason: words.slice(1).join(' ') }),
  // leave [keep]: `peer stop`, or the end of `peer leave`.
  leave: (player, { words }) => player.post({ type: 'leave', keepInstances: words[0] === 'keep' }),
  // placed: asks who fills which slot, as every node works it out.
  placed: (player) => player.placed(),
};

const idOf = (words: readonly string[]): InstanceId => word(words, 0) as InstanceId;

function decisionsOn(player: TracePlayer, line: string): string[] {
  const [name = '', ...rest] = line.trim().split(/\s+/);
  const command = COMMANDS[name];
  if (command === undefined) throw new Error(`should be a command: ${Object.keys(COMMANDS).join(', ')}`);
  const options = new Map<string, string>();
  const words: string[] = [];
  for (const one of rest) {
    const [, key, value] = one.match(/^([a-zA-Z]+)=(.+)$/) ?? [];
    if (key === undefined) words.push(one);
    else options.set(key, value!);
  }
  const decisions = command(player, { words, options });
  return decisions.length === 0 && player.isStarted ? ['nothing'] : decisions;
}
