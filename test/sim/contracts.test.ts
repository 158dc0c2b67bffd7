// The twins of clock, runtime and network keep the promises that the simulated core relies on: one contract each, run
// on the twin and on the real part. (The disk's is in twins.test.ts: what is compared there are the bytes.)

import { afterEach, describe } from 'vitest';
import { describeClock } from './contracts/clock.contract.ts';
import { describeGossip } from './contracts/gossip.contract.ts';
import { realClock, realGossip, realRuntime } from './contracts/real.ts';
import { describeRuntimeEvents } from './contracts/runtime.contract.ts';
import { twinClock, twinGossip, twinRuntime } from './contracts/twins.ts';

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

const closing =
  <T extends { close(): Promise<void> }>(open: () => Promise<T>) =>
  async (): Promise<T> => {
    const subject = await open();
    closers.push(() => subject.close());
    return subject;
  };

describe('the clock twin', () => describeClock(twinClock));
describe('timers', () => describeClock(realClock));
describe('the runtime twin', () => describeRuntimeEvents(twinRuntime));
describe('the process runtime', () => describeRuntimeEvents(closing(realRuntime)));
describe('the network twin', () => describeGossip(twinGossip));
describe('gossip on sockets', () => describeGossip(closing(realGossip)));
