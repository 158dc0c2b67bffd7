// Keys of a whole cluster: who makes them, who gets them, what is sealed with which; with partitions, removals and
// clusters of an older version.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import { ENV_TOTAL_BYTES_MAX, ENV_VALUE_BYTES_MAX, KEYS_MAX } from '../../crdt/limits.ts';
import { envContext, isSealed, sealedParts } from '../../crdt/sealed.ts';
import { wrapsFor } from '../../node/secrets/new-key.ts';
import { unsealedWarnings } from '../../node/secrets/warnings.ts';
import { addRelease, app, createApp, node, release } from '../crdt/fixtures.ts';
import { historyOf, LittleNode, littleCluster, talk } from './cluster.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const setEnv = (set: Record<string, string>, id: number): NamedChange => ({
  change: 'setEnv',
  app: app(1),
  set,
  unset: [],
  release: release(id),
});

/** Every node looks after the secrets, and hears of the others, until none writes any more. */
async function settle(nodes: readonly LittleNode[]): Promise<void> {
  for (let round = 0; round < 50; round++) {
    const state = () => nodes.map(({ writes, document }) => [writes, ...document.heads()].join()).join(' ');
    const before = state();
    for (const one of nodes) one.upkeep.look();
    await vi.advanceTimersByTimeAsync(600);
    talk(nodes);
    if (state() === before) return;
  }
  throw new Error('the nodes never rest');
}

const keysOf = (one: LittleNode): string[] => [...one.view().keys.keys()];
const newest = (one: LittleNode): string => keysOf(one).at(-1)!;
const sealedWith = (one: LittleNode): Set<string | undefined> =>
  new Set(one.document.secrets().map(({ text }) => sealedParts(text)?.keyId));
const opened = (one: LittleNode) => {
  const { env, releases } = one.view().apps.get(app(1))!;
  return [env, ...releases.map((each) => each.env)].map((each) => ({ ...one.keyring.openEnv(app(1), each) }));
};

describe('a cluster', () => {
  it('has one key from its first moment, which every node has', () => {
    const nodes = littleCluster(3);
    expect(new Set(nodes.map((one) => one.keyring.current()?.id))).toEqual(new Set([newest(nodes[0]!)]));
  });

  it('holds what people set sealed, and opens it on every node', () => {
    const nodes = littleCluster(3);
    const [one, two, three] = nodes as [LittleNode, LittleNode, LittleNode];
    one.write([createApp(1, { env: { KEY: 'hunter2' } }), addRelease(1, 1)]);
    two.hear(one);
    two.write([setEnv({ OTHER: '' }, 2)]);
    talk(nodes);
    expect(JSON.stringify(three.document.secrets())).not.toContain('hunter2');
    expect(three.document.secrets().every(({ text }) => isSealed(text))).toBe(true);
    expect(opened(three)[0]).toEqual({ KEY: 'hunter2', OTHER: '' });
    const history = historyOf(three.document);
    // What was not to be hidden is found there.
    expect(history).toContain('OTHER');
    expect(history).not.toContain('hunter2');
  });

  it('that is in order is left alone', async () => {
    const nodes = littleCluster(3);
    nodes[0]!.write([createApp(1, { env: { KEY: 'x' } })]);
    talk(nodes);
    const before = nodes.map(({ writes }) => writes);
    await settle(nodes);
    expect(nodes.map(({ writes }) => writes)).toEqual(before);
  });

  it('makes no release of a value that is set to what it is, also after its key has changed', () => {
    const [one] = littleCluster(2) as [LittleNode, LittleNode];
    one.write([createApp(1, { env: { KEY: 'same' } }), addRelease(1, 1)]);
    one.write([{ change: 'removeNode', node: node(2) }]);
    expect(keysOf(one)).toHaveLength(2);
    one.write([setEnv({ KEY: 'same' }, 2)]);
    expect(one.view().apps.get(app(1))!.releases).toHaveLength(1);
    one.write([setEnv({ KEY: 'other' }, 3)]);
    expect(one.view().apps.get(app(1))!.releases).toHaveLength(2);
  });

  it('takes as much of people as it did in clear, and no more', () => {
    const [one] = littleCluster(1) as [LittleNode];
    one.write([createApp(1), addRelease(1, 1)]);
    const env = (bytes: number[]) => Object.fromEntries(bytes.map((each, at) => [`K${at}`, 'x'.repeat(each)]));
    const most = [1, 1, 1].map(() => ENV_VALUE_BYTES_MAX);
    const rest = ENV_TOTAL_BYTES_MAX - 3 * ENV_VALUE_BYTES_MAX - 4 * 2;
    expect(() => one.write([setEnv(env([...most, rest + 1]), 2)])).toThrow('at most 256 KiB');
    expect(() => one.write([setEnv(env([ENV_VALUE_BYTES_MAX + 1]), 2)])).toThrow('at most 64 KiB');
    one.write([setEnv(env([...most, rest]), 2)]);
    expect(one.view().problems).toEqual([]);
    expect(opened(one)[0]).toEqual(env([...most, rest]));
    expect(() => one.write([setEnv({ MORE: 'x' }, 3)])).toThrow('at most 256 KiB');
  });
});

