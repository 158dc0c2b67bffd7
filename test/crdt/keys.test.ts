// Keys of secrets, and texts that are sealed anew: what a change does, and what is left after changes made apart.

import { describe, expect, it } from 'vitest';
import type { NamedChange } from '../../crdt/change.ts';
import { ChangeRejected } from '../../crdt/errors.ts';
import { asAppId } from '../../crdt/ids.ts';
import { ENV_TOTAL_BYTES_MAX, ENV_VALUE_BYTES_MAX } from '../../crdt/limits.ts';
import { bindingContext, envContext, serviceContext } from '../../crdt/sealed.ts';
import {
  addRelease,
  admitNode,
  app,
  at,
  bind,
  binding,
  createApp,
  createService,
  documentWith,
  merged,
  node,
  plain,
  release,
  replicaOf,
  service,
  writeAll,
} from './fixtures.ts';

const keyId = (index: number): string => index.toString(16).padStart(16, '0');
const wrapped = (index: number): string => `wrapped:1:${String(index).padStart(107, 'w')}`;
const sealedUnder = (key: number, mark: string, bytes = 32): string =>
  `sealed:1:${keyId(key)}:${mark.padEnd(Math.ceil(((bytes + 28) * 4) / 3), 'A')}`;
const addKey = (index: number, nodes: number[]): NamedChange => ({
  change: 'addKey',
  key: keyId(index),
  wraps: Object.fromEntries(nodes.map((one) => [node(one), wrapped(one)])),
});
const setEnv = (set: Record<string, string>, id: number): NamedChange => ({
  change: 'setEnv',
  app: app(1),
  set,
  unset: [],
  release: release(id),
});
const cluster = () => documentWith([admitNode(1), admitNode(2)]);
const codeOf = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return error instanceof ChangeRejected ? error.code : error;
  }
  return undefined;
};

describe('the key of a node', () => {
  const sealKey = 'k'.repeat(43);

  it('comes with its admission, or later', () => {
    const document = documentWith([{ ...admitNode(1), sealKey } as NamedChange, admitNode(2)]);
    expect([...document.view().nodes.values()].map((one) => one.sealKey)).toEqual([sealKey, undefined]);
    const later = writeAll(document, [{ change: 'admitNode', node: node(2), name: 'n2', sealKey }]);
    expect(later.view().nodes.get(node(2))).toMatchObject({ name: 'n2', sealKey });
    expect(codeOf(() => writeAll(later, [{ ...admitNode(1), sealKey: 'short' } as NamedChange]))).toBe('invalid_value');
  });
});

describe('keys', () => {
  it('are in the order of their making, the newest last, whatever the clock of who made it', () => {
    const first = writeAll(cluster(), [addKey(9, [1, 2])], at(5_000));
    const second = writeAll(first, [addKey(1, [1, 2])], at(1_000));
    expect([...second.view().keys.keys()]).toEqual([keyId(9), keyId(1)]);
    expect(second.view().keys.get(keyId(1))?.createdAtMs).toBe(5_001);
  });

  it('made on two sides of a partition both stay, in one order on both', () => {
    const start = writeAll(cluster(), [addKey(5, [1, 2])]);
    const left = writeAll(replicaOf(start, 11), [addKey(7, [1])], at(2_000_000));
    const right = writeAll(replicaOf(start, 12), [addKey(6, [2])], at(2_000_000));
    const [one, other] = [merged(left, right).view(), merged(right, left).view()];
    expect([...one.keys.keys()]).toEqual([keyId(5), keyId(6), keyId(7)]);
    expect(plain(one)).toEqual(plain(other));
  });

  it('wrapped to other nodes on two sides are wrapped to both', () => {
    const start = writeAll(cluster(), [addKey(5, [])]);
    const wraps = (index: number): NamedChange => ({
      change: 'wrapKeys',
      node: node(index),
      wraps: { [keyId(5)]: wrapped(index) },
    });
    const [left, right] = [1, 2].map((index) => writeAll(replicaOf(start, 20 + index), [wraps(index)]));
    expect(merged(left!, right!).view().keys.get(keyId(5))?.wraps).toEqual({
      [node(1)]: wrapped(1),
      [node(2)]: wrapped(2),
    });
  });

  it('go when they are dropped, but for the newest', () => {
    const document = writeAll(cluster(), [addKey(1, [1]), addKey(2, [1])]);
    const drop = (index: number): NamedChange => ({ change: 'dropKeys', keys: [keyId(index)] });
    expect([
      ...writeAll(document, [drop(1)])
        .view()
        .keys.keys(),
    ]).toEqual([keyId(2)]);
    expect(codeOf(() => writeAll(document, [drop(2)]))).toBe('invalid_value');
    expect(codeOf(() => writeAll(document, [drop(3)]))).toBe('invalid_value');
  });

  it('are for admitted nodes, and well formed', () => {
    expect(codeOf(() => writeAll(cluster(), [addKey(1, [3])]))).toBe('node_unknown');
    expect(codeOf(() => writeAll(cluster(), [{ change: 'addKey', key: 'x', wraps: {} }]))).toBe('invalid_id');
    expect(
      codeOf(() => writeAll(cluster(), [{ change: 'addKey', key: keyId(1), wraps: { [node(1)]: 'clear' } }])),
    ).toBe('invalid_value');
    expect(codeOf(() => writeAll(writeAll(cluster(), [addKey(1, [])]), [addKey(1, [])]))).toBe('invalid_value');
  });
});

