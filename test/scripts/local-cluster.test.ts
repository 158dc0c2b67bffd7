// How tests and benchmarks ask a node: an answer that does not come in time is none.

import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { get } from '../../scripts/local-cluster.ts';

const HEAD = 'HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n';
const DRIP_EVERY_MS = 20;

describe('get', () => {
  let server: Server;
  const sockets = new Set<Socket>();

  beforeEach(() => {
    server = createServer((socket) => {
      sockets.add(socket);
      socket.on('error', () => {});
    });
  });

  afterEach(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  async function ask(): Promise<unknown> {
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    // As through a door into a namespace: a connection that is made elsewhere.
    const made = (host: string, at: number): Socket => connect(at, host);
    return get({ address: '127.0.0.1', port, host: 'a.localhost', path: '/', timeoutMs: 200, connect: made });
  }

  it('fails in time when a node that stands still takes the connection and says nothing', async () => {
    await expect(ask()).rejects.toThrow('no answer within 200 ms');
  });

  it('fails in time when the answer comes too slowly to end', async () => {
    server.on('connection', (socket: Socket) => {
      socket.write(HEAD);
      const timer = setInterval(() => socket.write('x'), DRIP_EVERY_MS);
      socket.on('close', () => clearInterval(timer));
    });
    await expect(ask()).rejects.toThrow('no answer within 200 ms');
  });
});
