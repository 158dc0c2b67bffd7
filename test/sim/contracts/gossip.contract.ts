// What a core is told by the network between nodes, by node/gossip on real sockets and by its twin alike: connections
// and their ends, what probes find, who hears what was published, and that anti-entropy makes two nodes hold the same.

import { expect, it } from 'vitest';

export type Probe = 'ok' | 'refused' | 'timeout' | 'error';

/** A few nodes, by number. Nodes 0 to 2 admit one another; 3 is admitted by none. */
export type GossipSubject = {
  connected(node: number): number[];
  /** Numbers of the reports that the node was told of, by their author. */
  reportsFrom(node: number, author: number): number[];
  publishReport(node: number, number: number): void;
  /** Claims by the node that another one is suspect; who heard of it. */
  publishSuspicion(node: number, about: number): void;
  heardSuspicion(node: number, from: number, about: number): boolean;
  probe(from: number, to: number, timeoutMs: number): Promise<Probe>;
  /** The process of the node ends; its machine runs on. */
  end(node: number): Promise<void>;
  /** The process of the node stands still. */
  freeze(node: number): void;
  thaw(node: number): void;
  /** Writes something on the node that no other has. */
  write(node: number): void;
  heads(node: number): string;
  sync(from: number, to: number): Promise<void>;
  until(condition: () => boolean): Promise<void>;
};

export function describeGossip(open: () => Promise<GossipSubject>): void {
  const whole = async (): Promise<GossipSubject> => {
    const subject = await open();
    await subject.until(() => [0, 1, 2].every((node) => subject.connected(node).length === 2));
    return subject;
  };

  it('connects the nodes that admit one another, and nobody else', async () => {
    const subject = await whole();
    expect([0, 1, 2, 3].map((node) => subject.connected(node).sort())).toEqual([[1, 2], [0, 2], [0, 1], []]);
  });

  it('brings a report and a claim to every other node', async () => {
    const subject = await whole();
    // Until a neighbour has said what it listens to, it is sent nothing.
    await subject.until(() => {
      subject.publishReport(0, 7);
      return [1, 2].every((node) => subject.reportsFrom(node, 0).includes(7));
    });
    subject.publishSuspicion(1, 2);
    await subject.until(() => [0, 2].every((node) => subject.heardSuspicion(node, 1, 2)));
    expect(subject.reportsFrom(3, 0)).toEqual([]);
    expect(subject.reportsFrom(1, 2).includes(7)).toBe(false);
  });

  it('finds a node that lives, and one whose process has ended by the refusal of its machine', async () => {
    const subject = await whole();
    expect(await subject.probe(0, 1, 5_000)).toBe('ok');
    await subject.end(2);
    await subject.until(() => !subject.connected(0).includes(2) && !subject.connected(1).includes(2));
    expect(await subject.probe(0, 2, 5_000)).toBe('refused');
    expect(await subject.probe(0, 1, 5_000)).toBe('ok');
  });

  it('finds a node that stands still by its silence, and it again when it goes on', async () => {
    const subject = await whole();
    subject.freeze(2);
    expect(await subject.probe(0, 2, 300)).toBe('timeout');
    subject.thaw(2);
    await subject.until(() => subject.connected(0).includes(2));
    expect(await subject.probe(0, 2, 5_000)).toBe('ok');
  });

  it('makes two nodes that hold different things hold the same', async () => {
    const subject = await whole();
    subject.write(0);
    subject.write(1);
    await subject.until(() => {
      // One that is still under way when the cluster ends has nobody to tell.
      subject.sync(0, 1).catch(() => {});
      return subject.heads(0) === subject.heads(1);
    });
    await subject.sync(1, 0);
    expect(subject.heads(0)).toBe(subject.heads(1));
  });
}
