// What the simulator's clock and the machine's timers both promise to whoever sets them.

import { expect, it } from 'vitest';

export type ClockSubject = {
  nowMs(): number;
  in(delayMs: number, run: () => void): void;
  /** Lets time pass until the condition holds; fails when it does not within a few seconds. */
  until(condition: () => boolean): Promise<void>;
};

export function describeClock(open: () => ClockSubject): void {
  it('rings timers in the order in which they are due, however they were set, and none early', async () => {
    const clock = open();
    const fromMs = clock.nowMs();
    const rang: { name: string; afterMs: number }[] = [];
    const ring = (name: string, delayMs: number): void =>
      clock.in(delayMs, () => rang.push({ name, afterMs: clock.nowMs() - fromMs }));
    ring('third', 60);
    ring('first', 5);
    ring('second', 30);
    await clock.until(() => rang.length === 3);
    expect(rang.map(({ name }) => name)).toEqual(['first', 'second', 'third']);
    for (const [index, dueMs] of [5, 30, 60].entries()) {
      // A timer of Node's may ring up to a millisecond before its time.
      expect(rang[index]!.afterMs).toBeGreaterThanOrEqual(dueMs - 1);
    }
  });

  it('rings those due at the same time in the order in which they were set', async () => {
    const clock = open();
    const rang: number[] = [];
    for (let index = 0; index < 20; index++) clock.in(10, () => rang.push(index));
    await clock.until(() => rang.length === 20);
    expect(rang).toEqual(Array.from({ length: 20 }, (_, index) => index));
  });

  it('runs nothing before it has returned to whoever set it', async () => {
    const clock = open();
    let rang = false;
    clock.in(0, () => {
      rang = true;
    });
    expect(rang).toBe(false);
    await clock.until(() => rang);
  });

  it('rings a timer that another one sets', async () => {
    const clock = open();
    const rang: string[] = [];
    clock.in(5, () => {
      rang.push('outer');
      clock.in(5, () => rang.push('inner'));
    });
    await clock.until(() => rang.length === 2);
    expect(rang).toEqual(['outer', 'inner']);
  });
}
