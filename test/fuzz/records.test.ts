// Whatever an admitted node writes into the document, other nodes take it up: a fresh seed in every run, and pinned
// ones that once taught something. `npm run fuzz` is the long run.

import { describe, expect, it } from 'vitest';
import { readView } from '../../crdt/read.ts';
import type { DesiredView } from '../../crdt/view.ts';
import { app, desired } from '../core/little-cluster.ts';
import { digest, node } from '../crdt/fixtures.ts';
import { Prng } from '../sim/prng.ts';
import { fuzz } from './records.ts';
import { survive } from './survive.ts';

const DOCUMENTS = 100;
/** `[seed, first document, how many]` */
const PINNED: [string, number, number][] = [
  // Node names, stacks and reasons of other nodes' reports that steered the terminal of whoever asked about a slot.
  ['3', 20, 50],
  // A list in place of a count of restarts, which inside a change passes for a counter.
  ['20261129', 6_664, 1],
  ['20261129', 97_678, 1],
  // A list in place of an app's health check, which throws within a change when it is asked for a field.
  ['1795960475945', 77, 1],
];

describe('another node', () => {
  const seed = process.env.PEER_FUZZ_SEED ?? String(Date.now());

  it(`survives ${DOCUMENTS} documents of a fresh seed`, () => {
    process.stderr.write(`records: seed ${seed} (PEER_FUZZ_SEED=${seed} runs it again)\n`);
    const result = fuzz({ seed, documents: DOCUMENTS });
    expect(result.failures).toEqual([]);
    // The documents are odd, and are let in.
    expect(result.refusing).toBeGreaterThan(DOCUMENTS / 2);
    expect(result.quarantined).toBeLessThan(DOCUMENTS / 4);
  });

  it.each(PINNED)('survives seed %s from document %i on', (pinned, from, documents) =>
    expect(fuzz({ seed: pinned, from, documents }).failures).toEqual([]),
  );

  it('reads the same document from the same seed', () => {
    const [one, two] = [0, 1].map(() => fuzz({ seed: 'same', documents: 12 }));
    expect({ ...one, tookMs: 0 }).toEqual({ ...two, tookMs: 0 });
  });
});

describe('the fuzzer notices', () => {
  const survives = (view: DesiredView) => survive({ before: readView(undefined), view }, new Prng('x'));
  const nodes = [node(1), node(2)];
  const sound = app('shop', {
    release: {
      id: 'r' as never,
      version: 1,
      createdAtMs: 0,
      createdBy: 'ada',
      description: 'push',
      droplet: { digest: digest(1), sizeBytes: 1, stack: 'peer-1' },
      buildpack: 'nodejs',
      processes: { web: 'node .' },
      env: {},
      failed: undefined,
    },
  });
  const view = (changes: Partial<typeof sound>) => {
    const made = desired(nodes, [{ ...sound, ...changes }]);
    return { ...made, nodes: new Map([...made.nodes].map(([id, one]) => [id, { ...one, name: 'n' }])) };
  };

  it('nothing about a view that keeps to the rules', () => expect(() => survives(view({}))).not.toThrow());

  it.each<[string, Partial<typeof sound>]>([
    ['an id that is no file name', { id: 'x:y' as never }],
    ['a count without an end', { scale: { web: 1e9 } }],
    ['a time that no date can hold', { createdAtMs: 1e300 }],
    ['a text that steers the terminal', { name: 'a\u001b[2J' }],
    [
      'a release that the app has not, and a health check of no path',
      { releases: [], health: { kind: 'http', path: 'x', timeoutMs: 1 } },
    ],
  ])('%s', (_what, changes) => expect(() => survives(view(changes))).toThrow('breaks its rules'));
});
