// A node in a process of its own, for tests that stop or kill it. argv[2]: {parent: {id, addresses}, publishEveryMs?}.
// Prints one line of JSON when it listens.

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NodeId } from '../../crdt/ids.ts';
import { createGossip } from '../../node/gossip/gossip.ts';
import { CLUSTER, newIdentity, PSK, reportOf } from './fixtures.ts';
import { collectingLog, SetSource } from './twins.ts';

type Argument = {
  peers: { id: NodeId; addresses: string[] }[];
  listen?: string;
  dataDir?: string;
  publishEveryMs?: number;
  /** Print what it hears, too. */
  listens?: boolean;
};
const argument = JSON.parse(process.argv[2]!) as Argument;
const dataDir = argument.dataDir ?? mkdtempSync(join(tmpdir(), 'peer-gossip-child-'));
const identity = await newIdentity();
const gossip = await createGossip({
  identity,
  clusterId: CLUSTER,
  psk: PSK,
  listen: argument.listen ?? '127.0.0.1:0',
  dataDir,
  desired: new SetSource(),
  log: collectingLog(),
});
const admit = (peers: Argument['peers']): void =>
  gossip.setAdmitted(new Map(peers.map((peer) => [peer.id, { addresses: peer.addresses }])));
await gossip.start();
admit(argument.peers);
const hear = (what: object): void => {
  if (argument.listens) console.log(JSON.stringify(what));
};
gossip.on({
  connected: (node) => console.log(JSON.stringify({ connected: node })),
  disconnected: (node) => console.log(JSON.stringify({ disconnected: node })),
  report: ({ node, sequence }) => hear({ report: { node, sequence } }),
  membership: ({ from, node }) => hear({ claim: { from, node } }),
  changes: () => undefined,
});
if (argument.publishEveryMs !== undefined) {
  let sequence = 0;
  setInterval(() => {
    sequence += 1;
    gossip.publishReport(reportOf(gossip.self, sequence), { relay: true });
  }, argument.publishEveryMs);
}
// One line of JSON on standard input: other peers to admit.
process.stdin.on('data', (line) => admit(JSON.parse(line.toString()) as Argument['peers']));
console.log(JSON.stringify({ id: gossip.self, addresses: gossip.addresses(), dataDir }));
