// The commands that make an instance's network, on literals; what they make is in network.test.ts.

import { expect, it } from 'vitest';
import { bridgeCommands, candidateSubnets, namespaceCommands } from '../../node/runtime/network/commands.ts';

const { key, subnet } = candidateSubnets(1).next().value!;

it('gives the bridge and both ends of a link the same packet size: larger packets would be dropped between them', () => {
  const sizes = (text: string): string[] => [...text.matchAll(/mtu (\d+)/g)].map((match) => match[1]!);
  expect(sizes(bridgeCommands(key, subnet, 1400))).toEqual(['1400']);
  expect(sizes(namespaceCommands(key, 3, 1400))).toEqual(['1400', '1400']);
});

it('gives the gateway and every address a hardware address of their own, which stays when others come and go', () => {
  const addresses = (text: string): string[] => [...text.matchAll(/address (\S+)/g)].map((match) => match[1]!);
  const [gateway] = addresses(bridgeCommands(key, subnet, 1500));
  const instances = [2, 3, 1022].map((number) => addresses(namespaceCommands(key, number, 1500))[0]);
  expect(new Set([gateway, ...instances]).size).toBe(4);
  for (const address of [gateway, ...instances]) expect(address).toMatch(/^02(:[0-9a-f]{2}){5}$/);
  expect(addresses(namespaceCommands(key, 3, 1500))).toEqual([instances[1]]);
});
