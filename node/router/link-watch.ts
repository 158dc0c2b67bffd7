// Notices a link whose node is frozen or cut off while requests wait on it: TCP alone would take a quarter of an hour.
// Pings over a connection of its own. Does nothing while no request waits; distrusts itself when its own timers were
// late.

import type { Socket } from 'node:net';
import type { Pool as UndiciPool } from 'undici';
import { Pool } from './builtin.ts';
import {
  LINK_DOUBT_TIMEOUT_MS,
  LINK_PING_INTERVAL_MS,
  LINK_PING_LATENESS_MAX_MS,
  LINK_PING_TIMEOUT_MS,
} from './limits.ts';
import { isSilence } from './link-dial.ts';

type Dial = (callback: (error: Error | null, socket: Socket | null) => void) => void;

export const LINK_PING_PATH = '/ping';

export class LinkWatch {
  readonly #dial: Dial;
  readonly #onSilent: () => void;
  #waiting = 0;
  #timer: NodeJS.Timeout | undefined;
  #pinger: UndiciPool | undefined;
  /** While an answer is awaited: sets how much longer. */
  #expireIn: ((inMs: number) => void) | undefined;

  constructor(dial: Dial, onSilent: () => void) {
    this.#dial = dial;
    this.#onSilent = onSilent;
  }

  begin(): void {
    this.#waiting++;
    if (!this.#timer) this.#schedule();
  }

  end(): void {
    this.#waiting--;
  }

  /** The node is reached elsewhere now: what still waits here is not to wait long for an address that may be gone. */
  doubt(): void {
    if (this.#waiting === 0) return;
    if (this.#timer === undefined) {
      // Asked already; the answer is due sooner now.
      this.#expireIn?.(LINK_DOUBT_TIMEOUT_MS);
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#ping(LINK_DOUBT_TIMEOUT_MS);
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#waiting > 0) this.#ping(LINK_PING_TIMEOUT_MS);
      else this.#rest();
    }, LINK_PING_INTERVAL_MS).unref();
  }

  #ping(timeoutMs: number): void {
    this.#pinger ??= new Pool('http://link', {
      connections: 1,
      connect: (_options, callback) =>
        this.#dial((error, socket) =>
          socket ? callback(null, socket) : callback(error ?? new Error('no connection'), null),
        ),
    });
    const pinger = this.#pinger;
    let answered = false;
    let timer: NodeJS.Timeout | undefined;
    const expireIn = (inMs: number) => {
      const dueMs = performance.now() + inMs;
      clearTimeout(timer);
      timer = setTimeout(() => {
        if (answered) return;
        answered = true;
        this.#expireIn = undefined;
        pinger.destroy().catch(() => {});
        if (this.#pinger === pinger) this.#pinger = undefined;
        if (performance.now() - dueMs < LINK_PING_LATENESS_MAX_MS && this.#waiting > 0) this.#onSilent();
        this.#schedule();
      }, inMs);
    };
    this.#expireIn = expireIn;
    expireIn(timeoutMs);
    const settle = () => {
      if (answered) return;
      answered = true;
      this.#expireIn = undefined;
      clearTimeout(timer);
      this.#schedule();
    };
    // Refused or closed is an answer too: the connections of the requests notice that by themselves.
    pinger.dispatch(
      { path: LINK_PING_PATH, method: 'GET' },
      {
        onRequestStart() {},
        onResponseStart() {},
        onResponseData() {},
        onResponseEnd: settle,
        onResponseError: (_controller, error) => {
          // The timer above judges silence.
          if (!isSilence(error)) settle();
        },
      },
    );
  }

  #rest(): void {
    this.#pinger?.close().catch(() => {});
    this.#pinger = undefined;
  }
}