describe('sealed values', () => {
  const context = envContext(asAppId(app(1)), 'KEY');
  const old = sealedUnder(1, 'old');
  const anew = sealedUnder(2, 'new');
  const reseal: NamedChange = { change: 'reseal', texts: [{ context, from: old, to: anew }] };
  const released = () =>
    writeAll(cluster(), [createApp(1, { env: { KEY: old, OTHER: old } }), addRelease(1, 1), addRelease(1, 2)]);

  it('become others in the app and in all its releases, at their place alone, and start nothing', () => {
    const before = released();
    const view = writeAll(before, [reseal]).view().apps.get(app(1))!;
    expect(view.env).toEqual({ KEY: anew, OTHER: old });
    expect(view.releases.map(({ env }) => env.KEY)).toEqual([anew, anew]);
    expect(view.release?.id).toBe(before.view().apps.get(app(1))?.release?.id);
  });

  it('that were changed meanwhile stay as they were set', () => {
    const set = writeAll(released(), [setEnv({ KEY: sealedUnder(1, 'set') }, 3)]);
    const view = writeAll(set, [reseal]).view().apps.get(app(1))!;
    expect(view.env.KEY).toBe(sealedUnder(1, 'set'));
    expect(view.releases.map(({ env }) => env.KEY)).toEqual([anew, anew, sealedUnder(1, 'set')]);
  });

  it('of a refused release are found and sealed anew too, and stay refused', () => {
    const asked = writeAll(released(), [
      setEnv({ KEY: sealedUnder(1, 'bad') }, 3),
      { change: 'failRelease', app: app(1), release: release(3), reason: 'it exits' },
    ]);
    expect(asked.secrets()).toContainEqual({ context, text: sealedUnder(1, 'bad') });
    const texts = asked.secrets().map(({ context: place, text }) => ({ context: place, from: text, to: `${text}2` }));
    const view = writeAll(asked, [{ change: 'reseal', texts }])
      .view()
      .apps.get(app(1))!;
    expect(view.env.KEY).toBe(`${old}2`);
    expect(view.releases.map(({ env }) => env.KEY)).toEqual([`${old}2`, `${old}2`, `${sealedUnder(1, 'bad')}2`]);
  });

  it('of services and bindings are found at their places, and sealed anew there', () => {
    const document = writeAll(released(), [createService(1), bind(1, 1, 1)]);
    const secrets = document.secrets().slice(2);
    expect(secrets).toEqual([
      { context: serviceContext(service(1)), text: 'sealed:s1' },
      { context: bindingContext(binding(1)), text: 'sealed:b1' },
    ]);
    const texts = secrets.map(({ context: place, text }) => ({ context: place, from: text, to: anew }));
    const view = writeAll(document, [{ change: 'reseal', texts }]).view();
    expect(view.services.get(service(1))?.secret).toBe(anew);
    expect(view.bindings.get(binding(1))?.secret).toBe(anew);
    expect(view.apps.get(app(1))?.env).toEqual({ KEY: old, OTHER: old });
  });

  it('are listed once for each place', () => {
    expect(released().secrets()).toEqual([
      { context, text: old },
      { context: envContext(asAppId(app(1)), 'OTHER'), text: old },
    ]);
  });

  it('are never put in clear by a change that seals, nor named in the history', () => {
    const texts = [{ context, from: old, to: 'clear' }];
    expect(codeOf(() => writeAll(released(), [{ change: 'reseal', texts }]))).toBe('invalid_value');
    const [entry] = writeAll(released(), [reseal]).history(1);
    expect(entry?.changes).toEqual([{ change: 'reseal', texts: 1 }]);
  });

  it('count with what they seal, so that sealing makes nothing too large', () => {
    const largest = sealedUnder(1, 'x', ENV_VALUE_BYTES_MAX + 32);
    const values = Array.from({ length: 3 }, (_, index) => [`K${index}`, largest] as const);
    expect(ENV_TOTAL_BYTES_MAX).toBeGreaterThan(3 * ENV_VALUE_BYTES_MAX);
    const document = writeAll(cluster(), [createApp(1, { env: Object.fromEntries(values) }), addRelease(1, 1)]);
    expect(Object.keys(document.view().apps.get(app(1))!.env)).toHaveLength(3);
    expect(document.view().problems).toEqual([]);
    const beyond = createApp(2, { env: { KEY: sealedUnder(1, 'x', ENV_VALUE_BYTES_MAX + 64) } });
    expect(codeOf(() => writeAll(document, [beyond]))).toBe('invalid_env');
  });
});
