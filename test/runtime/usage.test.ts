// What instances use: when it is looked at, and what follows from the counters. That the counters are right is tested
// through the runtimes.

import { describe, expect, it } from 'vitest';
import { asInstanceId } from '../../crdt/ids.ts';
import { type Counters, groupsIn } from '../../node/runtime/counters.ts';
import { ticksIn } from '../../node/runtime/process-tree.ts';
import { UsageSampler, type UsageSource } from '../../node/runtime/usage.ts';

class Clock {
  #nowMs = 1_000_000;
  nowMs = (): number => this.#nowMs;
  pause = async (ms: number): Promise<void> => this.advance(ms);
  advance(ms: number): void {
    this.#nowMs += ms;
  }
}

/** Takes half a processor's time from the clock's zero on. */
function source(clock: Clock, id: string, changes: Partial<UsageSource> = {}): UsageSource & { looks: number } {
  const made = {
    id: asInstanceId(id),
    key: {},
    looks: 0,
    counters: async (): Promise<Counters> => {
      made.looks++;
      return { memoryBytes: 5, cpuUs: clock.nowMs() * 500, diskBytes: 7 };
    },
    ...changes,
  };
  return made;
}

describe('the use of an instance', () => {
  it('is measured over a moment when nobody asked before', async () => {
    const clock = new Clock();
    const sampler = new UsageSampler(clock);
    const one = source(clock, 'i-1');
    expect(await sampler.sample([one])).toEqual([{ id: 'i-1', memoryBytes: 5, cpu: 0.5, diskBytes: 7 }]);
    expect(one.looks).toBe(2);
  });

  it('is measured since it was asked for, if that was not long ago', async () => {
    const clock = new Clock();
    const sampler = new UsageSampler(clock);
    let extraUs = 0;
    const one = source(clock, 'i-1', { counters: async () => ({ cpuUs: clock.nowMs() * 500 + extraUs }) });
    await sampler.sample([one]);
    clock.advance(10_000);
    extraUs = 10_000_000;
    expect(await sampler.sample([one])).toEqual([{ id: 'i-1', cpu: 1.5 }]);
    clock.advance(100_000);
    // What it did while nobody asked is not what it does now.
    expect(await sampler.sample([one])).toEqual([{ id: 'i-1', cpu: 0.5 }]);
  });

  it('is not looked at again within a second, however many ask', async () => {
    const clock = new Clock();
    const sampler = new UsageSampler(clock);
    const one = source(clock, 'i-1');
    const asked = Array.from({ length: 50 }, () => sampler.sample([one]));
    expect(new Set((await Promise.all(asked)).map((found) => JSON.stringify(found))).size).toBe(1);
    expect(one.looks).toBe(2);
    clock.advance(1_001);
    await sampler.sample([one]);
    expect(one.looks).toBe(3);
  });

  it('is looked at a few instances at a time', async () => {
    const clock = new Clock();
    let looking = 0;
    let most = 0;
    const counters = async (): Promise<Counters> => {
      most = Math.max(most, ++looking);
      await new Promise((resolve) => setImmediate(resolve));
      looking--;
      return {};
    };
    const many = Array.from({ length: 100 }, (_, index) => source(clock, `i-${index}`, { counters }));
    expect(await new UsageSampler(clock).sample(many)).toHaveLength(100);
    expect(most).toBe(8);
  });

  it('has nothing of what cannot be read', async () => {
    const clock = new Clock();
    const gone = source(clock, 'i-1', { counters: () => Promise.reject(new Error('it has ended')) });
    expect(await new UsageSampler(clock).sample([gone])).toEqual([{ id: 'i-1' }]);
  });
});

describe('what the kernel counts', () => {
  it.each([
    [
      'version 1',
      '5:memory:/docker/abc\n4:cpuacct:/docker/abc\n1:name=systemd:/\n0::/\n',
      { version: 1, memory: '/sys/fs/cgroup/memory/docker/abc', cpu: '/sys/fs/cgroup/cpuacct/docker/abc' },
    ],
    [
      'version 1 with joined controllers',
      '5:memory:/a\n4:cpu,cpuacct:/b\n',
      { version: 1, memory: '/sys/fs/cgroup/memory/a', cpu: '/sys/fs/cgroup/cpuacct/b' },
    ],
    [
      'version 2',
      '0::/system.slice/docker-abc.scope\n',
      {
        version: 2,
        memory: '/sys/fs/cgroup/system.slice/docker-abc.scope',
        cpu: '/sys/fs/cgroup/system.slice/docker-abc.scope',
      },
    ],
    ['none', '', undefined],
  ])('is found in the groups of %s', (_, text, groups) => {
    expect(groupsIn(text)).toEqual(groups);
  });

  it('of a process includes its children, whatever it calls itself', () => {
    const line = '7 (a) b) S 1 7 7 0 -1 4194560 100 200 0 0 11 22 33 44 20 0 1 0 500 1000 10';
    expect(ticksIn(line)).toBe(110);
  });
});
