import { describe, expect, it } from 'vitest';
import { apiUrl } from '../../cli/connection.ts';
import { formatAge, formatBytes, formatTook } from '../../cli/format.ts';
import { formatLogLine } from '../../cli/log-format.ts';
import {
  HEALTH_TIMEOUT,
  INSTANCE_DISK,
  INSTANCE_MEMORY,
  nameOfFolder,
  parseAppOrSlot,
  parseDuration,
  parseHealth,
  parseHostPort,
  parseName,
  parseNameOrId,
  parsePair,
  parsePairs,
  parseScale,
  parseSize,
  type Range,
} from '../../cli/values.ts';
import * as limits from '../../crdt/limits.ts';

describe('values', () => {
  it.each([
    ['256M', 256 * 1024 ** 2],
    ['1.5g', 1.5 * 1024 ** 3],
    ['512KiB', 512 * 1024],
    ['2TB', 2 * 1024 ** 4],
  ])('size %s is %d bytes', (text, bytes) => expect(parseSize(text, '--memory')).toBe(bytes));

  it.each([
    ['500ms', 500],
    ['60s', 60_000],
    ['1.5m', 90_000],
    ['1h', 3_600_000],
    ['2d', 172_800_000],
  ])('duration %s is %d ms', (text, ms) => expect(parseDuration(text, '--ttl')).toBe(ms));

  it.each([
    [() => parseSize('256', '--memory'), '--memory 256: should be a size such as 256M or 1G'],
    [() => parseSize('-1M', '--memory'), 'should be a size'],
    [() => parseSize('100T', '--memory', INSTANCE_MEMORY), '--memory 100T: should be a size from 16M to 64G'],
    [() => parseSize('1K', '--disk', INSTANCE_DISK), '--disk 1K: should be a size from 16M to 1T'],
    [() => parseDuration('1h', '--timeout', HEALTH_TIMEOUT), '--timeout 1h: should be a duration from 1s to 180s'],
    [() => parseDuration('60', '--timeout'), '--timeout 60: should be a duration'],
    [() => parseName('Hello', '--name'), '--name "Hello": should be up to 63 lower-case letters'],
    [() => parseName('-a', '--name'), 'no dash at either end'],
    [() => parseName('', 'app'), 'app "": should be up to 63'],
    [() => parseNameOrId('', 'node'), 'node "": should be a name or an id'],
    [() => parseNameOrId('../users', 'node'), 'node "../users": should be a name or an id'],
    [() => parsePair('=x', '--env'), '--env "=x": should be KEY=VALUE'],
    [() => parseScale(['web=101']), 'scale web 101: should be a whole number from 0 to 100'],
    [() => parseScale(['many']), 'should be a whole number'],
    [() => parseScale(['2', '3']), '"3" is one argument too many, web has a number already: peer scale APP [web=]N'],
    [() => parseScale(['2', 'web=2']), '"web=2" is one argument too many'],
    [() => parsePairs(['A=1', 'B=', 'A=2'], '--env'), '--env A was given twice: give it once'],
    [() => parseAppOrSlot('a/b/c/d'), 'should be APP, APP/INDEX or APP/PROCESS/INDEX'],
    [() => parseHealth('http://x'), '--health http://x: should be port, process or http:/PATH'],
    [() => parseHostPort('7600', '--api'), '--api 7600: should be HOST:PORT'],
    [() => parseHostPort('a:99999', '--api'), 'should be HOST:PORT'],
    [() => nameOfFolder('...'), 'pass --name APP'],
    [() => apiUrl('ftp://x'), 'should begin with http:// or https://'],
    [() => apiUrl('foo'), 'foo: should be a URL such as http://127.0.0.1:7600, or HOST:PORT'],
    [() => apiUrl('foo/bar'), 'foo/bar: should be a URL'],
    [() => apiUrl(''), '"": should be a URL'],
    [() => apiUrl('http://a:0'), 'http://a:0: should be a URL'],
    [() => apiUrl('http://'), 'should be a URL'],
    [() => apiUrl('http://a:99999'), 'should be a URL'],
    [() => apiUrl('a b:80'), 'should be a URL'],
  ])('are refused with what they should be (%#)', (read, message) => {
    expect(read).toThrow(expect.objectContaining({ exitStatus: 2, message: expect.stringContaining(message) }));
  });

  it('have the ranges that the node accepts', () => {
    const ends = (range: Range, read: typeof parseSize) => [read(range.min, ''), read(range.max, '')];
    expect(ends(INSTANCE_MEMORY, parseSize)).toEqual([limits.MEMORY_BYTES_MIN, limits.MEMORY_BYTES_MAX]);
    expect(ends(INSTANCE_DISK, parseSize)).toEqual([limits.DISK_BYTES_MIN, limits.DISK_BYTES_MAX]);
    expect(ends(HEALTH_TIMEOUT, parseDuration)).toEqual([limits.HEALTH_TIMEOUT_MS_MIN, limits.HEALTH_TIMEOUT_MS_MAX]);
  });

  it('are read as people write them', () => {
    for (const one of ['attic', 'operator@attic', '12D3KooWalpha']) expect(parseNameOrId(one, 'node')).toBe(one);
    expect(parseScale(['3', 'worker=2'])).toEqual({ web: 3, worker: 2 });
    expect(parseAppOrSlot('hello/1')).toEqual({ app: 'hello', slot: { process: 'web', index: 1 } });
    expect(parseAppOrSlot('hello/worker/0')).toEqual({ app: 'hello', slot: { process: 'worker', index: 0 } });
    expect(parseAppOrSlot('hello')).toEqual({ app: 'hello' });
    expect(parseHealth('http:/up?x=1')).toEqual({ kind: 'http', path: '/up?x=1' });
    expect(nameOfFolder('My App_2')).toBe('my-app-2');
    expect(apiUrl('127.0.0.1:7600')).toBe('http://127.0.0.1:7600');
    expect(apiUrl('peer.example.org:7600')).toBe('https://peer.example.org:7600');
    expect(apiUrl('https://a.b/')).toBe('https://a.b');
    expect(apiUrl('a.b:443')).toBe('https://a.b');
  });
});