describe('a node that is removed', () => {
  it('gets no key that seals from then on, and what is there is sealed anew', async () => {
    const nodes = littleCluster(3);
    const [one, two, gone] = nodes as [LittleNode, LittleNode, LittleNode];
    one.write([createApp(1, { env: { KEY: 'old' } }), addRelease(1, 1), addRelease(1, 2)]);
    talk(nodes);
    one.write([{ change: 'removeNode', node: gone.id }]);
    one.write([setEnv({ NEW: 'secret' }, 3)]);
    gone.hear(one);
    expect(() => opened(gone)).toThrow('does not have the cluster key');
    talk([one, two]);
    nodes.splice(2);
    await settle(nodes);
    expect(keysOf(two)).toHaveLength(2);
    expect(sealedWith(two)).toEqual(new Set([newest(two)]));
    expect(opened(two)[0]).toEqual({ KEY: 'old', NEW: 'secret' });
    expect(opened(two).slice(1, 3)).toEqual([{ KEY: 'old' }, { KEY: 'old' }]);
  });

  it('by itself, or by an older version, makes the others make a key', async () => {
    const nodes = littleCluster(3);
    const [one, two, gone] = nodes as [LittleNode, LittleNode, LittleNode];
    gone.write([{ change: 'removeNode', node: gone.id }]);
    expect(keysOf(gone)).toHaveLength(1);
    nodes.splice(2);
    one.hear(gone);
    await settle(nodes);
    expect(keysOf(two)).toHaveLength(2);
    expect(Object.keys(two.view().keys.get(newest(two))!.wraps)).not.toContain(gone.id);
  });

  it('on each side of a partition leaves a key that neither of the two has', async () => {
    const nodes = littleCluster(4);
    const [one, two] = nodes as [LittleNode, LittleNode, LittleNode, LittleNode];
    one.write([createApp(1, { env: { KEY: 'x' } })]);
    talk(nodes);
    one.write([{ change: 'removeNode', node: node(3) }]);
    two.write([{ change: 'removeNode', node: node(4) }]);
    expect(one.keyring.current()?.id).not.toBe(two.keyring.current()?.id);
    nodes.splice(2);
    talk(nodes);
    expect(one.keyring.current()?.id).toBe(two.keyring.current()?.id);
    await settle(nodes);
    const wraps = Object.keys(one.view().keys.get(newest(one))!.wraps).sort();
    expect(wraps).toEqual([node(1), node(2)]);
    expect(keysOf(one)).toHaveLength(4);
    expect(sealedWith(one)).toEqual(new Set([newest(one)]));
  });

  it('goes also where there are as many keys as there may be', () => {
    const [one] = littleCluster(2) as [LittleNode, LittleNode];
    for (let at = one.view().keys.size; at < KEYS_MAX; at++) {
      one.writePlain([{ change: 'addKey', key: at.toString(16).padStart(16, '0'), wraps: {} }]);
    }
    one.write([{ change: 'removeNode', node: node(2) }]);
    expect(one.view().nodes.size).toBe(1);
  });
});

