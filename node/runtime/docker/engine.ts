// Finds the container engine of this machine, Docker or Podman, and proves that it answers. Starts no engine and
// changes nothing in it.

import { request } from 'node:http';
import type Docker from 'dockerode';
import { RuntimeError } from '../errors.ts';

export type Engine = {
  docker: Docker;
  socketPath: string;
  kind: 'docker' | 'podman';
  version: string;
  /** Of its machine, as images name it: `amd64`, `arm64`. */
  architecture: string;
  /** Whether it knows that a container ended for want of memory. Podman does not with control groups of version 1. */
  tellsOutOfMemory: boolean;
};

const PING_TIMEOUT_MS = 5_000;

/** Sockets to try, in this order. */
export function socketCandidates(env: Readonly<Record<string, string | undefined>>): string[] {
  const { DOCKER_HOST: host, XDG_RUNTIME_DIR: runtimeDir } = env;
  // Whoever named one means that one.
  if (host !== undefined && host !== '') return host.startsWith('unix://') ? [host.slice('unix://'.length)] : [];
  return [
    '/var/run/docker.sock',
    '/run/podman/podman.sock',
    ...(runtimeDir === undefined || runtimeDir === '' ? [] : [`${runtimeDir}/podman/podman.sock`]),
  ];
}

/** The first engine that answers. Fails with RuntimeError `engine_missing`. */
export async function findEngine(env: Readonly<Record<string, string | undefined>> = process.env): Promise<Engine> {
  const candidates = socketCandidates(env);
  if (candidates.length === 0) {
    throw new RuntimeError(
      'engine_missing',
      `DOCKER_HOST is ${env.DOCKER_HOST}, but containers must run on this machine: set it to unix:///PATH, or unset it`,
    );
  }
  const problems: string[] = [];
  for (const socketPath of candidates) {
    const problem = await ping(socketPath);
    if (problem === undefined) return connectEngine(socketPath);
    problems.push(`${socketPath} (${problem})`);
  }
  throw new RuntimeError(
    'engine_missing',
    `no container engine answers at ${problems.join(' or ')}: start Docker or Podman's service, or start with --runtime process`,
  );
}

async function connectEngine(socketPath: string): Promise<Engine> {
  // Only here: the client takes 34 MB, which a node without an engine has no use for.
  const { default: Client } = await import('dockerode');
  const docker = new Client({ socketPath });
  const [version, info] = await Promise.all([docker.version(), docker.info()]);
  const components = (version as { Components?: { Name: string }[] }).Components ?? [];
  const kind = components.some(({ Name }) => /podman/i.test(Name)) ? 'podman' : 'docker';
  const tellsOutOfMemory = kind === 'docker' || info.CgroupVersion === '2';
  return { docker, socketPath, kind, version: version.Version, architecture: version.Arch, tellsOutOfMemory };
}

/** What is wrong, in a few words; undefined when it answers. */
function ping(socketPath: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const call = request({ socketPath, path: '/_ping', timeout: PING_TIMEOUT_MS }, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? undefined : `it answers ${response.statusCode}`);
    });
    call.once('timeout', () => call.destroy(new Error(`no answer within ${PING_TIMEOUT_MS / 1000} s`)));
    call.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'ENOENT' ? 'not there' : error.code === 'ECONNREFUSED' ? 'nobody listens' : error.message);
    });
    call.end();
  });
}
