// Hands out loopback ports that nothing listens on, each to one instance at a time. Never opens them for anyone.

import { createServer } from 'node:net';
import { RuntimeError } from '../errors.ts';

/** Below Linux's range for outgoing connections (32768 and up), so that those never take an instance's port. */
const PORT_FIRST = 20_000;
const PORT_LAST = 29_999;
/** Tries before giving up; other daemons on the machine may hold many. */
const TRIES_MAX = 500;

export class PortPool {
  readonly #held = new Set<number>();
  #next: number;

  /** `random` in [0, 1) sets where it starts, so that several daemons on one machine rarely try the same. */
  constructor(random: number) {
    this.#next = PORT_FIRST + Math.floor(random * (PORT_LAST - PORT_FIRST + 1));
  }

  /** `wanted`: this one, where it can be had: Linux gives those below 1024 to root alone. */
  async take(wanted?: number): Promise<number> {
    if (wanted !== undefined && wanted >= 1024 && !this.#held.has(wanted)) {
      this.#held.add(wanted);
      if (await isFree(wanted)) return wanted;
      this.#held.delete(wanted);
    }
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const port = this.#next;
      this.#next = port === PORT_LAST ? PORT_FIRST : port + 1;
      if (this.#held.has(port)) continue;
      // Held before it is tried: another start may ask meanwhile.
      this.#held.add(port);
      if (await isFree(port)) return port;
      this.#held.delete(port);
    }
    throw new RuntimeError(
      'no_free_port',
      `found no free port on 127.0.0.1 in ${TRIES_MAX} tries between ${PORT_FIRST} and ${PORT_LAST}`,
    );
  }

  /** Marks a port that an adopted instance listens on. */
  hold(port: number): void {
    this.#held.add(port);
  }

  release(port: number): void {
    this.#held.delete(port);
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
