// HOST:PORT of the router's listeners and of links, where it has to be one.

import { type HostPort, parseHostPort } from '../lib/host-port.ts';
import { RouterError } from './errors.ts';

/** Fails with RouterError `bad_address`. */
export function parseAddress(text: string): HostPort {
  const address = parseHostPort(text);
  if (address !== undefined) return address;
  throw new RouterError('bad_address', `'${text}' is no address: give HOST:PORT, for example 127.0.0.1:8080.`);
}
