// What `peer nodes` says below its table.

import { describe, expect, it } from 'vitest';
import { troubleLines } from '../../cli/commands/nodes.ts';
import type { NodeShape } from '../../node/api/shapes.ts';

const node = (name: string, trouble: Partial<NodeShape>): NodeShape => ({ name, ...trouble }) as NodeShape;
const toTwo = { node: 'two', by: 'link', why: '10.0.0.7:7602: timed out', sinceMs: 0 } as const;

describe('trouble between nodes', () => {
  it('is one line each: who cannot reach whom, how, and for how long', () => {
    expect(
      troubleLines([
        node('one', {
          unreachable: [toTwo, { ...toTwo, by: 'gossip', why: 'refused', sinceMs: 60_000 }],
          warnings: [],
        }),
        node('two', { unreachable: [], warnings: ['it listens where nobody comes'] }),
        // Of an older version.
        node('three', {}),
      ]),
    ).toEqual([
      'one cannot reach two (link 10.0.0.7:7602: timed out)',
      'one cannot reach two (gossip refused), for 1m or longer',
      'two: it listens where nobody comes',
    ]);
  });

  it('of a whole cluster is cut short', () => {
    const many = Array.from({ length: 30 }, (_, index) => node(`n${index}`, { unreachable: [toTwo], warnings: [] }));
    const lines = troubleLines(many);
    expect([lines.length, lines.at(-1)]).toEqual([21, '… and 10 more: see peer nodes --json']);
  });
});
