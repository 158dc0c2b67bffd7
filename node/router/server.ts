// One router: the public listener and the link over one route table. Runs in any thread; knows nothing of processes
// and IPC.

import type { Server } from 'node:net';
import type { RouteTable } from '../core/types.ts';
import { formatHostPort } from '../lib/host-port.ts';
import type { OpenDoor, ServiceTable } from '../ports/router.ts';
import { parseAddress } from './address.ts';
import { BoundedLog, type LogLine } from './bounded-log.ts';
import { net } from './builtin.ts';
import { Doors } from './doors.ts';
import { type DownLink, DownLinks } from './down-links.ts';
import { RouterError } from './errors.ts';
import type { AskDaemon } from './join-desk.ts';
import { CLOSE_GRACE_MS } from './limits.ts';
import { linkCredentials } from './link-dial.ts';
import { LinkServer } from './link-server.ts';
import type { RouterConfig } from './messages.ts';
import { createPublicServer } from './public-server.ts';
import { Routing } from './routing.ts';

export type RouterServer = {
  readonly http: string;
  readonly link: string;
  setTable(table: RouteTable): void;
  setServices(table: ServiceTable): void;
  /** Accepts nothing more; resolves when what was in flight has finished, or was cut after CLOSE_GRACE_MS. */
  close(): Promise<void>;
};

/** Fails with RouterError; then nothing listens. */
export async function startRouterServer(
  config: RouterConfig,
  daemon: {
    ask: AskDaemon;
    log: (line: LogLine) => void;
    down: (links: DownLink[]) => void;
    doors: (open: OpenDoor[]) => void;
  },
): Promise<RouterServer> {
  const routing = new Routing(config.nodeId, linkCredentials(config.tls), new BoundedLog(daemon.log));
  const downLinks = new DownLinks(routing.upstreams, daemon.down);
  const publicServer = createPublicServer(routing);
  const link = new LinkServer(routing, config.tls, daemon.ask, config.blobsDir);
  const doors = new Doors(routing.services, routing.log, daemon.doors);
  const sharing = { shared: config.threads > 1, taken: config.portsTaken ?? false };
  const linkAddress = await listen(link.server, config.link, { flag: '--link', ...sharing });
  let httpAddress: string;
  try {
    httpAddress = await listen(publicServer, config.http, { flag: '--http', ...sharing });
  } catch (error) {
    link.server.close();
    throw error;
  }
  return {
    http: httpAddress,
    link: linkAddress,
    setTable(table) {
      routing.setTable(table);
      link.expel();
    },
    setServices({ places, doors: wanted }) {
      routing.setServices(places);
      doors.set(wanted);
    },
    async close() {
      downLinks.stop();
      // They may last for days, and nothing tells when one may end.
      doors.close();
      routing.services.end();
      const closed = [new Promise((resolve) => publicServer.close(resolve)), link.close()];
      publicServer.closeIdleConnections();
      const cut = setTimeout(() => {
        publicServer.closeAllConnections();
        link.closeConnections();
        routing.upstreams.destroy();
      }, CLOSE_GRACE_MS);
      await Promise.all(closed);
      clearTimeout(cut);
      link.closeConnections();
      routing.upstreams.destroy();
    },
  };
}

type ListenOptions = {
  /** Named in errors. */
  flag: string;
  /** Other threads listen on the same port… */
  shared: boolean;
  /** …and one of them does already. */
  taken: boolean;
};

async function listen(server: Server, text: string, { flag, shared, taken }: ListenOptions): Promise<string> {
  const address = parseAddress(text);
  if (shared && !taken && address.port !== 0) await checkFree(text, flag);
  await listening(server, text, flag, shared);
  // A failure to accept one connection (no file descriptors left) is that client's alone.
  server.on('error', () => {});
  const bound = server.address();
  return formatHostPort({ ...address, port: bound !== null && typeof bound === 'object' ? bound.port : address.port });
}

/** A shared port could be shared with a stranger unnoticed, so it is taken alone first. */
async function checkFree(text: string, flag: string): Promise<void> {
  const probe = net.createServer();
  await listening(probe, text, flag, false);
  await new Promise((resolve) => probe.close(resolve));
}

function listening(server: Server, text: string, flag: string, reusePort: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, text, flag)));
    server.listen({ ...parseAddress(text), reusePort }, resolve);
  });
}

function listenError(error: NodeJS.ErrnoException, text: string, flag: string): RouterError {
  const { port } = parseAddress(text);
  switch (error.code) {
    case 'EADDRINUSE':
      return new RouterError(
        'port_in_use',
        `Port ${port} is in use by another program: stop it, or choose another port with ${flag} HOST:PORT.`,
        { cause: error },
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new RouterError(
        'address_unavailable',
        `This machine has no address ${text}: choose another with ${flag} HOST:PORT.`,
        { cause: error },
      );
    case 'EACCES':
      return new RouterError(
        'listen_failed',
        `Port ${port} may not be used by this user: choose one above 1023 with ${flag} HOST:PORT.`,
        { cause: error },
      );
    default:
      return new RouterError(
        'listen_failed',
        `Cannot listen on ${text} (${error.message}): choose another address with ${flag} HOST:PORT.`,
        { cause: error },
      );
  }
}
