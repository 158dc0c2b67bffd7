// Opens a connection to a service from the daemon's own process, for people who reach it through the API. Apps never
// come this way.

import type { Socket } from 'node:net';
import type { TlsIdentity } from '../identity/identity.ts';
import type { ServiceTable } from '../ports/router.ts';
import { net, SOCKET_OPTIONS } from './builtin.ts';
import { LinkError } from './errors.ts';
import { SERVICE_CONNECT_TIMEOUT_MS } from './limits.ts';
import { linkCredentials, openTunnel, serviceTarget } from './link-dial.ts';

/** Fails with LinkError. */
export async function dialService(
  known: ServiceTable['places'][number] | undefined,
  tls: TlsIdentity,
): Promise<Socket> {
  if (known === undefined) {
    throw new LinkError('refused', 'The service does not run: see peer services.');
  }
  const { service, name, place } = known;
  if ('host' in place) return dialHere(name, place);
  const { node: expectedNode, link } = place;
  const to = serviceTarget(service);
  return openTunnel({ link, expectedNode, credentials: linkCredentials(tls), to });
}

function dialHere(name: string, place: { host: string; port: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ ...place, noDelay: true, timeout: SERVICE_CONNECT_TIMEOUT_MS, ...SOCKET_OPTIONS });
    const fail = (why: string, cause?: unknown) => {
      socket.destroy();
      reject(new LinkError('unreachable', `The service ${name} accepts no connection (${why}).`, { cause }));
    };
    const onError = (error: Error) => fail(error.message, error);
    socket.once('timeout', () => fail('no answer in time'));
    socket.once('error', onError);
    socket.once('connect', () => {
      socket.off('error', onError);
      socket.removeAllListeners('timeout');
      socket.setTimeout(0);
      resolve(socket);
    });
  });
}
