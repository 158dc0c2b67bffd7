// NATS, by its protocol: lines of text over a socket.

import { once } from 'node:events';
import { connect as dial, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import type { Access, Endpoint } from '../../node/ports/services.ts';
import { nats } from '../../node/services/nats.ts';
import { type Client, describeKind } from './kinds.contract.ts';

/** What was written last; the engine keeps nothing, but passes it on to whoever listens. */
type Heard = Map<string, string>;

async function open({ user, password }: Access, { host, port }: Endpoint, options: object = {}) {
  const socket: Socket = dial(port, host);
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const lines = createInterface({ input: socket });
  const waiting: ((line: string) => void)[] = [];
  let problem: string | undefined;
  const heard: Heard = new Map();
  let subject: string | undefined;
  lines.on('line', (line) => {
    if (subject !== undefined) {
      heard.set(subject, line);
      subject = undefined;
    } else if (/^H?MSG /.test(line)) subject = line.split(' ')[1];
    else if (line.startsWith('-ERR')) problem ??= line;
    else if (line === 'PONG') waiting.shift()?.(line);
  });
  for (const one of [socket, lines]) {
    one.on('error', (error: Error) => {
      problem ??= error.message;
    });
  }
  /** Everything sent before has been taken. */
  const flush = async (): Promise<void> => {
    const ponged = new Promise<void>((resolve) => waiting.push(() => resolve()));
    socket.write('PING\r\n');
    await Promise.race([
      ponged,
      closed.then(() => {
        throw new Error(problem ?? 'the connection was closed');
      }),
    ]);
  };
  const hello = { verbose: false, pedantic: false, user, pass: password, lang: 'test', version: '1', ...options };
  await Promise.race([once(socket, 'connect'), closed]);
  socket.write(`CONNECT ${JSON.stringify(hello)}\r\n`);
  await flush();
  return { socket, closed, heard, flush };
}

async function connect(access: Access, endpoint: Endpoint): Promise<Client> {
  const { socket, closed, heard, flush } = await open(access, endpoint);
  socket.write('SUB > 1\r\n');
  await flush();
  return {
    async write(key, value) {
      socket.write(`PUB ${key} ${Buffer.byteLength(value)}\r\n${value}\r\n`);
      await flush();
    },
    async read(key) {
      await flush();
      return heard.get(key);
    },
    async clear() {
      heard.clear();
    },
    closed,
    async close() {
      socket.end();
      await closed;
    },
  };
}

/** Asks the server for something of its own, and fails with what it says when nobody is there to answer. */
async function askServer(access: Access, endpoint: Endpoint, subject: string): Promise<void> {
  const { socket, heard, flush, closed } = await open(access, endpoint, { headers: true, no_responders: true });
  socket.write(`SUB reply 1\r\nPUB ${subject} reply 0\r\n\r\n`);
  await flush();
  socket.end();
  await closed;
  throw new Error(heard.get('reply') ?? 'no word');
}

describeKind({
  kind: nats,
  connect,
  spareConnections: 0,
  stopped: /Server Exiting/,
  firstRun: 'kind.json',
  refused: Object.fromEntries(
    ['$SYS.REQ.SERVER.PING', '$SYS.REQ.SERVER.PING.CONNZ', '$SYS.REQ.ACCOUNT.PING.CONNZ'].map((subject) => [
      `to ask the system's account by ${subject}`,
      { says: /503/, attempt: (access, endpoint) => askServer(access, endpoint, subject) },
    ]),
  ),
});
