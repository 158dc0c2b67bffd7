// The shield, where instances cannot have networks of their own and share the host's: whatever an app listens on must
// not be reachable from other hosts, also when it ignores HOST=127.0.0.1. Drops their replies to connections that came
// from outside; what they open themselves is untouched. One nftables table per node, found by its instances' user ids;
// touches no other.

import type { NodeId } from '../../../crdt/ids.ts';
import type { Log } from '../../lib/log.ts';
import { UIDS_PER_NODE, uidBlock } from '../sandbox/users.ts';
import { loadRules } from './nft.ts';

export type Shield = { lower(): Promise<void> };

/**
 * The table as nft reads it. Written so that loading it again replaces it. Dropping replies in the output hook,
 * instead of requests in the input hook, is what lets a rule name the owner of the socket.
 */
export function shieldRules(table: string, firstUid: number, lastUid: number): string {
  return [
    `table inet ${table}`,
    `delete table inet ${table}`,
    `table inet ${table} {`,
    '  chain replies {',
    '    type filter hook output priority 0; policy accept;',
    `    oifname != "lo" meta skuid ${firstUid}-${lastUid} ct direction reply drop`,
    '  }',
    '}',
    '',
  ].join('\n');
}

/** Raises it, or says in the log what is exposed and what to do: a node without nftables still runs. */
export async function raiseShield(options: { nodeId: NodeId; log: Log; ownUsers: boolean }): Promise<Shield> {
  const { nodeId, log, ownUsers } = options;
  const first = uidBlock(nodeId);
  const table = `peer_${first}`;
  const exposed = (why: string): Shield => {
    log.warn('runtime.ports_exposed', {
      why,
      message:
        'an app that listens on all interfaces can be reached from other hosts past the router: install nftables and start as root, or keep a firewall in front',
    });
    return { lower: async () => {} };
  };
  if (!ownUsers) return exposed('instances run as the user of the daemon');
  try {
    await loadRules(shieldRules(table, first, first + UIDS_PER_NODE - 1));
  } catch (error) {
    return exposed((error as Error).message);
  }
  return {
    lower: async () => {
      await loadRules(`delete table inet ${table}\n`).catch((error) =>
        log.warn('runtime.shield_left', { table, error }),
      );
    },
  };
}
