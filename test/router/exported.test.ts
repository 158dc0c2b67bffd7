// Doors that are open to whoever comes: nothing passes without TLS, which the router ends, or the engine, once it was
// asked for in the words of its protocol. Real engines behind them are in test/e2e/services.test.ts; here a server
// says what they would.

import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asServiceId } from '../../crdt/ids.ts';
import { serverCertificate, serviceAuthority } from '../../node/identity/service-certificate.ts';
import type { ExportedDoor, OpenDoor } from '../../node/ports/router.ts';
import { waitFor } from '../../scripts/local-cluster.ts';
import { startTcp, startTestRouter, type TestRouter } from './cluster.ts';

const WITHIN_MS = 10_000;
const DB = asServiceId('22222222-2222-4222-8222-222222222222');
const CONNECTIONS_MAX = 4;
const CA = serviceAuthority('secret', DB);
const certificate = serverCertificate('secret', { service: DB, names: ['db.service.internal', '127.0.0.1'] });
const SSL_REQUEST = Buffer.from('0000000804d2162f', 'hex');
const GSS_REQUEST = Buffer.from('0000000804d21630', 'hex');

let router: TestRouter;
let doors: readonly OpenDoor[] = [];
let serverPort = 0;
let close: () => Promise<unknown> = async () => {};
/** What the service was sent in clear, by connection. */
let heard: string[] = [];

/** Opens the door before a service that greets as `greets` does; answers its port. */
async function open(exported: ExportedDoor, onClient: (socket: Socket) => void): Promise<number> {
  await close();
  heard = [];
  const server = await startTcp((socket) => {
    const at = heard.push('') - 1;
    socket
      .on('error', () => {})
      .on('data', (chunk) => {
        heard[at] += chunk.toString('latin1');
      });
    onClient(socket);
  });
  close = () => server.close();
  serverPort = server.port;
  router.handle.setServices({ places: [], doors: [] });
  await waitFor('the door to close', WITHIN_MS, () => doors.length === 0);
  const places = [{ service: DB, name: 'db', place: { host: '127.0.0.1', port: serverPort } }];
  const listen = { host: '127.0.0.1', port: 0 };
  router.handle.setServices({ places, doors: [{ service: DB, listen, exported }] });
  await waitFor('the door to open', WITHIN_MS, () => doors.length === 1);
  expect(doors[0]).toMatchObject({ service: DB, exported: true });
  return doors[0]!.port;
}

const terminating: ExportedDoor = { connectionsMax: CONNECTIONS_MAX, certificate };
const passing = (startsTls: 'postgres' | 'mysql'): ExportedDoor => ({ connectionsMax: CONNECTIONS_MAX, startsTls });

/** All that comes back of what is sent in clear. */
async function said(port: number, ...parts: Buffer[]): Promise<string> {
  const socket = net.connect(port, '127.0.0.1').on('error', () => {});
  for (const part of parts) socket.write(part);
  let text = '';
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
  });
  await once(socket, 'close');
  return text;
}

/** TLS over the socket; resolves with what the service echoes of `hello`. */
async function hello(socket: Socket): Promise<string> {
  const secure = tls.connect({ socket, ca: CA, host: '127.0.0.1' });
  await once(secure, 'secureConnect');
  secure.write('hello');
  const [chunk] = (await once(secure, 'data')) as [Buffer];
  secure.destroy();
  return chunk.toString();
}

const engineTls = (socket: Socket): void => {
  const { keyPem: key, certPem: cert } = certificate;
  const secure = new tls.TLSSocket(socket, { isServer: true, key, cert });
  secure.on('error', () => {}).pipe(secure);
};

beforeAll(async () => {
  router = await startTestRouter();
  router.handle.onDoors((now) => {
    doors = now;
  });
});
afterAll(async () => {
  await router.handle.close();
  await close();
});

