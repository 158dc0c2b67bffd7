// Changes of the calls to services, on literals; what they do to packets is in service-calls.test.ts.

import { describe, expect, it } from 'vitest';
import {
  addCalls,
  type Call,
  changeCalls,
  endCalls,
  endedCalls,
  parseCalls,
} from '../../node/runtime/network/calls.ts';
import { shortcutsOf } from '../../node/runtime/network/shortcuts.ts';

const call = (from: string, host = '10.0.0.9', port = 5432): Call => ({
  from,
  address: '198.18.0.7',
  port,
  to: { host, port },
});
const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

describe('calls to services', () => {
  it('are loaded with the pair that may go on with one', () => {
    expect(lines(addCalls('t', [call('10.0.0.2'), call('pr12')]))).toEqual([
      'add element inet t calls { 10.0.0.2 . 198.18.0.7 . 5432 : 10.0.0.9 . 5432 }',
      'add element inet t calls { "pr12" . 198.18.0.7 . 5432 : 10.0.0.9 . 5432 }',
      'add element inet t called { 10.0.0.2 . 198.18.0.7 }',
      'add element inet t called { "pr12" . 198.18.0.7 }',
    ]);
  });

  it('that stay are not touched', () => {
    const change = { before: [call('10.0.0.2')], now: [call('10.0.0.2')] };
    expect([changeCalls('t', change), endCalls('t', change), endedCalls(change)]).toEqual(['', '', []]);
  });

  it('that are taken back lead nobody any more, and end what is open after that', () => {
    const change = { before: [call('10.0.0.2'), call('10.0.0.3')], now: [call('10.0.0.3')] };
    expect(lines(changeCalls('t', change))).toEqual(['delete element inet t calls { 10.0.0.2 . 198.18.0.7 . 5432 }']);
    expect(endedCalls(change)).toEqual([call('10.0.0.2')]);
    expect(lines(endCalls('t', change))).toEqual(['delete element inet t called { 10.0.0.2 . 198.18.0.7 }']);
  });

  it('that lead elsewhere are exchanged in one go, and end what is open too', () => {
    const change = { before: [call('10.0.0.2')], now: [call('10.0.0.2', '10.0.0.10')] };
    expect(lines(changeCalls('t', change))).toEqual([
      'delete element inet t calls { 10.0.0.2 . 198.18.0.7 . 5432 }',
      'add element inet t calls { 10.0.0.2 . 198.18.0.7 . 5432 : 10.0.0.10 . 5432 }',
    ]);
    expect([endedCalls(change), endCalls('t', change)]).toEqual([change.before, '']);
  });

  it('to two ports of one service are one pair', () => {
    const both = [call('10.0.0.2'), call('10.0.0.2', '10.0.0.9', 15_672)];
    expect(lines(addCalls('t', both))).toHaveLength(3);
    expect(endCalls('t', { before: both, now: both.slice(1) })).toBe('');
  });

  it('are read as nft lists them, and what is not understood is left out', () => {
    const found = { concat: ['10.0.0.2', '198.18.0.7', 5432] };
    const elem = [[found, { concat: ['10.0.0.9', 5432] }], [found, 7], 'x'];
    expect(parseCalls(JSON.stringify({ nftables: [{ metainfo: {} }, { map: { elem } }] }))).toEqual([call('10.0.0.2')]);
    expect(parseCalls('{}')).toEqual([]);
    expect(parseCalls(JSON.stringify({ nftables: [{ map: {} }] }))).toEqual([]);
  });

  it('have a shortcut where the engine runs here, on its own port, and has one address for its caller', () => {
    const net = { key: '00ab', subnet: '10.0.0.0/22' };
    const portsOf = (calls: Call[], services = [9]): number[] => [...shortcutsOf(net, calls, new Set(services)).ports];
    expect(portsOf([call('10.0.0.2')])).toEqual([2, 9]);
    expect(portsOf([call('10.0.0.2')], [])).toEqual([]);
    expect(portsOf([call('10.0.0.2', '10.0.0.1', 5432)])).toEqual([]);
    expect(portsOf([{ ...call('10.0.0.2'), port: 5433 }])).toEqual([]);
    expect(portsOf([call('10.0.0.2'), { ...call('10.0.0.2'), address: '198.18.0.8' }, call('10.0.0.3')])).toEqual([
      3, 9,
    ]);
  });
});
