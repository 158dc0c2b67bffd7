// Words why an instance ended, for people: one line. Pure.

import { constants } from 'node:os';
import { formatBytes } from '../lib/format-bytes.ts';
import { RuntimeError } from './errors.ts';
import type { Listener } from './process-tree.ts';

const SIGNAL_NAMES = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name.slice(3)]));

/** `60 s`, `0.5 s`. */
export function formatSeconds(ms: number): string {
  return `${Math.round(ms / 100) / 10} s`;
}

/** The signal behind a shell's exit status of 128 + n, without `SIG`; undefined for a plain status. */
export function signalOfStatus(status: number): string | undefined {
  return status > 128 ? SIGNAL_NAMES.get(status - 128) : undefined;
}

export type Ending = {
  /** Set when the runtime ended it on purpose. */
  stopReason: string | undefined;
  /** Undefined: it vanished without leaving one. */
  status: number | undefined;
  /** `untold`: nobody knows, and it may be. */
  outOfMemory: boolean | 'untold';
  memoryBytes: number;
  diskBytes: number;
};

export function endingReason(ending: Ending): string {
  if (ending.stopReason !== undefined) return ending.stopReason;
  const limit = `limit ${formatBytes(ending.memoryBytes)}`;
  if (ending.outOfMemory === true && ending.status !== 0) return `out of memory (${limit})`;
  if (ending.status === undefined) return 'its supervising process was killed from outside';
  const signal = signalOfStatus(ending.status);
  if (signal === 'XFSZ') return `disk limit of ${formatBytes(ending.diskBytes)} exceeded by a single file`;
  if (signal === 'KILL' && ending.outOfMemory === 'untold')
    return `killed by signal KILL, perhaps out of memory (${limit})`;
  return signal === undefined ? `exited with status ${ending.status}` : `killed by signal ${signal}`;
}

/** Why an instance never came to run. */
export function startProblem(error: unknown): string {
  if (error instanceof RuntimeError) return error.message;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') return "this node's disk is full: free some disk space";
  if (code === 'EMFILE' || code === 'ENFILE')
    return 'this node has no file descriptors left: raise its limit of open files';
  return `could not be started: ${message}`;
}

/** Of a service, which is probed by a command of its kind. */
export function neverAnsweredReason(found: { timeoutMs: number; lastProblem: string; lastLines: readonly string[] }) {
  const lines = found.lastLines.length > 0 ? `; last lines: ${found.lastLines.join(' | ')}` : '';
  return `did not answer within ${formatSeconds(found.timeoutMs)} (${found.lastProblem})${lines}`;
}

export type NeverHealthy = {
  kind: 'port' | 'http' | 'process';
  path: string;
  port: number;
  timeoutMs: number;
  /** What the last probe answered. */
  lastProblem: string;
  /** Where its processes listen. */
  listening: readonly Listener[];
  /** Then nobody reaches what listens on loopback. */
  ownNetwork: boolean;
  lastLines: readonly string[];
};

export function neverHealthyReason(found: NeverHealthy): string {
  const within = `within ${formatSeconds(found.timeoutMs)}`;
  const at = found.listening.filter(({ port }) => port === found.port);
  const hidden = found.ownNetwork && at.length > 0 && at.every(({ onLoopback }) => onLoopback);
  if (hidden)
    return `listened on PORT ${found.port} of its loopback only ${within}: listen on 0.0.0.0, which HOST says too`;
  const isRefused = found.lastProblem.startsWith('nothing listens');
  if (isRefused && at.length > 0 && at.every(({ isIpv6 }) => isIpv6))
    return `listened on PORT ${found.port} for IPv6 only ${within}: listen on 0.0.0.0`;
  const others = found.listening.filter(({ port }) => port !== found.port);
  const asked = at.length > 0 ? `PORT ${found.port}` : !isRefused ? `port ${others[0]?.port ?? found.port}` : undefined;
  const what =
    found.kind === 'http' && asked !== undefined
      ? `GET ${found.path} on ${asked} did not succeed ${within} (${found.lastProblem})`
      : `did not listen on PORT ${found.port} ${within}${at.length > 0 ? '' : instead(others, found.ownNetwork)}`;
  const lines = found.lastLines.length > 0 ? `; last lines: ${found.lastLines.join(' | ')}` : '';
  return `${what}${lines}`;
}

/** Where it listens, when not where it was told. */
function instead(others: NeverHealthy['listening'], ownNetwork: boolean): string {
  const ports = [...new Set(others.map(({ port }) => port))].join(', ');
  if (ports === '') return '';
  const isHidden = ownNetwork && others.every(({ onLoopback }) => onLoopback);
  if (isHidden) return ` (it listens on ${ports} of its loopback only: listen on 0.0.0.0, which HOST says too)`;
  return ` (it listens on ${ports} instead: set PORT to the one for requests)`;
}