describe('an exported door where the router ends TLS', () => {
  it('carries what comes over TLS, shows a certificate that its authority vouches for, and nothing else', async () => {
    const port = await open(terminating, (socket) => void socket.pipe(socket));
    expect(await hello(net.connect(port, '127.0.0.1'))).toBe('hello');
    expect(heard).toEqual(['hello']);
    expect(await said(port, Buffer.from('PING\r\n'))).toBe('');
    const other = tls.connect({ port, host: '127.0.0.1', ca: serviceAuthority('another', DB) });
    await expect(once(other, 'secureConnect')).rejects.toThrow(/certificate/);
    expect(heard).toEqual(['hello']);
  });

  it('has a bound of connections, and ends all that are open when it closes', async () => {
    const port = await open(terminating, (socket) => void socket.pipe(socket));
    const dial = async () => {
      const socket = tls.connect({ port, host: '127.0.0.1', ca: CA }).on('error', () => {});
      await once(socket, 'secureConnect');
      return socket;
    };
    const sockets = await Promise.all(Array.from({ length: CONNECTIONS_MAX }, dial));
    expect(await said(port)).toBe('');
    router.handle.setServices({ places: [], doors: [] });
    await Promise.all(sockets.map((socket) => socket.closed || once(socket.resume(), 'close')));
  });
});

describe('an exported door of PostgreSQL', () => {
  const engine = (answer: 'S' | 'N') => (socket: Socket) =>
    void socket.once('data', () => {
      socket.write(answer);
      if (answer === 'S') engineTls(socket);
    });

  it('passes everything once client and engine have agreed on TLS', async () => {
    const port = await open(passing('postgres'), engine('S'));
    const socket = net.connect(port, '127.0.0.1');
    socket.write(GSS_REQUEST);
    expect(String((await once(socket, 'data'))[0])).toBe('N');
    socket.write(SSL_REQUEST);
    expect(String((await once(socket, 'data'))[0])).toBe('S');
    expect(await hello(socket)).toBe('hello');
  });

  it.each([
    ['a login in clear', [Buffer.from('00000012000300007573657200706565720000', 'hex')]],
    ['a login right behind the request for TLS', [Buffer.concat([SSL_REQUEST, Buffer.from('login')])]],
    ['something else altogether', [Buffer.from('GET / HTTP/1.0\r\n\r\n')]],
  ])('refuses %s with an error of the protocol, and the engine hears nothing of it', async (_, parts) => {
    const port = await open(passing('postgres'), engine('S'));
    expect(await said(port, ...parts)).toMatch(/^E.*FATAL.*28000.*TLS/s);
    expect(heard.join('')).toBe('');
  });

  it('does not go on in clear when the engine has no TLS', async () => {
    const port = await open(passing('postgres'), engine('N'));
    expect(await said(port, SSL_REQUEST)).toMatch(/^E.*the service has no TLS/s);
  });
});

describe('an exported door of MySQL', () => {
  /** A greeting with these capabilities, and a client's first packet. */
  const packet = (sequence: number, body: Buffer) => Buffer.concat([Buffer.from([body.length, 0, 0, sequence]), body]);
  const greeting = (capabilities: number) => {
    const low = Buffer.alloc(2);
    low.writeUInt16LE(capabilities);
    return packet(0, Buffer.concat([Buffer.from('\x0a10.11\0'), Buffer.alloc(13, 1), low, Buffer.alloc(30)]));
  };
  const first = (capabilities: number, bytes: number) => {
    const body = Buffer.alloc(bytes);
    body.writeUInt32LE(capabilities);
    return packet(1, body);
  };
  const engine = (capabilities: number) => (socket: Socket) => {
    socket.write(greeting(capabilities));
    socket.once('data', () => engineTls(socket));
  };
  const SSL = 0x0800;

  it('passes everything once the engine offers TLS and the client takes it', async () => {
    const port = await open(passing('mysql'), engine(0xffff));
    const socket = net.connect(port, '127.0.0.1');
    expect((await once(socket, 'data'))[0]).toEqual(greeting(0xffff));
    socket.write(first(SSL, 32));
    await waitFor('the engine to hear of it', WITHIN_MS, () => heard.join('').length >= 36);
    expect(await hello(socket)).toBe('hello');
  });

  it.each([
    ['a login in clear', first(0x0200, 60)],
    ['a login that says it is over TLS', first(SSL, 60)],
  ])('refuses %s with an error of the protocol, and the engine hears nothing of it', async (_, login) => {
    const port = await open(passing('mysql'), engine(0xffff));
    expect(await said(port, login)).toContain('#08004this address takes connections with TLS alone');
    expect(heard.join('')).toBe('');
  });

  it('does not go on in clear when the engine has no TLS', async () => {
    const port = await open(passing('mysql'), engine(0xffff & ~SSL));
    expect(await said(port)).toContain('the service has no TLS');
  });
});
