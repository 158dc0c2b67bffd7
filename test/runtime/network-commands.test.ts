// The commands that make an instance's network, on literals; what they make is in network.test.ts.

import { expect, it } from 'vitest';
import { bridgeCommands, candidateSubnets, namespaceCommands } from '../../node/runtime/network-commands.ts';

const { key, subnet } = candidateSubnets(1).next().value!;

it('gives the bridge and both ends of a link the same packet size: larger packets would be dropped between them', () => {
  const sizes = (text: string): string[] => [...text.matchAll(/mtu (\d+)/g)].map((match) => match[1]!);
  expect(sizes(bridgeCommands(key, subnet, 1400))).toEqual(['1400']);
  expect(sizes(namespaceCommands(key, 3, 1400))).toEqual(['1400', '1400']);
});
