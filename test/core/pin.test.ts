// Where new data goes.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asAppId, asNodeId } from '../../crdt/ids.ts';
import { type PinCandidate, pin } from '../../node/core/pin.ts';
import { MIB, release } from './little-cluster.ts';

const candidate = (name: string, options: Partial<PinCandidate> & { services?: string[]; stacks?: string[] } = {}) => {
  const { services = ['postgres 15'], stacks = ['debian12-x64'], ...rest } = options;
  return {
    node: asNodeId(name),
    status: 'alive' as const,
    draining: false,
    freeBytes: 1024 * MIB,
    report: { status: 'alive' as const, runtimes: ['process'], stacks, services },
    ...rest,
  };
};
const owner = asAppId('db');
const on = (node: string, of: string = 'other') => ({ owner: asAppId(of), node: asNodeId(node) });
const database = { owner, key: 'db', memoryBytes: 256 * MIB, needs: { service: { kind: 'postgres', version: '15' } } };
const app = { owner: asAppId('shop'), key: 'shop/web/0', memoryBytes: 64 * MIB, needs: release(1) };

describe('new data', () => {
  it('goes to a node that has the engine and the memory', () => {
    const nodes = [
      candidate('old', { services: ['postgres 13'] }),
      candidate('small', { freeBytes: 100 * MIB }),
      candidate('fit'),
      candidate('gone', { status: 'suspect' }),
      candidate('drained', { draining: true }),
    ];
    expect(pin(nodes, [], database)).toEqual({ node: 'fit' });
  });

  it('of an app goes where its release can run, whatever engines there are', () => {
    const nodes = [candidate('other', { stacks: ['alpine'] }), candidate('bare', { services: [] })];
    expect(pin(nodes, [], app)).toEqual({ node: 'bare' });
  });

  it('with a hard quota goes where one can be had', () => {
    const hard = { ...app, needs: { ...app.needs, hardQuotaBytes: 64 * MIB } };
    const able = candidate('able');
    const withDisk = (one: PinCandidate, freeBytes: number): PinCandidate => {
      const disk = { freeBytes, totalBytes: 4096 * MIB };
      return { ...one, report: { ...one.report, hardQuota: true, disk } };
    };
    const [other, full] = [candidate('other', { freeBytes: 2048 * MIB }), withDisk(candidate('full'), 32 * MIB)];
    expect(pin([other, full, withDisk(able, 1024 * MIB)], [], hard)).toEqual({ node: 'able' });
    expect(pin([other, full], [], hard)).toEqual({
      refusals: [
        { node: 'full', reasons: [{ kind: 'disk', wantedBytes: 64 * MIB, freeBytes: 32 * MIB }] },
        { node: 'other', reasons: [{ kind: 'noHardQuota' }] },
      ],
    });
  });

  it('says of every node why not, when none can', () => {
    const nodes = [candidate('b', { services: [] }), candidate('a', { freeBytes: 1 })];
    expect(pin(nodes, [], database)).toEqual({
      refusals: [
        { node: 'a', reasons: [{ kind: 'memory', wantedBytes: 256 * MIB, freeBytes: 1 }] },
        { node: 'b', reasons: [{ kind: 'noEngine', wanted: 'postgres 15', has: [] }] },
      ],
    });
  });

  it('spreads over nodes: of one owner first, then of all, then by free memory', () => {
    const nodes = [candidate('a'), candidate('b'), candidate('c', { freeBytes: 2048 * MIB })];
    expect(pin(nodes, [on('c'), on('b'), on('a', 'db')], database)).toEqual({ node: 'c' });
    expect(pin(nodes, [on('c'), on('b', 'db')], database)).toEqual({ node: 'a' });
    expect(pin(nodes, [], database)).toEqual({ node: 'c' });
  });

  it('does not depend on the order in which nodes are named', () => {
    const nodes = ['a', 'b', 'c', 'd', 'e'].map((name) => candidate(name));
    const chosen = pin(nodes, [], database);
    fc.assert(
      fc.property(fc.shuffledSubarray(nodes, { minLength: nodes.length }), (shuffled) => {
        expect(pin(shuffled, [], database)).toEqual(chosen);
      }),
    );
  });
});
