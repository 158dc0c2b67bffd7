// Errors of the network as lines for people.

import { CliError } from './errors.ts';
import { isLoopback } from './loopback.ts';

/** By the codes of Node. */
const REASONS: Record<string, string> = {
  ECONNREFUSED: 'nothing listens there',
  ENOTFOUND: 'there is no host of that name',
  EAI_AGAIN: 'no name server says which host that is',
  EHOSTUNREACH: 'no way leads there',
  ENETUNREACH: 'no way leads there',
  ETIMEDOUT: 'it does not answer',
};

/** Of this machine people know how to start a node; of another they may have the address wrong. */
export function unreachable(origin: string, why: string, cause?: NodeJS.ErrnoException): CliError {
  const isDown = cause?.code === 'ECONNREFUSED' && isLoopback(new URL(origin).host);
  const hint = isDown
    ? 'is it running? Start it with: peer start'
    : `${why}: is it running, and is the address right (--api, PEER_API, peer login URL)?`;
  return new CliError('unreachable', `cannot reach the node at ${origin}: ${hint}`, { cause });
}

/** An error of the network as a line for people. */
export function explain(error: Error, origin: string): Error {
  if (error instanceof CliError || error.name === 'AbortError') return error;
  const { code = '' } = error as NodeJS.ErrnoException;
  if (['DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'].includes(code)) {
    return new CliError('untrusted', `the certificate of ${origin} is not known here: run peer login ${origin}`);
  }
  if (code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER') {
    return new CliError('unreachable', `${origin} does not speak TLS: is it http:// instead?`, { cause: error });
  }
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    const message = `the node at ${origin} ended the connection: see peer status, and its log`;
    return new CliError('connection_lost', message, { cause: error });
  }
  return unreachable(origin, REASONS[code] ?? error.message, error);
}
