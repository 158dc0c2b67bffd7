// Starts a container engine for the tests where none answers: Debian's dockerd, in the background, with a log. Never
// stops one. Plain JavaScript without dependencies, like the set-up that calls it.

import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

const SOCKET = '/var/run/docker.sock';
const LOG = '/var/log/peer-dockerd.log';
const LOG_LINES_SHOWN = 5;
const START_TIMEOUT_MS = 60_000;
const PING_TIMEOUT_MS = 5_000;
const POLL_MS = 200;
/** Written by a dockerd and its containerd; when those were killed, the ids in them may belong to anything by now. */
const PID_FILES = [
  { path: '/var/run/docker.pid', program: 'dockerd' },
  { path: '/var/run/docker/containerd/containerd.pid', program: 'containerd' },
];

/** `say` takes a line of progress; `fail` ends the set-up with one. */
export async function startEngine(say, fail) {
  if (await answers()) return;
  if (process.getuid() !== 0) {
    fail(`no container engine answers at ${SOCKET}, and only root can start one: start Docker and run this again`);
  }
  say(`starting dockerd in the background; its log is ${LOG}`);
  for (const { path, program } of PID_FILES) if (!runs(path, program)) rmSync(path, { force: true });
  // Docker closes the machine to forwarded traffic when it is the one that turns forwarding on: hosts of other tests,
  // in namespaces behind bridges of their own, would fall silent.
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
  mkdirSync('/var/log', { recursive: true });
  const log = openSync(LOG, 'a');
  const child = spawn('dockerd', [], { cwd: '/', detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  let problem;
  child.once('error', (error) => {
    problem = error.message;
  });
  child.once('exit', (code, signal) => {
    problem ??= `it ended with ${signal ?? `status ${code}`}`;
  });
  child.unref();
  const deadlineMs = Date.now() + START_TIMEOUT_MS;
  while (!(await answers())) {
    if (Date.now() > deadlineMs) problem ??= `it does not answer within ${START_TIMEOUT_MS / 1000} s`;
    if (problem !== undefined) fail(`dockerd cannot be started: ${problem}. The end of ${LOG}:\n${logEnd()}`);
    await delay(POLL_MS);
  }
}

function answers() {
  return new Promise((resolve) => {
    const call = request({ socketPath: SOCKET, path: '/_ping', timeout: PING_TIMEOUT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    call.once('timeout', () => call.destroy());
    call.once('error', () => resolve(false));
    call.end();
  });
}

function runs(pidFile, program) {
  try {
    return readFileSync(`/proc/${Number(readFileSync(pidFile, 'utf8'))}/comm`, 'utf8').trim() === program;
  } catch {
    return false;
  }
}

function logEnd() {
  if (!existsSync(LOG)) return '';
  return readFileSync(LOG, 'utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN).join('\n');
}
