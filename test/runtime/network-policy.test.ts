// The rules for what instances may reach: on literals here, on real packets in network.test.ts.

import { describe, expect, it } from 'vitest';
import {
  buildHostRules,
  buildLoopbackRules,
  DENIED_NETWORKS,
  type NetworkPolicy,
  networkRules,
  overlap,
  parseNetwork,
} from '../../node/runtime/network/policy.ts';

const POLICY: NetworkPolicy = {
  table: 'peer_net_7',
  bridge: 'peer7',
  allowed: ['10.1.0.0/16'],
  resolvers: ['192.168.1.1'],
  openPorts: [8080],
  closedPorts: [7600, 7601],
  addressing: {
    subnet: '10.201.0.0/22',
    builds: '10.201.3.0/24',
    gateway: '10.201.0.1',
    loopbackResolver: undefined,
  },
};

/** The rules of one chain, in order. */
function chain(name: string, policy: NetworkPolicy = POLICY): string[] {
  const text = new RegExp(`  chain ${name} \\{\\n([^}]*(?:\\{[^}]*\\}[^}]*)*?)\\n  \\}`).exec(
    networkRules(policy),
  )?.[1];
  return (text ?? '').split('\n').map((line) => line.trim());
}

describe('the network policy', () => {
  it('replaces the table when it is loaded again', () => {
    expect(networkRules(POLICY).split('\n').slice(0, 3)).toEqual([
      'table inet peer_net_7',
      'delete table inet peer_net_7',
      'table inet peer_net_7 {',
    ]);
  });

  it('lets instances reach name servers and allowed networks, denies private ones, and leaves the rest open', () => {
    expect(chain('outgoing')).toEqual([
      'ct state established,related accept',
      'ip daddr { 192.168.1.1 } meta l4proto { tcp, udp } th dport 53 accept',
      'ip saddr 10.201.3.0/24 ip daddr . tcp dport @build_hosts accept',
      'ip daddr @allowed accept',
      'ip daddr @denied meta l4proto tcp reject with tcp reset',
      'ip daddr @denied reject with icmpx admin-prohibited',
    ]);
  });

  it('opens nothing of the machine but its router, whatever networks are allowed', () => {
    const rules = chain('to_machine');
    expect(rules.indexOf('tcp dport { 7600, 7601 } reject with tcp reset')).toBeLessThan(
      rules.indexOf('ip daddr @allowed accept'),
    );
    expect(rules).toContain('tcp dport { 8080 } accept');
    expect(rules.slice(-2)).toEqual(['meta l4proto tcp reject with tcp reset', 'reject with icmpx admin-prohibited']);
  });

  it('keeps instances from one another, and everybody else from them', () => {
    expect(chain('forwarded')).toEqual([
      'type filter hook forward priority filter - 5; policy accept;',
      'iifname "peer7" oifname "peer7" ct status dnat ct original ip daddr 198.18.0.0/15 jump call',
      'iifname "peer7" oifname "peer7" meta l4proto tcp reject with tcp reset',
      'iifname "peer7" oifname "peer7" reject with icmpx admin-prohibited',
      'oifname "peer7" ct state established,related accept',
      'oifname "peer7" drop',
      'iifname "peer7" jump outgoing',
    ]);
  });

  it('drops what claims to come from elsewhere', () => {
    expect(chain('forged')).toContain('iifname "peer7" ip saddr != 10.201.0.0/22 drop');
    expect(chain('forged')).toContain('iifname "peer7" meta nfproto ipv6 drop');
  });

  it('leaves addresses, name servers and masquerading to a container engine', () => {
    const text = networkRules({ ...POLICY, bridge: 'peer-*', addressing: undefined });
    expect(text).not.toMatch(/masquerade|build_hosts/);
    expect(chain('redirected', { ...POLICY, bridge: 'peer-*', addressing: undefined }).slice(1)).toEqual([
      'iifname "peer-*" dnat ip to iifname . ip daddr . tcp dport map @calls',
    ]);
    expect(text).toContain('iifname "peer-*" jump outgoing');
  });

  it('asks a name server on loopback at the gateway', () => {
    const addressing = { ...POLICY.addressing!, loopbackResolver: '127.0.0.53' };
    expect(chain('redirected', { ...POLICY, addressing })).toContain(
      'iifname "peer7" ip daddr 10.201.0.1 udp dport 53 dnat ip to 127.0.0.53:53',
    );
  });

  it('looks at every packet of a call to a service before it lets pass what is established', () => {
    const led = 'ct status dnat ct original ip daddr 198.18.0.0/15 jump call';
    expect(chain('to_machine').slice(0, 2)).toEqual([led, 'ct state established,related accept']);
    expect(chain('call')[0]).toBe('ct original ip saddr . ct original ip daddr @called accept');
    expect(chain('call').slice(-2)).toEqual(['meta l4proto tcp reject with tcp reset', 'drop']);
  });

  it('opens to builds what the settings name, far and on loopback', () => {
    const hosts = [
      { host: '10.9.9.9', port: 3128 },
      { host: '127.0.0.1', port: 4873 },
    ];
    expect(buildHostRules('t', hosts).trim().split('\n')).toEqual([
      'add element inet t build_hosts { 10.9.9.9 . 3128 }',
      'add element inet t build_loopback { 4873 : 127.0.0.1 . 4873 }',
    ]);
    expect(buildLoopbackRules('10.201.0.1', hosts)).toContain(
      'ip daddr 127.0.0.1 tcp dport 4873 dnat to 10.201.0.1:4873',
    );
    expect(buildLoopbackRules('10.201.0.1', hosts.slice(0, 1))).toBeUndefined();
  });

  it.each([
    ['10.1.2.3/16', '10.1.0.0/16'],
    ['192.168.1.7', '192.168.1.7/32'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['10.0.0.0/33', undefined],
    ['10.0.0.256', undefined],
    ['10.0.0', undefined],
    ['fd00::/8', undefined],
    ['10.0.0.0/8; drop', undefined],
  ])('reads %s as %s', (text, network) => {
    expect(parseNetwork(text)).toBe(network);
  });

  it.each([
    ['10.0.0.0/8', '10.201.0.0/22', true],
    ['10.201.4.0/22', '10.201.0.0/22', false],
    ['10.201.3.255/32', '10.201.0.0/22', true],
    ['0.0.0.0/0', '10.201.0.0/22', true],
  ])('says whether %s and %s overlap', (a, b, answer) => {
    expect(overlap(a, b)).toBe(answer);
    expect(overlap(b, a)).toBe(answer);
  });

  it('denies what Cloud Foundry does not count as public', () => {
    for (const address of ['10.0.0.1', '172.31.255.255', '192.168.0.1', '169.254.169.254', '127.0.0.1']) {
      expect(DENIED_NETWORKS.some((network) => overlap(network, `${address}/32`))).toBe(true);
    }
    expect(DENIED_NETWORKS.some((network) => overlap(network, '8.8.8.8/32'))).toBe(false);
  });
});
