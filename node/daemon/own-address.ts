// The host that other nodes are told to reach this one at. Reads the machine's interfaces; listens on nothing.

import { formatHostPort, parseHostPort } from '../lib/host-port.ts';
import { firstOutwardAddress, type Interfaces, isWildcard } from '../lib/machine-addresses.ts';

/**
 * `host:port` for others, from what a listener is bound to: what was asked to be advertised, else the address itself,
 * else (bound to every interface) the machine's first address that is not its loopback.
 */
export function reachableAt(bound: string, advertise: string | undefined, interfaces?: Interfaces): string {
  const parsed = parseHostPort(bound);
  if (parsed === undefined) return bound;
  const { host, port } = parsed;
  if (advertise !== undefined) return formatHostPort({ host: advertise, port });
  return isWildcard(host)
    ? formatHostPort({ host: firstOutwardAddress(host, interfaces) ?? '127.0.0.1', port })
    : formatHostPort({ host: host, port });
}
