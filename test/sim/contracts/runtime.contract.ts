// What the core is told of instances, by the runtime of a machine and by its twin alike: which events, in which order,
// how often.

import { expect, it } from 'vitest';
import type { InstanceId } from '../../../crdt/ids.ts';
import type { AdoptedInstance } from '../../../node/core/types.ts';
import type { RuntimeEvent } from '../../../node/ports/runtime.ts';

/**
 * - `good` serves until it is told to stop, `deaf` also after that.
 * - `crash` ends at once with status 1, `never` runs and never listens, `flap` serves for a while and ends with status
 *   3.
 */
export type Behaviour = 'good' | 'deaf' | 'crash' | 'never' | 'flap';

export type RuntimeSubject = {
  /** With a health time-out of this many ms. */
  start(behaviour: Behaviour, healthTimeoutMs: number): Promise<InstanceId>;
  stop(id: InstanceId): void;
  /** Everything told about it, in order, by this life of the daemon. */
  events(id: InstanceId): RuntimeEvent[];
  /** The daemon ends and another one begins; what it finds. */
  reopen(): Promise<AdoptedInstance[]>;
  /** Fails when the condition does not hold within the grace that an instance has after TERM, and some seconds. */
  until(condition: () => boolean): Promise<void>;
};

const HEALTHY_WITHIN_MS = 8_000;
const SHORT_MS = 1_500;

export function describeRuntimeEvents(open: () => Promise<RuntimeSubject>): void {
  const typesOf = (subject: RuntimeSubject, id: InstanceId): string[] => subject.events(id).map(({ type }) => type);
  const until = (subject: RuntimeSubject, id: InstanceId, type: RuntimeEvent['type']): Promise<void> =>
    subject.until(() => typesOf(subject, id).includes(type));

  it('tells of an instance that it was launched, with its port, then that it is ready', async () => {
    const subject = await open();
    const id = await subject.start('good', HEALTHY_WITHIN_MS);
    await until(subject, id, 'instanceReady');
    expect(typesOf(subject, id)).toEqual(['instanceLaunched', 'instanceReady']);
    expect(subject.events(id)[0]).toMatchObject({ port: expect.any(Number) });
  });

  it('tells of one that ends by itself exactly once, and why', async () => {
    const subject = await open();
    const [crashing, flapping] = [
      await subject.start('crash', HEALTHY_WITHIN_MS),
      await subject.start('flap', HEALTHY_WITHIN_MS),
    ];
    await until(subject, crashing, 'instanceExited');
    await until(subject, flapping, 'instanceExited');
    expect(subject.events(crashing).at(-1)).toMatchObject({ reason: 'exited with status 1' });
    expect(typesOf(subject, crashing)).not.toContain('instanceReady');
    expect(subject.events(flapping).at(-1)).toMatchObject({ reason: 'exited with status 3' });
    expect(typesOf(subject, flapping)).toEqual(['instanceLaunched', 'instanceReady', 'instanceExited']);
  });

  it('ends one that does not become healthy in time, and never calls it ready', async () => {
    const subject = await open();
    const id = await subject.start('never', SHORT_MS);
    await until(subject, id, 'instanceExited');
    expect(typesOf(subject, id)).toEqual(['instanceLaunched', 'instanceExited']);
  });

  it('ends one that is stopped once, however often it is told to, and tells nothing after that', async () => {
    const subject = await open();
    const id = await subject.start('good', HEALTHY_WITHIN_MS);
    await until(subject, id, 'instanceReady');
    subject.stop(id);
    subject.stop(id);
    await until(subject, id, 'instanceExited');
    subject.stop(id);
    const other = await subject.start('good', HEALTHY_WITHIN_MS);
    await until(subject, other, 'instanceReady');
    expect(typesOf(subject, id)).toEqual(['instanceLaunched', 'instanceReady', 'instanceExited']);
  });

  it('ends one that ignores TERM', async () => {
    const subject = await open();
    const id = await subject.start('deaf', HEALTHY_WITHIN_MS);
    await until(subject, id, 'instanceReady');
    const other = await subject.start('good', HEALTHY_WITHIN_MS);
    await until(subject, other, 'instanceReady');
    subject.stop(id);
    subject.stop(other);
    // The one that heeds it goes first.
    await until(subject, other, 'instanceExited');
    expect(typesOf(subject, id)).not.toContain('instanceExited');
    await until(subject, id, 'instanceExited');
  });

  it('finds what ran on while no daemon was there, calls it ready anew, and can stop it', async () => {
    const subject = await open();
    const id = await subject.start('good', HEALTHY_WITHIN_MS);
    await until(subject, id, 'instanceReady');
    const launched = subject.events(id)[0];
    const adopted = await subject.reopen();
    expect(adopted).toMatchObject([{ id, process: 'web', index: 0, port: (launched as { port: number }).port }]);
    await until(subject, id, 'instanceReady');
    expect(typesOf(subject, id)).toEqual(['instanceReady']);
    subject.stop(id);
    await until(subject, id, 'instanceExited');
    expect(await subject.reopen()).toEqual([]);
  });
}
