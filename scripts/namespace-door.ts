// A way into a network namespace: a process inside it that passes connections on, from a unix socket, which knows no
// network namespaces, to TCP ports in there. The first line of a connection names the port: `HOST PORT`. Ends with its
// parent.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';

const FIRST_LINE_BYTES_MAX = 300;

export class NamespaceDoor {
  readonly #path: string;
  readonly #close: () => Promise<void>;

  private constructor(path: string, close: () => Promise<void>) {
    this.#path = path;
    this.#close = close;
  }

  /** @param path of the socket, which must not exist yet. */
  static async open(namespace: string, path: string): Promise<NamespaceDoor> {
    const command = [`--net=/run/netns/${namespace}`, '--', process.execPath, fileURLToPath(import.meta.url), path];
    const child = spawn('nsenter', command, { stdio: ['pipe', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    const ended = exited.then(() => {
      throw new Error(`the door to the namespace ${namespace} ended`);
    });
    await Promise.race([once(child.stdout, 'data'), ended]);
    ended.catch(() => {});
    return new NamespaceDoor(path, async () => {
      child.stdin.end();
      await exited;
    });
  }

  connect(host: string, port: number): Socket {
    const socket = connect(this.#path);
    socket.write(`${host} ${port}\n`);
    return socket;
  }

  close(): Promise<void> {
    return this.#close();
  }
}

function serve(path: string): void {
  const server = createServer({ allowHalfOpen: true }, (client) => {
    client.on('error', () => client.destroy());
    let head = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\n');
      if (end === -1 && head.length <= FIRST_LINE_BYTES_MAX) return;
      client.off('data', onData);
      client.pause();
      passOn(client, head.subarray(0, end).toString(), head.subarray(end + 1));
    };
    client.on('data', onData);
  });
  server.listen(path, () => process.stdout.write('open\n'));
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}

function passOn(client: Socket, target: string, first: Buffer): void {
  const [host = '', port] = target.split(' ');
  const server = connect({ host, port: Number(port), allowHalfOpen: true });
  server.on('error', () => client.destroy());
  server.on('close', () => client.destroy());
  client.on('close', () => server.destroy());
  server.write(first);
  client.pipe(server);
  server.pipe(client);
}

if (import.meta.main) serve(process.argv[2]!);
