// Decides when an instance is ready, unhealthy or beyond hope, by probing it. Ends nothing; calls when its view
// changes.

import { request } from 'node:http';
import { connect } from 'node:net';
import type { HealthView } from '../../crdt/view.ts';

const PROBE_TIMEOUT_MS = 1_000;
/** Pause between probes of a ready instance. */
export const READY_PROBE_MS = 10_000;
/** Failures in a row before a ready instance counts as unhealthy. */
export const FAILURES_MAX = 3;

/**
 * Pause before the next probe of an instance that has never been ready, by its age: quick apps are found quickly, slow
 * ones cost little.
 */
export function startingProbeMs(ageMs: number): number {
  if (ageMs < 2_000) return 100;
  return ageMs < 10_000 ? 250 : 500;
}

export type HealthWatch = { stop(): void };

export type HealthListener = {
  onReady(): void;
  onUnhealthy(reason: string): void;
  /** It was never ready within its time-out. `problem`: what the last probe met. Nothing follows. */
  onTimeout(problem: string): void;
};

export type ProbeTarget = { health: HealthView; host: string; port: number };

export type HealthOptions = {
  health: HealthView;
  host: string;
  port: number;
  listener: HealthListener;
  /** For tests of the schedule; by default probes for real. */
  probe?: (target: ProbeTarget) => Promise<string | undefined>;
  readyProbeMs?: number;
  /** Pause between probes until it is ready; by default by its age. It is probed on then, whatever its kind. */
  startingProbeMs?: number;
};

export function watchHealth(options: HealthOptions): HealthWatch {
  const { health, host, port, listener } = options;
  const probe = options.probe ?? probeOnce;
  const readyProbeMs = options.readyProbeMs ?? READY_PROBE_MS;
  const startedMs = performance.now();
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let everReady = false;
  let healthy = false;
  let failures = 0;

  const starting = (problem: string | undefined): number | undefined => {
    if (problem === undefined) {
      everReady = true;
      healthy = true;
      listener.onReady();
      // A process that is its own proof of health is watched by its exit.
      return health.kind === 'process' && options.startingProbeMs === undefined ? undefined : readyProbeMs;
    }
    const ageMs = performance.now() - startedMs;
    if (ageMs < health.timeoutMs) {
      return Math.min(options.startingProbeMs ?? startingProbeMs(ageMs), health.timeoutMs - ageMs);
    }
    listener.onTimeout(problem);
    return undefined;
  };
  const running = (problem: string | undefined): number => {
    failures = problem === undefined ? 0 : failures + 1;
    if (problem === undefined && !healthy) {
      healthy = true;
      listener.onReady();
    } else if (problem !== undefined && healthy && failures >= FAILURES_MAX) {
      healthy = false;
      listener.onUnhealthy(problem);
    }
    // Looked at more closely while in doubt, so that trouble is known and over sooner.
    return failures > 0 ? Math.min(1_000, readyProbeMs) : readyProbeMs;
  };
  const step = async (): Promise<void> => {
    const problem = await probe({ health, host, port });
    if (stopped) return;
    const nextMs = everReady ? running(problem) : starting(problem);
    if (nextMs !== undefined && !stopped) timer = setTimeout(() => void step(), nextMs);
  };
  timer = setTimeout(() => void step(), 0);
  return {
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

/** Undefined when healthy, else what is wrong, in a few words. */
export function probeOnce(target: ProbeTarget): Promise<string | undefined> {
  const { kind, path } = target.health;
  if (kind === 'process') return Promise.resolve(undefined);
  return kind === 'http' ? probeHttp(target, path) : probePort(target);
}

function probePort({ host, port }: ProbeTarget): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: PROBE_TIMEOUT_MS });
    const done = (problem: string | undefined): void => {
      socket.destroy();
      resolve(problem);
    };
    socket.once('connect', () => done(undefined));
    socket.once('timeout', () => done(`no answer on port ${port} within ${PROBE_TIMEOUT_MS} ms`));
    socket.once('error', (error: NodeJS.ErrnoException) => done(connectProblem(port, error)));
  });
}

function probeHttp({ host, port }: ProbeTarget, path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    // Also bounds an answer that comes in drips: `timeout` alone only sees silence.
    const deadline = setTimeout(() => done(`no answer to GET ${path} within ${PROBE_TIMEOUT_MS} ms`), PROBE_TIMEOUT_MS);
    const call = request({
      host,
      port,
      path: path.startsWith('/') ? path : `/${path}`,
      agent: false,
      headers: { 'user-agent': 'peer-health', connection: 'close' },
    });
    const done = (problem: string | undefined): void => {
      clearTimeout(deadline);
      call.destroy();
      resolve(problem);
    };
    call.once('response', (response) => {
      const status = response.statusCode ?? 0;
      done(status >= 200 && status < 400 ? undefined : `GET ${path} answered ${status}`);
    });
    call.on('error', (error: NodeJS.ErrnoException) => done(connectProblem(port, error)));
    call.end();
  });
}

function connectProblem(port: number, error: NodeJS.ErrnoException): string {
  return error.code === 'ECONNREFUSED' ? `nothing listens on port ${port}` : `port ${port}: ${error.message}`;
}
