// What is sealed opens with its key and in its place, and in no other way.

import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asAppId } from '../../crdt/ids.ts';
import { envContext, isSealed, sealedTextBytesMin } from '../../crdt/sealed.ts';
import { clusterKeyOf, newClusterKey, open, SecretError, seal } from '../../node/secrets/seal.ts';
import { nodeKeyOf, unwrapKey, wrapKey } from '../../node/secrets/wrap.ts';
import { node } from '../crdt/fixtures.ts';

const [one, two] = [newClusterKey(), newClusterKey()];
const context = envContext(asAppId('app-1'), 'KEY');
const keyOf = (id: string) => [one, two].find((key) => key.id === id);
const text = fc.oneof(fc.string(), fc.string({ unit: 'grapheme' }), fc.string({ maxLength: 2000 }));
const codeOf = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return (error as SecretError).code;
  }
  return 'opened';
};

describe('a sealed text', () => {
  it('opens as it was', () => {
    fc.assert(
      fc.property(text, (plain) => {
        const sealed = seal(one, context, plain);
        expect(isSealed(sealed)).toBe(true);
        expect(open(keyOf, context, sealed)).toBe(Buffer.from(plain).toString());
      }),
    );
  });

  it('is the same for the same text, key and place, and another for any other', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(seal(one, context, a)).toBe(seal(clusterKeyOf(one.bytes), context, a));
        expect(seal(one, context, a) === seal(one, context, b)).toBe(a === b);
        expect(seal(one, context, a)).not.toBe(seal(two, context, a));
        expect(seal(one, context, a)).not.toBe(seal(one, `${context}2`, a));
      }),
    );
  });

  it('shows neither the text nor its exact length', () => {
    const lengths = ['', 'x', 'a password', 'x'.repeat(31)].map((plain) => seal(one, context, plain).length);
    expect(new Set(lengths).size).toBe(1);
    expect(seal(one, context, 'x'.repeat(32)).length).toBeGreaterThan(lengths[0]!);
    fc.assert(
      fc.property(fc.nat(3000), (length) => {
        const least = sealedTextBytesMin(seal(one, context, 'x'.repeat(length)))!;
        expect(least).toBeLessThanOrEqual(length);
        expect(length - least).toBeLessThan(32);
      }),
    );
  });

  it('does not open in another place, with another key, or changed in any bit', () => {
    const sealed = seal(one, context, 'hunter2');
    expect(codeOf(() => open(keyOf, envContext(asAppId('app-2'), 'KEY'), sealed))).toBe('secret_unreadable');
    expect(codeOf(() => open(() => two, context, sealed))).toBe('secret_unreadable');
    expect(codeOf(() => open(() => undefined, context, sealed))).toBe('secret_unreadable');
    expect(codeOf(() => open(keyOf, context, sealed.replace(one.id, two.id)))).toBe('secret_unreadable');
    const at = sealed.lastIndexOf(':') + 1;
    const data = Buffer.from(sealed.slice(at), 'base64url');
    for (let bit = 0; bit < data.length * 8; bit++) {
      const changed = Buffer.from(data);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(codeOf(() => open(keyOf, context, sealed.slice(0, at) + changed.toString('base64url')))).toBe(
        'secret_unreadable',
      );
    }
  });

  it('is told from any other text', () => {
    fc.assert(
      fc.property(text, (plain) => {
        expect(isSealed(plain)).toBe(false);
        expect(codeOf(() => open(keyOf, context, plain))).toBe('secret_unreadable');
      }),
    );
    expect(isSealed(`sealed:1:${one.id}:`)).toBe(false);
    expect(sealedTextBytesMin('plain')).toBeUndefined();
  });

  it('is not shown by the error', () => {
    const sealed = seal(one, context, 'hunter2');
    try {
      open(keyOf, 'env/app-2/KEY', sealed);
    } catch (error) {
      expect((error as SecretError).message).not.toMatch(/hunter2|sealed:/);
      expect(error).toBeInstanceOf(SecretError);
    }
    expect.assertions(2);
  });
});

describe('a cluster key', () => {
  const seed = randomBytes(32);
  const own = nodeKeyOf(seed);

  it('is wrapped for one node, and opens there alone', () => {
    const wrapped = wrapKey(one, node(1), own.sealKey);
    expect(unwrapKey(wrapped, one.id, node(1), nodeKeyOf(seed))?.bytes).toEqual(one.bytes);
    expect(unwrapKey(wrapped, one.id, node(2), own)).toBeUndefined();
    expect(unwrapKey(wrapped, two.id, node(1), own)).toBeUndefined();
    expect(unwrapKey(wrapped, one.id, node(1), nodeKeyOf(randomBytes(32)))).toBeUndefined();
  });

  it('is wrapped anew each time', () => {
    expect(wrapKey(one, node(1), own.sealKey)).not.toBe(wrapKey(one, node(1), own.sealKey));
  });

  it('that is wrapped and then changed does not open', () => {
    const wrapped = wrapKey(one, node(1), own.sealKey);
    const at = 'wrapped:1:'.length;
    const data = Buffer.from(wrapped.slice(at), 'base64url');
    for (let byte = 0; byte < data.length; byte++) {
      const changed = Buffer.from(data);
      changed[byte]! ^= 1;
      expect(unwrapKey(wrapped.slice(0, at) + changed.toString('base64url'), one.id, node(1), own)).toBeUndefined();
    }
    for (const odd of ['', 'wrapped:1:', wrapped.slice(0, -1), `wrapped:1:${'A'.repeat(107)}`]) {
      expect(unwrapKey(odd, one.id, node(1), own)).toBeUndefined();
    }
  });
});