describe('values set on two sides of a partition', () => {
  it('with keys of each side open everywhere afterwards', async () => {
    const nodes = littleCluster(3);
    const [one, two] = nodes as [LittleNode, LittleNode, LittleNode];
    one.write([createApp(1), addRelease(1, 1)]);
    talk(nodes);
    one.write([{ change: 'removeNode', node: node(3) }]);
    one.write([setEnv({ LEFT: 'l' }, 2)]);
    two.write([setEnv({ RIGHT: 'r' }, 3)]);
    nodes.splice(2);
    talk(nodes);
    expect(opened(two)[0]).toEqual({ LEFT: 'l', RIGHT: 'r' });
    await settle(nodes);
    expect(sealedWith(one)).toEqual(new Set([newest(one)]));
    expect(opened(one)[0]).toEqual({ LEFT: 'l', RIGHT: 'r' });
  });

  it('are not sealed anew before all nodes agree, or one has stayed away for an hour', async () => {
    const nodes = littleCluster(3);
    const [one, two, three] = nodes as [LittleNode, LittleNode, LittleNode];
    one.write([createApp(1, { env: { KEY: 'x' } })]);
    talk(nodes);
    const before = newest(one);
    two.isAlive = false;
    one.write([{ change: 'removeNode', node: three.id }]);
    nodes.splice(2);
    const look = async () => {
      one.upkeep.look();
      await vi.advanceTimersByTimeAsync(600);
    };
    await look();
    expect(sealedWith(one)).toEqual(new Set([before]));
    one.nowMs = 61 * 60 * 1000;
    await look();
    expect(sealedWith(one)).toEqual(new Set([newest(one)]));
    expect(newest(one)).not.toBe(before);
  });
});

describe('a key that nothing is sealed with', () => {
  it('goes after a while in which all nodes agree, and never before', async () => {
    const nodes = littleCluster(3);
    const [one, two] = nodes as [LittleNode, LittleNode, LittleNode];
    one.write([createApp(1, { env: { KEY: 'x' } })]);
    talk(nodes);
    one.write([{ change: 'removeNode', node: node(3) }]);
    nodes.splice(2);
    talk(nodes);
    await settle(nodes);
    expect(keysOf(one)).toHaveLength(2);
    for (const each of nodes) each.nowMs = 11 * 60 * 1000;
    two.isAlive = false;
    await settle(nodes);
    expect(keysOf(one)).toHaveLength(2);
    two.isAlive = true;
    await settle(nodes);
    expect(keysOf(two)).toEqual([newest(one)]);
    expect(opened(two)[0]).toEqual({ KEY: 'x' });
  });
});

describe('a node that joins', () => {
  it('while the cluster is parted gets the keys of the other side once they meet', async () => {
    const nodes = littleCluster(3);
    const [one, two] = nodes as [LittleNode, LittleNode, LittleNode];
    one.write([createApp(1, { env: { KEY: 'x' } })]);
    talk(nodes);
    // On one side a node goes, and with it the key; on the other one comes.
    one.write([{ change: 'removeNode', node: node(3) }]);
    const joining = new LittleNode(5, two.document, () => nodes);
    const { sealKey } = joining.keyring;
    two.writePlain([joining.admitted(), ...wrapsFor({ id: joining.id, sealKey }, two.view(), two.keyring)]);
    nodes.splice(2, 1, joining);
    joining.hear(two);
    expect(opened(joining)[0]).toEqual({ KEY: 'x' });
    talk(nodes);
    expect(joining.keyring.current()?.id).not.toBe(newest(joining));
    await settle(nodes);
    expect(joining.keyring.current()?.id).toBe(newest(joining));
    expect(sealedWith(joining)).toEqual(new Set([newest(joining)]));
    expect(opened(joining)[0]).toEqual({ KEY: 'x' });
  });
});

