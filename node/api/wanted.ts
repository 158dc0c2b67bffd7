// Whether a request that changes something is still wanted when its turn comes. It may have waited in the buffers of a
// node that stood still, long after whoever sent it had given up: then it is not carried out.

import type { EventEmitter } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { MiddlewareHandler } from 'hono';
import type { Log } from '../lib/log.ts';
import { readWhatCameIn, type Standstill } from '../lib/standstill.ts';
import type { ApiEnv } from './auth.ts';
import { ApiError } from './errors.ts';

/** For how long the client waits for an answer, or for a sign of life on a stream, in ms. */
export const WANTED_FOR_HEADER = 'peer-wanted-for-ms';
/** Of a client that does not say. */
const WANTED_FOR_DEFAULT_MS = 60_000;
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** When each connection was taken, by the standstill's clock. */
const takenAtMs = new WeakMap<object, number>();

/**
 * Notes when the server's connections are taken. One that waited for that has its end right behind its request, if its
 * client has given up; only on an older one can a client be gone without a trace, when the machine itself slept.
 */
export function noteConnections(server: EventEmitter, event: string, standstill: Pick<Standstill, 'nowMs'>): void {
  server.on(event, (socket: object) => takenAtMs.set(socket, standstill.nowMs()));
}

export type WantedOptions = {
  log: Log;
  standstill?: Pick<Standstill, 'recentMs'>;
  /** The body is a stream that the route itself reads. */
  streams(path: string): boolean;
};

/**
 * Refuses what is not wanted any more. Routes whose work takes long ask once more, with `stillWanted`, before what
 * they do takes effect.
 */
export function onlyWanted({ log, standstill, streams }: WantedOptions): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const { incoming } = (c.env ?? {}) as { incoming?: IncomingMessage };
    const wantedForMs = wantedFor(c.req.header(WANTED_FOR_HEADER));
    const stillWanted = async (): Promise<void> => {
      await readWhatCameIn();
      const since = incoming === undefined ? undefined : takenAtMs.get(incoming.socket);
      const problem = problemOf(incoming, wantedForMs, standstill?.recentMs(since) ?? 0);
      if (problem === undefined) return;
      const { method, path } = c.req;
      log.warn('api.request_not_wanted', { method, path, by: c.get('user')?.name, reason: problem.message });
      throw problem;
    };
    c.set('stillWanted', stillWanted);
    if (!SAFE_METHODS.has(c.req.method)) {
      // It is kept for the route: from here on nothing is waited for before the route acts.
      if (!streams(c.req.path)) await c.req.arrayBuffer();
      await stillWanted();
    }
    await next();
  };
}

function problemOf(
  incoming: IncomingMessage | undefined,
  wantedForMs: number,
  stoodStillMs: number,
): ApiError | undefined {
  if (incoming !== undefined && isGone(incoming)) {
    return new ApiError('caller_gone', 'whoever asked for it has gone: nothing was changed');
  }
  if (stoodStillMs <= wantedForMs) return undefined;
  const stoodStill = `this node stood still for ${Math.round(stoodStillMs / 1000)} s`;
  return new ApiError('too_late', `${stoodStill}, and the request may be older than its sender waits: ask again`);
}

/** A client that has given up has ended its connection; the end may have been read before the connection is closed. */
const isGone = ({ destroyed, socket, complete }: IncomingMessage): boolean =>
  (destroyed && !complete) || socket.destroyed || socket.readableEnded;

function wantedFor(header: string | undefined): number {
  const wantedForMs = header === undefined ? Number.NaN : Number(header);
  return Number.isFinite(wantedForMs) && wantedForMs > 0 ? wantedForMs : WANTED_FOR_DEFAULT_MS;
}
