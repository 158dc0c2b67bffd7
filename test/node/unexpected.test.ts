// What nobody caught, and what nobody would miss: both are said, and the node lives on.

import { describe, expect, it, vi } from 'vitest';
import type { RecordProblem } from '../../crdt/record-problems.ts';
import { RecordReporter } from '../../node/cluster/record-reporter.ts';
import type { ClusterEvent } from '../../node/core/types.ts';
import { survivor, UNEXPECTED_MAX, UNEXPECTED_WITHIN_MS } from '../../node/lib/unexpected.ts';

const newLog = () => ({ debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() });

describe('an error that nobody caught', () => {
  it('is said with where it came from, and only a flood of them ends the node', () => {
    const log = newLog();
    const giveUp = vi.fn();
    let nowMs = 0;
    const survive = survivor({ log, nowMs: () => nowMs, giveUp });
    survive(new Error('oops'));
    survive(undefined);
    survive({ toString: () => 'odd' });
    expect(log.error).toHaveBeenCalledWith(
      'node.unexpected',
      expect.objectContaining({ reason: 'Error: oops', stack: expect.stringContaining('unexpected.test') }),
    );
    for (let count = 0; count < 10 * UNEXPECTED_MAX; count++) {
      nowMs += (2 * UNEXPECTED_WITHIN_MS) / UNEXPECTED_MAX;
      survive(new Error('now and then'));
    }
    expect(giveUp).not.toHaveBeenCalled();
    for (let count = 0; count < UNEXPECTED_MAX; count++) survive(new Error('again and again'));
    expect(giveUp).toHaveBeenCalled();
  });
});

describe('a record that breaks the rules', () => {
  const problem = (record: string): RecordProblem => ({ record, problem: 'its id is none', outcome: 'left out' });

  it('is said once, with what to do, and again when it comes back', () => {
    const log = newLog();
    const events: ClusterEvent[] = [];
    const reporter = new RecordReporter({ log, record: (event) => events.push(event) });
    reporter.look({ problems: [problem('apps/x:y')] });
    reporter.look({ problems: [problem('apps/x:y'), problem('apps/z')] });
    expect(events.map(({ name, message }) => [name, message.split(';')[0]])).toEqual([
      ['record.refused', 'apps/x:y: its id is none'],
      ['record.refused', 'apps/z: its id is none'],
    ]);
    expect(log.warn).toHaveBeenCalledWith('desired.record_refused', {
      record: 'apps/x:y',
      message: expect.stringContaining('it is left out: run one version of Peer on all nodes'),
    });
    reporter.look({ problems: [] });
    reporter.look({ problems: [problem('apps/z')] });
    expect(events).toHaveLength(3);
  });
});
