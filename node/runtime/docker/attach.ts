// Attaches to a container through the engine's socket, before it starts. By hand: the client sends its options as a
// body too, which Podman hands to the container as the first thing it reads.

import { request } from 'node:http';
import type { Duplex } from 'node:stream';
import { RuntimeError } from '../errors.ts';

const ATTACH_TIMEOUT_MS = 10_000;

/**
 * Both directions of the container's streams, in frames unless it has a terminal. Fails with RuntimeError
 * `spawn_failed`.
 */
export function attachTo(socketPath: string, container: string): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const fail = (problem: string): void => {
      call.destroy();
      reject(new RuntimeError('spawn_failed', `the engine does not attach to the container: ${problem}`));
    };
    const call = request({
      socketPath,
      method: 'POST',
      path: `/containers/${container}/attach?stream=1&stdin=1&stdout=1&stderr=1`,
      headers: { connection: 'Upgrade', upgrade: 'tcp', 'content-length': 0 },
      timeout: ATTACH_TIMEOUT_MS,
    });
    call.once('upgrade', (_response, stream, head) => {
      stream.setTimeout(0);
      if (head.length > 0) stream.unshift(head);
      resolve(stream);
    });
    call.once('response', (response) => fail(`it answers ${response.statusCode}`));
    call.once('timeout', () => fail(`no answer within ${ATTACH_TIMEOUT_MS / 1000} s`));
    call.once('error', (error) => fail(error.message));
    call.end();
  });
}
