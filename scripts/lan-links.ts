// Links of a LAN that are bad, one way each: packets that are lost, all of them when the way is cut, and a narrow
// pipe. Writes what `nft` and `tc` read for one host; changes nothing itself. Not with netem, which many kernels are
// built without.

/** One way, from one host to another. */
export type Link = { lossShare: number; kbitPerSecond: number | undefined };

export const GOOD_LINK: Link = { lossShare: 0, kbitPerSecond: undefined };

const DEVICE = 'eth0';
const LOSS_STEPS = 1_000;

/**
 * Where packets get lost: at the host they arrive at, before anything sees them, so that no sender is told. Loading it
 * again replaces it.
 * @param links by the address of the host they come from
 */
export function lossRules(links: ReadonlyMap<string, Link>): string {
  const rules: string[] = [];
  for (const [address, { lossShare }] of links) {
    if (lossShare <= 0) continue;
    const chance = lossShare < 1 ? `numgen random mod ${LOSS_STEPS} < ${Math.round(lossShare * LOSS_STEPS)} ` : '';
    rules.push(`    ip saddr ${address} ${chance}drop`);
  }
  return [
    'table inet lan',
    'delete table inet lan',
    'table inet lan {',
    '  chain arriving {',
    '    type filter hook prerouting priority raw; policy accept;',
    ...rules,
    '  }',
    '}',
    '',
  ].join('\n');
}

/**
 * Where packets queue: at the host they leave, in a pipe of its own for each narrow link. What else it sends passes
 * by.
 * @param links by the address of the host they go to
 */
export function pipeCommands(links: ReadonlyMap<string, Link>): string {
  // What was there before goes first: an HTB cannot be changed into another one.
  const plain = `qdisc replace dev ${DEVICE} root pfifo`;
  const commands = [plain, `qdisc replace dev ${DEVICE} root handle 1: htb`];
  let pipe = 0;
  for (const [address, { kbitPerSecond }] of links) {
    if (kbitPerSecond === undefined) continue;
    pipe++;
    commands.push(
      `class add dev ${DEVICE} parent 1: classid 1:${pipe} htb rate ${kbitPerSecond}kbit`,
      `filter add dev ${DEVICE} protocol ip parent 1: prio 1 u32 match ip dst ${address}/32 flowid 1:${pipe}`,
    );
  }
  return `${pipe === 0 ? plain : commands.join('\n')}\n`;
}

/** A pipe in which a full packet takes this long; never so narrow that the chatter of a node at rest would fill it. */
export const narrowedBy = (addedMs: number): number =>
  Math.max(NARROWEST_KBIT, Math.round(FULL_PACKET_BITS / Math.max(1, addedMs)));

const FULL_PACKET_BITS = 1_500 * 8;
const NARROWEST_KBIT = 64;