describe('a cluster of an older version', () => {
  const withClear = (nodes: LittleNode[]): void => {
    nodes[0]!.writePlain([createApp(1, { env: { KEY: 'in clear' } }), addRelease(1, 1)]);
    nodes[0]!.writePlain([setEnv({ KEY: 'changed' }, 2)]);
    talk(nodes);
  };

  it('writes in clear until every node can open what is sealed', async () => {
    const nodes = littleCluster(3, { older: true });
    withClear(nodes);
    const [one] = nodes as [LittleNode];
    const upgraded = nodes.slice(0, 2);
    await settle(upgraded);
    expect(keysOf(one)).toEqual([]);
    expect(unsealedWarnings(one.view())).toEqual([expect.stringContaining('upgrade n3, or remove')]);
    one.write([setEnv({ MORE: 'still in clear' }, 3)]);
    expect(one.view().apps.get(app(1))!.env.MORE).toBe('still in clear');
    expect(() => one.keyring.seal(envContext(app(1), 'X'), 'x')).toThrow('older version (n3)');
  });

  it('seals everything that stands in it once all nodes are of this one, and starts nothing', async () => {
    const nodes = littleCluster(3, { older: true });
    withClear(nodes);
    const before = nodes[0]!.view().apps.get(app(1))!;
    await settle(nodes);
    for (const one of nodes) {
      expect(one.document.secrets().every(({ text }) => isSealed(text))).toBe(true);
      expect(opened(one)).toEqual([{ KEY: 'changed' }, { KEY: 'in clear' }, { KEY: 'changed' }]);
      expect(unsealedWarnings(one.view())).toEqual([]);
    }
    const after = nodes[1]!.view().apps.get(app(1))!;
    expect(after.release?.id).toBe(before.release?.id);
    expect(after.restartCount).toBe(before.restartCount);
    expect(keysOf(nodes[2]!)).toHaveLength(1);
  });

  it('keeps both keys that two sides made apart, and seals with one', async () => {
    const nodes = littleCluster(2, { older: true });
    withClear(nodes);
    const [one, two] = nodes as [LittleNode, LittleNode];
    for (const each of nodes) each.writePlain([each.admitted()]);
    talk(nodes);
    for (const [each, other] of [
      [one, two],
      [two, one],
    ] as const) {
      other.isAlive = false;
      each.upkeep.look();
      await vi.advanceTimersByTimeAsync(600);
      other.isAlive = true;
    }
    expect([keysOf(one), keysOf(two)].map((keys) => keys.length)).toEqual([1, 1]);
    await settle(nodes);
    expect(keysOf(one)).toHaveLength(2);
    expect(sealedWith(one)).toEqual(new Set([newest(one)]));
    expect(opened(two)[0]).toEqual({ KEY: 'changed' });
  });

  it('with values as large as there may be is sealed piece by piece', async () => {
    const nodes = littleCluster(1, { older: true });
    const [one] = nodes as [LittleNode];
    const values = Object.fromEntries([1, 2, 3].map((at) => [`K${at}`, `${at}`.repeat(ENV_VALUE_BYTES_MAX)]));
    one.writePlain([createApp(1, { env: values })]);
    for (let at = 1; at <= 10; at++) one.writePlain([addRelease(1, at)]);
    await settle(nodes);
    expect(one.document.secrets().every(({ text }) => isSealed(text))).toBe(true);
    expect(opened(one)).toEqual(Array.from({ length: 11 }, () => values));
  });
});

describe('what cannot be opened', () => {
  it('is said with its name, and without its value', () => {
    const [one] = littleCluster(1) as [LittleNode];
    one.write([createApp(1, { env: { KEY: 'hunter2' } })]);
    const value = one.view().apps.get(app(1))!.env.KEY!;
    expect(() => one.keyring.openEnv(app(1), { OTHER: value })).toThrow(
      expect.objectContaining({ code: 'secret_unreadable', message: expect.stringContaining('OTHER') }),
    );
  });
});
