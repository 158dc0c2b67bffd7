import type { Connection } from '@libp2p/interface';
import { describe, expect, test } from 'vitest';
import type { NodeId } from '../../crdt/ids.ts';
import { GOSSIP_MISSING_LOOKS_MAX, QUIET_LOOK_INTERVAL_MS } from '../../node/gossip/limits.ts';
import { Quiet } from '../../node/gossip/quiet.ts';
import { collectingLog } from './twins.ts';

const NODE = 'n' as NodeId;
const LOOKS_MAX = 3;

/** One neighbour on a clock of the test's own: `look` is the next look, late by so much. */
function neighbour(
  answers: { ask: 'answers' | 'silent'; renew: 'works' | 'refused' | 'silent' },
  options = { beside: false },
) {
  const done: string[] = [];
  const state = { heard: false, heardBeside: false, joined: true, nowMs: 0 };
  const connection = { status: 'open', abort: () => done.push('closed') } as unknown as Connection;
  const beside = { status: 'open', abort: () => done.push('closed beside') } as unknown as Connection;
  const refusal = new Error('refused');
  const quiet = new Quiet(
    {
      nodes: () => [NODE],
      connectionOf: () => connection,
      allOf: () => (options.beside ? [beside, connection] : [connection]),
      takeHeard: (one) => (one === connection ? state.heard : state.heardBeside),
      joined: () => new Set(state.joined ? [NODE] : []),
      looksMax: () => LOOKS_MAX,
      ask: async () => {
        done.push('asked');
        if (answers.ask === 'silent') throw new Error('no answer');
      },
      renew: async () => {
        done.push('dialled');
        if (answers.renew !== 'works') throw answers.renew === 'refused' ? refusal : new Error('no answer');
      },
      isOutOfReach: (error) => error === refusal,
      refresh: () => done.push('refreshed'),
      reopen: () => done.push('reopened'),
    },
    collectingLog(),
    () => state.nowMs,
  );
  const look = async (times: number, lateMs = 0): Promise<void> => {
    for (let i = 0; i < times; i++) {
      state.nowMs += QUIET_LOOK_INTERVAL_MS + lateMs;
      quiet.look();
      // What was asked is answered before the next look.
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    }
  };
  return { done, state, look };
}

describe('a connection over which nothing comes', () => {
  test('is asked for an answer after so many looks, and kept when there is one', async () => {
    const { done, look } = neighbour({ ask: 'answers', renew: 'works' });
    await look(LOOKS_MAX - 1);
    expect(done).toEqual([]);
    await look(1);
    expect(done).toEqual(['asked']);
    await look(LOOKS_MAX - 1);
    expect(done).toEqual(['asked']);
  });

  test('is not looked into further when anything comes', async () => {
    const { done, state, look } = neighbour({ ask: 'silent', renew: 'works' });
    await look(LOOKS_MAX - 1);
    state.heard = true;
    await look(1);
    state.heard = false;
    await look(LOOKS_MAX - 1);
    expect(done).toEqual([]);
  });

  test('without an answer is followed by a second one, and never closed for being slow', async () => {
    const { done, look } = neighbour({ ask: 'silent', renew: 'silent' });
    await look(LOOKS_MAX + 2);
    expect(done).toEqual(['asked', 'dialled', 'asked', 'dialled', 'asked', 'dialled']);
  });

  test('is closed when there is a second one: its end may not arrive from the other side', async () => {
    const { done, look } = neighbour({ ask: 'silent', renew: 'works' });
    await look(LOOKS_MAX);
    expect(done).toEqual(['asked', 'dialled', 'closed']);
  });

  test('is closed when its host accepts no other any more', async () => {
    const { done, look } = neighbour({ ask: 'silent', renew: 'refused' });
    await look(LOOKS_MAX);
    expect(done).toEqual(['asked', 'dialled', 'closed']);
  });

  test.each([
    ['is closed with it when nothing comes over that one either', false, ['closed beside', 'closed']],
    ['stays when something came over it meanwhile', true, ['closed']],
  ])('has another one beside it, which %s', async (_, heardBeside, ends) => {
    const { done, state, look } = neighbour({ ask: 'silent', renew: 'refused' }, { beside: true });
    state.heardBeside = heardBeside;
    await look(LOOKS_MAX);
    expect(done).toEqual(['asked', 'dialled', ...ends]);
  });

  test('does not count while this node itself is late, however often', async () => {
    const { done, look } = neighbour({ ask: 'silent', renew: 'refused' });
    await look(100, 5_000);
    expect(done).toEqual([]);
  });
});

test('a connection without gossip is refreshed, opened anew now and then, and followed by a second one after long', async () => {
  const { done, state, look } = neighbour({ ask: 'answers', renew: 'works' });
  Object.assign(state, { heard: true, joined: false });
  await look(1);
  expect(done).toEqual(['refreshed']);
  await look(7);
  expect(done).toEqual(['refreshed', 'reopened', 'reopened', 'reopened']);
  await look(GOSSIP_MISSING_LOOKS_MAX - 8);
  expect(done.at(-1)).toBe('dialled');
  expect(done.filter((one) => one === 'dialled')).toHaveLength(1);
});
