import { describe, expect, it } from 'vitest';
import { nodeNameOf, parseStartOptions } from '../../node/daemon/options.ts';
import { parseHostPort } from '../../node/lib/host-port.ts';

describe('start options', () => {
  it('need nothing but a data directory', () => {
    expect(parseStartOptions({ dataDir: '/var/lib/peer' })).toEqual({
      dataDir: '/var/lib/peer',
      name: expect.stringMatching(/^[a-z0-9-]+$/),
      listen: '0.0.0.0:7601',
      link: '0.0.0.0:7602',
      api: '127.0.0.1:7600',
      http: '0.0.0.0:8080',
      runtime: 'auto',
      domain: 'localhost',
      labels: {},
      insecureProcessRuntime: false,
      allowNetworks: [],
    });
  });

  it('remember those of the last start, but no invite; what is given wins', () => {
    const remembered = { name: 'attic', http: '127.0.0.1:9999', join: 'an invite', labels: { zone: 'attic' } };
    expect(parseStartOptions({ dataDir: '/d', name: 'cellar' }, remembered)).toMatchObject({
      name: 'cellar',
      http: '127.0.0.1:9999',
      labels: { zone: 'attic' },
      api: '127.0.0.1:7600',
    });
    expect(parseStartOptions({ dataDir: '/d' }, remembered)).not.toHaveProperty('join');
  });

  it('write networks in one way', () => {
    const { allowNetworks } = parseStartOptions({ dataDir: '/d', allowNetworks: ['10.1.2.3/16', '192.168.1.7'] });
    expect(allowNetworks).toEqual(['10.1.0.0/16', '192.168.1.7/32']);
  });

  const labels = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`l${index}`, 'x']));
  it('take as many labels, and as long ones, as peer nodes label does', () => {
    const most = { ...labels(49), 'example.org/zone': 'x'.repeat(128) };
    expect(parseStartOptions({ dataDir: '/d', labels: most }).labels).toEqual(most);
  });

  it('keep labels that an earlier version let through, on one line', () => {
    const remembered = { labels: { 'zone-': 'a', city: 'Köln', two: 'x\ny', none: 5 } } as never;
    expect(parseStartOptions({ dataDir: '/d' }, remembered).labels).toEqual({ 'zone-': 'a', city: 'Köln', two: 'x y' });
    expect(parseStartOptions({ dataDir: '/d', labels: { zone: 'b' } }, remembered).labels).toEqual({ zone: 'b' });
  });

  const bad: [input: unknown, message: string | RegExp][] = [
    [{}, 'dataDir is missing'],
    [{ dataDir: 'relative' }, 'dataDir should be an absolute path'],
    [{ dataDir: '/d', listen: '7600' }, 'listen should be HOST:PORT, for example 127.0.0.1:7600'],
    [{ dataDir: '/d', http: '0.0.0.0:70000' }, 'http should be HOST:PORT, for example 127.0.0.1:7600'],
    [{ dataDir: '/d', runtime: 'vm' }, 'runtime should be auto, docker or process'],
    [{ dataDir: '/d', blobsBytes: 5 }, 'blobsBytes should be at least 1M'],
    [{ dataDir: '/d', unlock: 'short' }, 'unlock should have at least 8 characters'],
    [{ dataDir: '/d', memoryBytes: 5 }, 'memoryBytes should be at least 16M'],
    [
      { dataDir: '/d', allowNetworks: ['fd00::/8'] },
      'allowNetworks.0 should be an IPv4 network such as 10.1.0.0/16, not "fd00::/8"',
    ],
    [{ dataDir: '/d', allowNetworks: Array(33).fill('10.0.0.0/8') }, 'allowNetworks should be at most 32 networks'],
    [{ dataDir: '/d', labels: { 'zone-': 'a' } }, 'labels.zone- must be 1 to 63 letters, digits, dots, dashes'],
    [{ dataDir: '/d', labels: { 'a\nb': 'a' } }, /^labels\.a b must be 1 to 63 letters/],
    [{ dataDir: '/d', labels: { zone: 'a\nb' } }, 'labels.zone must be at most 128 printable ASCII characters'],
    [{ dataDir: '/d', labels: { zone: '\u001b[2J' } }, 'labels.zone must be at most 128 printable ASCII characters'],
    [{ dataDir: '/d', labels: labels(51) }, 'labels must be at most 50 labels, not 51'],
    [{ dataDir: '/d', colour: 'red' }, 'colour is not an option'],
    ['text', 'options should be an object'],
  ];
  it.each(bad)('refuse %j: %s', (input, message) => {
    expect(() => parseStartOptions(input)).toThrow(message);
  });

  it('take a name from the host', () => {
    expect(nodeNameOf('Kitchen-Pi.local')).toBe('kitchen-pi');
    expect(nodeNameOf('__')).toBe('node');
  });

  it('take addresses of both families', () => {
    expect(parseHostPort('[::1]:7600')).toEqual({ host: '::1', port: 7600 });
    expect(parseHostPort('localhost:0')).toEqual({ host: 'localhost', port: 0 });
    expect(parseHostPort('::1:7600')).toBeUndefined();
  });
});
