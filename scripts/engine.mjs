// Starts a container engine for the tests where none answers: Debian's dockerd, in the background, with a log; and
// lets Podman have its stack image. Never stops one. Plain JavaScript without dependencies, like the set-up that calls
// it.

import { spawn, spawnSync } from 'node:child_process';
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

/** Brings the stack image of Docker to Podman, where it is not. */
export function shareStack(say, fail) {
  const list = ['image', 'ls', '--filter', 'label=peer.stack', '--filter', 'dangling=false', '--no-trunc'];
  const [stack] = printed('docker', [...list, '--format', '{{.ID}} {{.Repository}}:{{.Tag}}'])?.split('\n') ?? [];
  const [id, name] = stack?.split(' ') ?? [];
  // Where docker's own client talks to Podman, names have this already.
  const tag = name?.replace(/^localhost\//, '');
  if (tag === undefined) fail('docker has no stack image to share with podman: run npm run stack');
  // Podman leaves the kind of hash out.
  if (`sha256:${printed('podman', ['image', 'inspect', '--format', '{{.Id}}', `localhost/${tag}`])}` === id) return;
  say(`copying ${tag} to podman (once)…`);
  const copied = spawnSync('/bin/sh', ['-c', 'docker save "$1" | podman load', 'sh', tag], { stdio: ['ignore', 2, 2] });
  if (copied.status !== 0) fail(`podman does not take ${tag}: see above`);
}

/** What a command says; undefined when it fails. */
function printed(command, args) {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  return status === 0 ? stdout.trim() : undefined;
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