describe('what is printed', () => {
  it.each([
    [0, '0B'],
    [1023, '1023B'],
    [1024, '1K'],
    [1.5 * 1024 ** 3, '1.5G'],
    [256 * 1024 ** 2, '256M'],
  ])('%d bytes as %s', (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it('ages and durations', () => {
    expect([999, 59_000, 61_000, 7_200_000, 200_000_000].map(formatAge)).toEqual(['0s', '59s', '1m', '2h', '2d']);
    expect([420, 12_000, 125_000].map(formatTook)).toEqual(['0.4 s', '12 s', '2 min 5 s']);
  });

  it('log lines, without what would move the cursor', () => {
    const line = {
      atMs: 0,
      source: 'APP',
      process: 'web',
      index: 1,
      instance: null,
      node: 'alpha',
      stream: 'err',
      text: 'a\rb\u0007 \u001b[31mred',
      goesOn: false,
    } as const;
    expect(formatLogLine(line)).toBe('1970-01-01T00:00:00.000Z [APP/web/1] ERR a b  \u001b[31mred');
    for (const evil of ['\u001b[2J', '\u001b]0;title\u0007', '\u001b]52;c;x\u001b\\', '\u009b2J', '\u001b']) {
      expect(formatLogLine({ ...line, text: `${evil}\u001b[1;32mgreen` })).toMatch(/ERR [ -~]*\u001b\[1;32mgreen$/);
    }
    expect(formatLogLine({ ...line, source: 'STG', process: null, index: null, stream: 'out', text: 'x' })).toBe(
      '1970-01-01T00:00:00.000Z [STG] OUT x',
    );
  });
});
